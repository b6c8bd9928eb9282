package rooted

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pkg/sftp"
)

// Filecmd changes what is in the folder.
func (f *folder) Filecmd(r *sftp.Request) error {
	change, known := map[string]func(*sftp.Request) error{
		"Setstat": f.setstat,
		"Rename":  f.rename,
		"Rmdir":   f.rmdir,
		"Mkdir":   f.mkdir,
		"Link":    f.link,
		"Symlink": f.symlink,
		"Remove":  f.remove,
	}[r.Method]
	if !known {
		return sftp.ErrSSHFxOpUnsupported
	}
	return f.change(change, r)
}

// PosixRename replaces what has the new name (posix-rename@openssh.com).
func (f *folder) PosixRename(r *sftp.Request) error {
	return f.change(func(r *sftp.Request) error {
		from, to := below(r.Filepath), below(r.Target)
		if err := f.mayMove(from, to); err != nil {
			return err
		}
		return f.root.Rename(from, to)
	}, r)
}

func (f *folder) change(change func(*sftp.Request) error, r *sftp.Request) (err error) {
	defer f.guard(&err)
	if f.readOnly {
		return sftp.ErrSSHFxPermissionDenied
	}
	return status(change(r))
}

func (f *folder) mkdir(r *sftp.Request) error { return f.root.Mkdir(below(r.Filepath), 0o777) }

func (f *folder) link(r *sftp.Request) error {
	from, to := below(r.Filepath), below(r.Target)
	if err := f.mayMove(from, to); err != nil {
		return err
	}
	return f.root.Link(from, to)
}

func (f *folder) remove(r *sftp.Request) error {
	return f.removeIf(below(r.Filepath), false, syscall.EISDIR)
}

func (f *folder) rmdir(r *sftp.Request) error {
	return f.removeIf(below(r.Filepath), true, syscall.ENOTDIR)
}

// removeIf removes a folder, or what is none; for the other there is otherwise.
func (f *folder) removeIf(name string, isFolder bool, otherwise error) error {
	info, err := f.root.Lstat(name)
	if err != nil {
		return err
	}
	if info.IsDir() != isFolder {
		return otherwise
	}
	return f.root.Remove(name)
}

// rename replaces nothing: SSH_FXP_RENAME is refused where the new name is taken. For what can have two names
// that holds also against others who make it at the same time.
func (f *folder) rename(r *sftp.Request) error {
	from, to := below(r.Filepath), below(r.Target)
	info, err := f.root.Lstat(from)
	if err != nil {
		return err
	}
	if err := f.mayMove(from, to); err != nil {
		return err
	}
	if info.Mode().IsRegular() {
		err := f.root.Link(from, to)
		if err == nil {
			return f.root.Remove(from)
		}
		if !errors.Is(err, syscall.EPERM) && !errors.Is(err, syscall.EOPNOTSUPP) { // not every file system has hard links
			return err
		}
	}
	if _, err := f.root.Lstat(to); err == nil {
		return syscall.EEXIST
	}
	return f.root.Rename(from, to)
}

// symlink makes a link. Its text is relative, so that what is "/" to the client is the folder also to who follows the
// link here; one that climbs out of the folder is refused.
func (f *folder) symlink(r *sftp.Request) error {
	text, name := r.Filepath, below(r.Target)
	if path.IsAbs(text) {
		relative, err := filepath.Rel(path.Dir("/"+name), path.Clean(text))
		if err != nil {
			return err
		}
		text = relative
	} else if climbs(name, text) {
		return syscall.EACCES
	}
	return f.root.Symlink(text, name)
}

// climbs tells whether a link of that name would lead out, as far as its text says.
func climbs(name, text string) bool { return !filepath.IsLocal(path.Join(path.Dir(name), text)) }

// mayMove refuses a link that would lead out from its new place. One with an absolute text, which somebody else has made,
// leads to the same from everywhere.
func (f *folder) mayMove(from, to string) error {
	text, err := f.root.Readlink(from)
	if err == nil && !path.IsAbs(text) && climbs(to, text) {
		return syscall.EACCES
	}
	return nil
}

// setstat sets the attributes that are given, in the order of sftp-server(8). Of a mode it sets the permissions only: nobody
// makes a setuid program of a server that runs as root.
func (f *folder) setstat(r *sftp.Request) error {
	name, given, to := below(r.Filepath), r.AttrFlags(), r.Attributes()
	if to == nil {
		return syscall.EINVAL // attributes that end too soon
	}
	for _, step := range []struct {
		given bool
		set   func() error
	}{
		{given.Size, func() error { return f.truncate(name, to.Size) }},
		{given.Permissions, func() error { return f.root.Chmod(name, to.FileMode()&os.ModePerm) }},
		{given.Acmodtime, func() error {
			return f.root.Chtimes(name, time.Unix(int64(to.Atime), 0), time.Unix(int64(to.Mtime), 0))
		}},
		{given.UidGid, func() error { return f.root.Chown(name, int(to.UID), int(to.GID)) }},
	} {
		if !step.given {
			continue
		}
		if err := step.set(); err != nil {
			return err
		}
	}
	return nil
}

func (f *folder) truncate(name string, size uint64) error {
	opened, err := f.regular(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer opened.Close()
	return opened.Truncate(int64(size))
}
