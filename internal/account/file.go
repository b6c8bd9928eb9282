package account

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxFileSize bounds what is read of one file; 16 MiB of passwd(5) are some
// 200 000 accounts.
const maxFileSize = 16 << 20

// readLines returns the lines of a file below root. A NUL ends a line's text,
// as it does for the C library.
func readLines(root, path string) ([]string, error) {
	content, err := readFile(root, path)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(content), "\n")
	for i, line := range lines {
		lines[i], _, _ = strings.Cut(line, "\x00")
	}
	return lines, nil
}

func readFile(root, path string) ([]byte, error) {
	file, err := open(root, path, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", below(root, path), err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", below(root, path), err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", below(root, path))
	}
	var content bytes.Buffer
	n, err := io.Copy(&content, io.LimitReader(file, maxFileSize+1))
	if err == nil && n > maxFileSize {
		err = fmt.Errorf("larger than %d MiB", maxFileSize>>20)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", below(root, path), err)
	}
	return content.Bytes(), nil
}

// stat follows links as a process whose root is root would.
func stat(root, path string) (fs.FileInfo, error) {
	file, err := open(root, path, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return file.Stat()
}

// open opens a path below root, where an absolute link means one below root
// too. The kernel resolves it (openat2, Linux 5.6); older ones are only ever
// asked about their own root, which needs no help.
func open(root, path string, flags int) (*os.File, error) {
	if filepath.Clean(root) == "/" {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		return newFile(fd, path, err)
	}
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	how := unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	for {
		fd, err := unix.Openat2(dir, path, &how)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) { // EAGAIN: a rename raced with it
			return newFile(fd, path, err)
		}
	}
}

func newFile(fd int, path string, err error) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// below is the path as a person would have to type it.
func below(root, path string) string { return filepath.Join(root, path) }
