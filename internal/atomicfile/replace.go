package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrChanged is returned by Replace with Over when the file is no longer the
// one that was read. What is under the name is then what somebody else put
// there; read it and decide again.
var ErrChanged = errors.New("changed by somebody else meanwhile")

// An Option changes what Replace does.
type Option func(*replacement)

// Over makes Replace a compare and swap: it succeeds only if the file is still
// the one that was read, or, when s is nil, if there still is none. Otherwise it
// returns ErrChanged.
//
// There is no such operation in Linux, so it is made of an exchange of the two
// names (renameat2(2)), a look at what came back, and another exchange when that
// is not what was read. For the few microseconds between, others see the new
// content. Where the file system cannot exchange names, the look comes
// directly before a plain rename.
func Over(s *Snapshot) Option {
	return func(r *replacement) { r.compare, r.over = true, s }
}

// Owner gives the new file to this user and group. Without it, it belongs to
// whoever runs Replace.
func Owner(uid, gid int) Option {
	return func(r *replacement) { r.owned, r.uid, r.gid = true, uid, gid }
}

// Before runs check right before the name is taken; its error ends Replace with
// nothing changed.
func Before(check func() error) Option {
	return func(r *replacement) { r.before = check }
}

// Replace makes data the content of the file name in dir, with this mode
// whatever the umask is. The old file's SELinux label goes with it. On an error
// the file is as it was and no temporary file is left, save when the error is
// that of syncing the folder after the rename.
func Replace(dir *os.Root, name string, data []byte, mode fs.FileMode, options ...Option) error {
	return Stream(dir, name, content(data), mode, options...)
}

// content returns what writes the data.
func content(data []byte) func(*os.File) error {
	return func(file *os.File) error {
		_, err := file.Write(data)
		return cause(err)
	}
}

// Stream is Replace for content that is not in memory as a whole: write puts it into
// the file that it is given, which is empty, and leaves that open.
func Stream(dir *os.Root, name string, write func(*os.File) error, mode fs.FileMode, options ...Option) error {
	folder, err := openFolder(dir, name)
	if err != nil {
		return err
	}
	defer folder.Close()
	r := replacement{folder: folder, name: name, mode: mode, before: func() error { return nil }}
	for _, option := range options {
		option(&r)
	}
	sweep(folder)
	if err := r.write(dir, write); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer r.discard()
	if err := r.before(); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := r.commit(); err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	if err := syncFolder(folder); err != nil {
		return fmt.Errorf("sync the folder of %s: %w", name, err)
	}
	return nil
}

// A replacement is one run of Replace.
type replacement struct {
	folder *os.File
	name   string
	mode   fs.FileMode
	before func() error

	compare bool
	over    *Snapshot

	owned    bool
	uid, gid int

	temp string // name of the temporary file; empty: it is gone
	mine inode  // the temporary file itself
}

// write leaves the content in a temporary file, complete and synced, or nothing.
// The mode is set on the descriptor while the file is still empty: the umask may
// have taken bits away, and content must never be in a file of a looser mode.
func (r *replacement) write(dir *os.Root, write func(*os.File) error) error {
	temp := tempName()
	file, err := dir.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, r.mode.Perm()&0o600)
	if err != nil {
		return fmt.Errorf("make a temporary file: %w", cause(err))
	}
	r.temp = temp
	if err := errors.Join(r.fill(file, write), file.Close()); err != nil {
		r.discard()
		return err
	}
	return nil
}

func (r *replacement) fill(file *os.File, write func(*os.File) error) error {
	if err := r.dress(file); err != nil {
		return err
	}
	if err := write(file); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("sync: %w", cause(err))
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return err
	}
	r.mine = inode{uint64(stat.Dev), stat.Ino}
	return nil
}

// dress gives the empty file its owner, mode and label.
func (r *replacement) dress(file *os.File) error {
	if r.owned {
		if err := file.Chown(r.uid, r.gid); err != nil {
			return fmt.Errorf("give it to uid %d: %w", r.uid, cause(err))
		}
	}
	if err := file.Chmod(r.mode); err != nil {
		return fmt.Errorf("set mode %o: %w", r.mode, cause(err))
	}
	copyLabel(r.folder, r.name, file)
	return nil
}

// discard removes what has the temporary name.
func (r *replacement) discard() {
	if r.temp != "" {
		remove(r.folder, r.temp)
		r.temp = ""
	}
}

// commit gives the temporary file the name.
func (r *replacement) commit() error {
	switch {
	case !r.compare:
		return r.rename()
	case r.over == nil:
		return r.create()
	}
	return r.swap()
}

func (r *replacement) rename() error {
	if err := renameat2(r.folder, r.temp, r.name, 0); err != nil {
		return err
	}
	r.temp = ""
	return nil
}

// syncFolder makes the rename last. Some file systems cannot sync a folder, and
// say so by EINVAL; their renames are as lasting as they get.
func syncFolder(folder *os.File) error {
	err := ignoreEINTR(func() error { return unix.Fsync(int(folder.Fd())) })
	if errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}
