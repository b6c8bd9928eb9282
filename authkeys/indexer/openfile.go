package indexer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// open opens a user's file, if it can be believed.
func (s *sources) open(f file) (*os.File, error) {
	opened, err := s.openAnyway(f)
	if err != nil {
		return nil, err
	}
	info, err := opened.Stat()
	if err == nil {
		err = notRegular(info.Mode().Type())
	}
	if err == nil {
		err = s.owners.unsafe(info, f.user)
	}
	if err == nil && (f.linked || s.folders[f.source] == nil) { // else its folder has been looked at
		err = s.owners.unsafeFolder(opened, f.user)
	}
	if err != nil {
		opened.Close()
		return nil, err
	}
	return opened, nil
}

// openAnyway opens a user's file, whoever may write to it.
func (s *sources) openAnyway(f file) (*os.File, error) {
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
	fd, err := unix.Openat(int(s.listed[f.source].Fd()), f.user, openFlags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.user), nil
}

// openRegular opens a regular file. What is none is looked at, but not opened: no device
// takes notice, and no FIFO waits for its other end.
func openRegular(dir int, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(dir, name, flags|unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	there := os.NewFile(uintptr(fd), name)
	defer there.Close()
	if err := checkRegular(there); err != nil {
		return nil, err
	}
	return os.OpenFile(fdPath(there), openFlags, 0)
}

// openLinked opens what a link within a folder leads to. os.Root keeps it from leading
// out, and nobody who is not believed can put anything else there meanwhile.
func openLinked(folder *os.Root, name string) (*os.File, error) {
	info, err := folder.Stat(name)
	if err != nil {
		return nil, escaped(err)
	}
	if err := notRegular(info.Mode().Type()); err != nil {
		return nil, err
	}
	return folder.OpenFile(name, openFlags, 0)
}

// escaped is err, or that a link leads out of its folder, for which there is no error number.
func escaped(err error) error {
	if _, ok := errors.AsType[unix.Errno](err); ok {
		return err
	}
	return errors.New("a symbolic link that leads out of the folder")
}

const openFlags = os.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY

// fdPath is the name by which an open file can be opened again.
func fdPath(file *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(file.Fd())) }

func checkRegular(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return notRegular(info.Mode().Type())
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

// openAt is openRegular of a path, with that in the error.
func openAt(path string) (*os.File, error) {
	opened, err := openRegular(unix.AT_FDCWD, path, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, cause(err))
	}
	return opened, nil
}

// cause takes the path off an error: the caller names the file in its own words.
func cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
