package rooted

import (
	"encoding/binary"
	"io"
	"os"
	"syscall"

	"github.com/pkg/sftp"
)

// Fileread opens a file to read.
func (f *folder) Fileread(r *sftp.Request) (_ io.ReaderAt, err error) {
	defer f.guard(&err)
	return f.open(r)
}

// Filewrite opens a file to write.
func (f *folder) Filewrite(r *sftp.Request) (_ io.WriterAt, err error) {
	defer f.guard(&err)
	return f.open(r)
}

// OpenFile opens a file to read and write.
func (f *folder) OpenFile(r *sftp.Request) (_ sftp.WriterAtReaderAt, err error) {
	defer f.guard(&err)
	return f.open(r)
}

// open opens what the request asks for. Only its kinds of access are given: a handle that was opened to read does not write.
func (f *folder) open(r *sftp.Request) (sftp.WriterAtReaderAt, error) {
	flags := r.Pflags()
	if f.readOnly && flags != (sftp.FileOpenFlags{Read: true}) {
		return nil, sftp.ErrSSHFxPermissionDenied
	}
	if err := f.acquire(); err != nil {
		return nil, status(err)
	}
	opened, err := f.regular(below(r.Filepath), systemFlags(flags), newMode(r.Attrs))
	if err != nil {
		f.release()
		return nil, status(err)
	}
	handle := file{opened, f}
	if flags.Append {
		return appended{handle}, nil
	}
	return handle, nil
}

// systemFlags are those of open(2) for those of SSH_FXP_OPEN.
func systemFlags(flags sftp.FileOpenFlags) int {
	system := os.O_RDONLY
	writes := flags.Write || flags.Append
	switch {
	case writes && flags.Read:
		system = os.O_RDWR
	case writes:
		system = os.O_WRONLY
	}
	for _, flag := range []struct {
		set    bool
		system int
	}{
		{flags.Append, os.O_APPEND},
		{flags.Creat, os.O_CREATE},
		{flags.Trunc && writes, os.O_TRUNC},
		{flags.Creat && flags.Excl, os.O_EXCL},
	} {
		if flag.set {
			system |= flag.system
		}
	}
	return system
}

// newMode is the mode for a file that is made. The library keeps the attributes of SSH_FXP_OPEN, but not the
// flags that say which they are; of four bytes they can only be the permissions, and OpenSSH sends no others.
func newMode(attrs []byte) os.FileMode {
	const standard = 0o666
	if len(attrs) != 4 {
		return standard
	}
	return os.FileMode(binary.BigEndian.Uint32(attrs)) & os.ModePerm
}

// regular opens a regular file. Nothing else is opened for longer than it takes to see what it is, and
// nobody waits for the other end of a FIFO.
func (f *folder) regular(name string, flags int, mode os.FileMode) (*os.File, error) {
	if info, err := f.root.Stat(name); err == nil && !info.Mode().IsRegular() {
		return nil, notRegular(info)
	}
	opened, err := f.root.OpenFile(name, flags|syscall.O_NONBLOCK|syscall.O_NOCTTY, mode)
	if err != nil {
		return nil, err
	}
	info, err := opened.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = notRegular(info)
	}
	if err != nil {
		_ = opened.Close()
		return nil, err
	}
	return opened, nil
}

func notRegular(info os.FileInfo) error {
	if info.IsDir() {
		return syscall.EISDIR
	}
	return syscall.EACCES
}

// file is an open file.
type file struct {
	*os.File
	folder *folder
}

func (f file) ReadAt(p []byte, offset int64) (int, error) {
	n, err := f.File.ReadAt(p, offset)
	return n, status(err)
}

func (f file) WriteAt(p []byte, offset int64) (int, error) {
	n, err := f.File.WriteAt(p, offset)
	return n, status(err)
}

func (f file) Close() error {
	f.folder.release()
	return status(f.File.Close())
}

// appended is a file to which is added at its end, whatever the client takes for the offset.
type appended struct{ file }

func (f appended) WriteAt(p []byte, _ int64) (int, error) {
	n, err := f.Write(p)
	return n, status(err)
}
