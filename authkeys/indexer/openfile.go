package indexer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// What a file may have at most, in bytes, bounds how long its owner can keep a build, and who
// waits for that, busy: one that is nothing but a hole takes no room.
const (
	maxFile  = 64 << 20 // in a folder: some 700,000 keys
	maxNamed = 4 << 30  // some fifty million
)

// errLeased has no number that says so.
var errLeased = errors.New("somebody has a lease on it (fcntl(2), F_SETLEASE)")

// A large file has more than these bytes.
type large int64

func (l large) Error() string { return fmt.Sprintf("larger than %d MiB", l>>20) }

// An input is a user's file that is open. It is none of package os, which asks the kernel
// as much again about each as reading one takes.
type input struct {
	fd   int
	size int64 // when it was opened
	most int64 // that it may have
	read int64
}

// open opens a user's file, if it can be believed.
func (s *sources) open(f file) (*input, error) {
	fd, err := s.openAnyway(f)
	if err != nil {
		return nil, err
	}
	stat, err := look(fd)
	if err == nil {
		err = notRegular(kindOf(&stat))
	}
	in := &input{fd: fd, size: stat.Size, most: s.most(f)}
	if err == nil && in.size > in.most {
		err = large(in.most)
	}
	if err == nil {
		err = s.owners.unsafe(&stat, f.user)
	}
	if err == nil && (f.linked || s.folders[f.source] == nil) { // else its folder has been looked at
		err = s.owners.unsafeFolder(fd, f.user)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return in, nil
}

func (s *sources) most(f file) int64 {
	if s.folders[f.source] == nil {
		return maxNamed
	}
	return maxFile
}

// openAnyway opens a user's file, whoever may write to it.
func (s *sources) openAnyway(f file) (fd int, err error) {
	folder := s.folders[f.source]
	switch {
	case folder == nil:
		return openRegular(unix.AT_FDCWD, s.all[f.source].Path, 0)
	case f.linked:
		return openLinked(folder, f.user)
	case s.owners.off:
		return openRegular(int(s.listed[f.source].Fd()), f.user, unix.O_NOFOLLOW)
	}
	// It was regular when the folder was listed, and nobody who is not believed can put
	// anything else there.
	return openAt(int(s.listed[f.source].Fd()), f.user, openFlags|unix.O_NOFOLLOW)
}

// openRegular opens a regular file. What is none is looked at, but not opened: no device
// takes notice, and no FIFO waits for its other end.
func openRegular(dir int, name string, flags int) (fd int, err error) {
	there, err := openAt(dir, name, flags|unix.O_PATH)
	if err != nil {
		return -1, err
	}
	defer unix.Close(there)
	stat, err := look(there)
	if err == nil {
		err = notRegular(kindOf(&stat))
	}
	if err != nil {
		return -1, err
	}
	return openAt(unix.AT_FDCWD, fdPath(there), openFlags)
}

// openLinked opens what a link within a folder leads to. os.Root keeps it from leading
// out, and nobody who is not believed can put anything else there meanwhile.
func openLinked(folder *os.Root, name string) (fd int, err error) {
	info, err := folder.Stat(name)
	if err != nil {
		return -1, escaped(err)
	}
	if err := notRegular(info.Mode().Type()); err != nil {
		return -1, err
	}
	file, err := folder.OpenFile(name, openFlags, 0)
	if err != nil {
		return -1, err
	}
	defer file.Close()
	return unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}

// escaped is err, or that a link leads out of its folder, for which there is no error number.
func escaped(err error) error {
	if _, ok := errors.AsType[unix.Errno](err); ok {
		return err
	}
	return errors.New("a symbolic link that leads out of the folder")
}

const openFlags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY

func openAt(dir int, name string, flags int) (fd int, err error) {
	for {
		fd, err = unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0)
		switch err {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			err = errLeased
		}
		return fd, err
	}
}

func look(fd int) (stat syscall.Stat_t, err error) {
	err = syscall.Fstat(fd, &stat)
	return stat, err
}

// Read spares the look behind the end of a file that is as long as it was.
func (in *input) Read(p []byte) (n int, err error) {
	for {
		if n, err = unix.Read(in.fd, p); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	n = max(n, 0)
	in.read += int64(n)
	switch {
	case err != nil:
	case in.read > in.most:
		err = large(in.most) // it grows
	case n == 0, n < len(p) && in.read == in.size:
		err = io.EOF
	}
	return n, err
}

func (in *input) close() { _ = unix.Close(in.fd) }

// fdPath is the name by which an open file can be opened again.
func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// kindOf is as fs.FileMode.Type has it.
func kindOf(stat *syscall.Stat_t) fs.FileMode {
	switch stat.Mode & syscall.S_IFMT {
	case syscall.S_IFREG:
		return 0
	case syscall.S_IFDIR:
		return fs.ModeDir
	case syscall.S_IFIFO:
		return fs.ModeNamedPipe
	case syscall.S_IFLNK:
		return fs.ModeSymlink
	}
	return fs.ModeIrregular
}

func notRegular(kind fs.FileMode) error {
	switch kind {
	case 0:
		return nil
	case fs.ModeDir:
		return errors.New("a folder, not a regular file")
	case fs.ModeNamedPipe:
		return errors.New("a FIFO, not a regular file")
	case fs.ModeSymlink:
		return errors.New("a symbolic link that was none before")
	}
	return errors.New("not a regular file")
}

// openIndex opens the index at path for reading, whoever it belongs to.
func openIndex(path string) (*os.File, error) {
	fd, err := openRegular(unix.AT_FDCWD, path, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, cause(err))
	}
	return os.NewFile(uintptr(fd), path), nil
}

// cause takes the path off an error: the caller names the file in its own words.
func cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
