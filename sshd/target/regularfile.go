package target

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// readRegular reads a file whole. It does not wait for a FIFO's writer, and does not read what is no file, or larger than most bytes.
//
// It is asked twice in each login, and takes a fifth of the time that package os would: no poller has to be told
// of a file that is closed at once, and no buffer grows towards a size that is known.
func readRegular(path string, most int) ([]byte, error) {
	fd, err := uninterrupted(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	return readOpen(fd, path, most)
}

// readOpen reads a file that was opened from its beginning. The null device is an empty one.
func readOpen(fd int, path string, most int) ([]byte, error) {
	var info unix.Stat_t
	if err := unix.Fstat(fd, &info); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if info.Mode&unix.S_IFMT == unix.S_IFCHR && info.Rdev == unix.Mkdev(1, 3) {
		return nil, nil
	}
	if info.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("read %s: not a regular file", path)
	}
	data, err := readUpTo(fd, info.Size, int64(most)+1)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	if len(data) > most {
		return nil, fmt.Errorf("read %s: larger than %d bytes", path, most)
	}
	return data, nil
}

// readUpTo reads a file of about size bytes to its end, or until it has most. The room for one byte more than size shows in
// the same read whether the file has grown.
func readUpTo(fd int, size, most int64) ([]byte, error) {
	data := make([]byte, 0, min(size+1, most))
	for {
		n, err := uninterrupted(func() (int, error) { return unix.Read(fd, data[len(data):cap(data)]) })
		if err != nil {
			return nil, err
		}
		data = data[:len(data)+n]
		switch got := int64(len(data)); {
		case n == 0, got == size, got >= most:
			return data, nil
		case len(data) == cap(data):
			data = append(data, 0)[:len(data)]
		}
	}
}

// uninterrupted calls again what a signal has interrupted: some file systems let that happen (signal(7)).
func uninterrupted(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
