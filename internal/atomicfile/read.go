package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A Snapshot is a file as it was when it was read.
type Snapshot struct {
	Data     []byte
	Mode     fs.FileMode // permission bits
	UID, GID int
	ID       ID
}

// An ID tells one state of one file from another without its content. The zero
// ID is that of no file.
type ID struct {
	Device, Inode uint64
	Size          int64
	Modified      int64 // nanoseconds since the epoch
}

// A KindError refuses what is not a regular file.
type KindError struct {
	Name string
	Mode fs.FileMode // the type bits of what it is
}

func (e *KindError) Error() string {
	return fmt.Sprintf("%s is %s, not a regular file: move it away", e.Name, kindName(e.Mode))
}

func kindName(mode fs.FileMode) string {
	switch mode.Type() {
	case fs.ModeDir:
		return "a directory"
	case fs.ModeSymlink:
		return "a symbolic link"
	case fs.ModeNamedPipe:
		return "a FIFO"
	case fs.ModeSocket:
		return "a socket"
	}
	return "a device"
}

// A SizeError refuses a file above a limit.
type SizeError struct {
	Name  string
	Limit int64 // bytes
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("%s is larger than %d bytes: shorten it", e.Name, e.Limit)
}

// Read reads the regular file name in dir, up to limit bytes. A missing file is
// an error that is fs.ErrNotExist; anything but a regular file a *KindError,
// found without opening it; a larger file a *SizeError.
func Read(dir *os.Root, name string, limit int64) (*Snapshot, error) {
	folder, err := openFolder(dir, name)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	return readAt(folder, name, limit)
}

// openFolder gives the descriptor that dir keeps to itself, and makes sure that
// name is a name in that folder and no path.
func openFolder(dir *os.Root, name string) (*os.File, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return nil, fmt.Errorf("file name %q: not a plain name", name)
	}
	folder, err := dir.Open(".")
	if err != nil {
		return nil, fmt.Errorf("open folder %s: %w", dir.Name(), cause(err))
	}
	return folder, nil
}

// readAt looks again at what it opened, which may be another file than the one
// that openRegular saw.
func readAt(folder *os.File, name string, limit int64) (*Snapshot, error) {
	file, err := openRegular(folder, name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return nil, fmt.Errorf("look at %s: %w", name, err)
	}
	if err := checkRegular(name, &stat); err != nil {
		return nil, err
	}
	if stat.Size > limit {
		return nil, &SizeError{name, limit}
	}
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, cause(err))
	}
	if int64(len(data)) > limit {
		return nil, &SizeError{name, limit}
	}
	return &Snapshot{
		Data: data, Mode: fs.FileMode(stat.Mode & 0o7777),
		UID: int(stat.Uid), GID: int(stat.Gid), ID: idOf(&stat),
	}, nil
}

// look returns the id of the regular file that has the name now.
func look(folder *os.File, name string) (ID, error) {
	var stat unix.Stat_t
	err := ignoreEINTR(func() error {
		return unix.Fstatat(int(folder.Fd()), name, &stat, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return ID{}, fmt.Errorf("look at %s: %w", name, err)
	}
	return idOf(&stat), checkRegular(name, &stat)
}

// openRegular looks before it opens: opening a device can have effects of its
// own. The open does not wait for the other end of a FIFO that came in between.
func openRegular(folder *os.File, name string) (*os.File, error) {
	if _, err := look(folder, name); err != nil {
		return nil, err
	}
	return openAt(folder, name)
}

func openAt(folder *os.File, name string) (*os.File, error) {
	var fd int
	err := ignoreEINTR(func() (err error) {
		const flags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NOCTTY
		fd, err = unix.Openat(int(folder.Fd()), name, flags, 0)
		return err
	})
	if errors.Is(err, unix.ELOOP) {
		return nil, &KindError{name, fs.ModeSymlink}
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func idOf(stat *unix.Stat_t) ID {
	return ID{
		Device: uint64(stat.Dev), Inode: stat.Ino,
		Size: stat.Size, Modified: stat.Mtim.Nano(),
	}
}

func checkRegular(name string, stat *unix.Stat_t) error {
	var kind fs.FileMode
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil
	case unix.S_IFDIR:
		kind = fs.ModeDir
	case unix.S_IFLNK:
		kind = fs.ModeSymlink
	case unix.S_IFIFO:
		kind = fs.ModeNamedPipe
	case unix.S_IFSOCK:
		kind = fs.ModeSocket
	default:
		kind = fs.ModeDevice
	}
	return &KindError{name, kind}
}

func ignoreEINTR(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// cause takes the path off an error: the caller names the file in its own words.
func cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
