package index

import (
	"errors"
	"strconv"
	"syscall"
)

// openPath is O_PATH of open(2): a descriptor of what is there, for which nothing is
// opened.
const openPath = 0x200000

const (
	flagsFolder = openPath | syscall.O_DIRECTORY | syscall.O_CLOEXEC
	flagsLook   = openPath | syscall.O_NOFOLLOW | syscall.O_CLOEXEC
	// Nothing waits for the other end of a FIFO, or becomes the terminal.
	flagsRead = syscall.O_RDONLY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK | syscall.O_NOCTTY | syscall.O_CLOEXEC
)

// atCwd is AT_FDCWD of openat(2).
const atCwd = -100

// Trusted tells why a program must not be run in somebody's name, by the rule that
// sshd has for its commands: path is absolute and leads, symbolic links followed, to
// a regular file of owner that nobody else may write to, and the same is true of each
// folder above that file up to top. What is not there is syscall.ENOENT; anything
// else is an *Error.
func Trusted(path string, owner int, top string) error {
	if path == "" || path[0] != '/' {
		return &Error{path, "is no absolute path"}
	}
	fd, err := openAt(atCwd, path, openPath|syscall.O_CLOEXEC)
	if err != nil {
		return missingOr(path, err)
	}
	defer syscall.Close(fd)
	if _, err := checkFile(fd, path, owner); err != nil {
		return err
	}
	real, err := physical(fd)
	if err != nil {
		return &Error{path, "cannot tell where it is: " + err.Error()}
	}
	folder, _ := split(real)
	dir, err := openAt(atCwd, folder, flagsFolder)
	if err != nil {
		return missingOr(folder, err)
	}
	defer syscall.Close(dir)
	return checkFolders(dir, owner, top)
}

// TrustedFolder tells why a folder must not be relied on: somebody else than owner may
// write to it, or to one above it up to top. The error is as that of Trusted.
func TrustedFolder(path string, owner int, top string) error {
	dir, err := openAt(atCwd, path, flagsFolder)
	if err != nil {
		return missingOr(path, err)
	}
	defer syscall.Close(dir)
	return checkFolders(dir, owner, top)
}

// openTrusted opens the regular file at path, which may be no symbolic link.
func openTrusted(path string, owner int, top string) (fd int, size int64, err error) {
	folder, name := split(path)
	dir, err := openAt(atCwd, folder, flagsFolder)
	if err != nil {
		return -1, 0, missingOr(path, err)
	}
	defer syscall.Close(dir)
	look, err := openAt(dir, name, flagsLook)
	if err != nil {
		return -1, 0, missingOr(path, err)
	}
	syscall.Close(look)
	if err := checkFolders(dir, owner, top); err != nil {
		return -1, 0, err
	}
	if fd, err = openAt(dir, name, flagsRead); err != nil {
		return -1, 0, missingOr(path, err)
	}
	if size, err = checkFile(fd, path, owner); err != nil {
		syscall.Close(fd)
		return -1, 0, err
	}
	return fd, size, nil
}

func openAt(dir int, name string, flags int) (int, error) {
	for {
		fd, err := syscall.Openat(dir, name, flags, 0)
		if err != syscall.EINTR {
			return fd, err
		}
	}
}

func missingOr(path string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT):
		return err
	case errors.Is(err, syscall.ELOOP):
		return &Error{path, "is a symbolic link"}
	}
	return &Error{path, "cannot be opened: " + err.Error()}
}

// split cuts a path before its last part.
func split(path string) (folder, name string) {
	for i := len(path) - 1; i > 0; i-- {
		if path[i] == '/' {
			return path[:i], path[i+1:]
		}
	}
	if path != "" && path[0] == '/' {
		return "/", path[1:]
	}
	return ".", path
}

// checkFile makes sure that fd is a regular file that owner alone may write to.
func checkFile(fd int, path string, owner int) (size int64, err error) {
	var stat syscall.Stat_t
	if err := syscall.Fstat(fd, &stat); err != nil {
		return 0, &Error{path, "cannot be looked at: " + err.Error()}
	}
	if stat.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return 0, &Error{path, "is not a regular file"}
	}
	if why := others(&stat, owner); why != "" {
		return 0, &Error{path, why}
	}
	return stat.Size, nil
}

// others tells who but owner may change the thing.
func others(stat *syscall.Stat_t, owner int) string {
	switch {
	case int64(stat.Uid) != int64(owner):
		return "belongs to uid " + strconv.FormatUint(uint64(stat.Uid), 10) + ", not to uid " + strconv.Itoa(owner)
	case stat.Mode&0o022 != 0:
		return "can be written by others: its mode is 0" + strconv.FormatUint(uint64(stat.Mode&0o7777), 8)
	}
	return ""
}

// checkFolders makes sure that owner alone may write to an open folder, and to each
// above it up to top. It goes up as the folders lie, whatever links led there.
func checkFolders(dir, owner int, top string) error {
	end, err := identify(top)
	if err != nil {
		return err
	}
	stat, err := checkFolder(dir, owner)
	for err == nil && !same(&stat, &end) {
		below := stat
		up, failed := openAt(dir, "..", flagsFolder)
		if failed != nil {
			return &Error{nameOf(dir), "the folder above cannot be opened: " + failed.Error()}
		}
		defer syscall.Close(up)
		if stat, err = checkFolder(up, owner); err == nil && same(&stat, &below) {
			return &Error{top, "is not above " + nameOf(dir)}
		}
		dir = up
	}
	return err
}

func checkFolder(fd, owner int) (stat syscall.Stat_t, err error) {
	if err := syscall.Fstat(fd, &stat); err != nil {
		return stat, &Error{nameOf(fd), "cannot be looked at: " + err.Error()}
	}
	if why := others(&stat, owner); why != "" {
		return stat, &Error{nameOf(fd), why}
	}
	return stat, nil
}

func identify(path string) (syscall.Stat_t, error) {
	var stat syscall.Stat_t
	err := syscall.Stat(path, &stat)
	if err != nil {
		return stat, &Error{path, "cannot be looked at: " + err.Error()}
	}
	return stat, nil
}

func same(a, b *syscall.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

// nameOf names an open folder for a message.
func nameOf(fd int) string {
	if name, err := physical(fd); err == nil {
		return name
	}
	return "a folder of the index"
}

// physical is the path of an open file without symbolic links, as proc(5) has it.
func physical(fd int) (string, error) {
	buf := make([]byte, 4096)
	n, err := syscall.Readlink("/proc/self/fd/"+strconv.Itoa(fd), buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
