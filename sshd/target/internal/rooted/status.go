package rooted

import (
	"errors"
	"io"
	"syscall"

	"github.com/pkg/sftp"
)

// errTooMany is what the kernel answers when a process may open no more files.
var errTooMany = error(syscall.EMFILE)

// status is the error with a code of SFTP (draft-ietf-secsh-filexfer-02 section 7), and without its
// path, which would name a folder outside of the root. The codes are those of sftp-server(8).
func status(err error) error {
	var errno syscall.Errno
	switch {
	case err == nil, err == io.EOF: //nolint:errorlint // the library compares too
		return err
	case !errors.As(err, &errno):
		return sftp.ErrSSHFxPermissionDenied // os.Root has no error to compare with for a path that leads out of it
	}
	switch errno {
	case syscall.ENOENT, syscall.ENOTDIR, syscall.EBADF, syscall.ELOOP:
		return sftp.ErrSSHFxNoSuchFile
	case syscall.EPERM, syscall.EACCES, syscall.EROFS:
		return sftp.ErrSSHFxPermissionDenied
	case syscall.ENAMETOOLONG, syscall.EINVAL:
		return sftp.ErrSSHFxBadMessage
	case syscall.ENOSYS, syscall.EOPNOTSUPP:
		return sftp.ErrSSHFxOpUnsupported
	}
	return failure{errno}
}

// failure is SSH_FX_FAILURE with the kernel's words for it.
type failure struct{ errno syscall.Errno }

func (f failure) Error() string { return f.errno.Error() }
