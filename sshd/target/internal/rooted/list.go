package rooted

import (
	"errors"
	"io"
	"os"
	"syscall"

	"github.com/pkg/sftp"
	"golang.org/x/sys/unix"
)

// Filelist lists a folder or tells what a path leads to.
func (f *folder) Filelist(r *sftp.Request) (_ sftp.ListerAt, err error) {
	defer f.guard(&err)
	if r.Method == "List" {
		return f.list(below(r.Filepath))
	}
	return one(f.root.Stat(below(r.Filepath)))
}

// Lstat tells what is at a path, be it a link.
func (f *folder) Lstat(r *sftp.Request) (_ sftp.ListerAt, err error) {
	defer f.guard(&err)
	return one(f.root.Lstat(below(r.Filepath)))
}

// Readlink is the text of a link, wherever it points.
func (f *folder) Readlink(name string) (_ string, err error) {
	defer f.guard(&err)
	text, err := f.root.Readlink(below(name))
	return text, status(err)
}

// StatVFS tells how much room there is (statvfs@openssh.com).
func (f *folder) StatVFS(r *sftp.Request) (_ *sftp.StatVFS, err error) {
	defer f.guard(&err)
	at, err := f.root.OpenFile(below(r.Filepath), unix.O_PATH, 0) // opens no device
	if err != nil {
		return nil, status(err)
	}
	defer at.Close()
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(at.Fd()), &s); err != nil {
		return nil, status(err)
	}
	return &sftp.StatVFS{
		Bsize: uint64(s.Bsize), Frsize: uint64(s.Frsize), Blocks: s.Blocks, Bfree: s.Bfree, Bavail: s.Bavail,
		Files: s.Files, Ffree: s.Ffree, Favail: s.Ffree, Flag: uint64(s.Flags), Namemax: uint64(s.Namelen),
	}, nil
}

// single is the answer about one file.
type single struct{ os.FileInfo }

func one(info os.FileInfo, err error) (sftp.ListerAt, error) {
	if err != nil {
		return nil, status(err)
	}
	return single{info}, nil
}

func (s single) ListAt(to []os.FileInfo, _ int64) (int, error) {
	return copy(to, []os.FileInfo{s.FileInfo}), io.EOF
}

// listing is an open folder. Each entry is looked at by the folder's own descriptor, so the folder may be moved meanwhile.
type listing struct {
	folder *folder
	root   *os.Root
	names  *os.File
}

func (f *folder) list(name string) (sftp.ListerAt, error) {
	if err := f.acquire(); err != nil {
		return nil, status(err)
	}
	l, err := f.openListing(name)
	if err != nil {
		f.release()
		return nil, status(err)
	}
	return l, nil
}

func (f *folder) openListing(name string) (*listing, error) {
	info, err := f.root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, syscall.ENOTDIR
	}
	root, err := f.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	names, err := root.Open(".")
	if err != nil {
		_ = root.Close()
		return nil, err
	}
	return &listing{f, root, names}, nil
}

// ListAt goes on where it was: clients read a folder from its beginning to its end. An entry that is gone by now is left out.
func (l *listing) ListAt(to []os.FileInfo, _ int64) (int, error) {
	for {
		names, err := l.names.Readdirnames(len(to))
		n := 0
		for _, name := range names {
			info, err := l.root.Lstat(name)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return n, status(err)
			}
			to[n] = info
			n++
		}
		if n > 0 || err != nil {
			return n, status(err)
		}
	}
}

func (l *listing) Close() error {
	l.folder.release()
	return status(errors.Join(l.names.Close(), l.root.Close()))
}
