package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// create takes the name only if it is free.
func (r *replacement) create() error {
	err := renameat2(r.folder, r.temp, r.name, unix.RENAME_NOREPLACE)
	if cannot(err) {
		// A hard link fails just so when the name is taken, and leaves the
		// temporary name to be removed.
		err = ignoreEINTR(func() error {
			return unix.Linkat(int(r.folder.Fd()), r.temp, int(r.folder.Fd()), r.name, 0)
		})
		if errors.Is(err, unix.EEXIST) {
			return ErrChanged
		}
		return err
	}
	if errors.Is(err, unix.EEXIST) {
		return ErrChanged
	}
	if err == nil {
		r.temp = ""
	}
	return err
}

// swap exchanges the two names and keeps the result only if what came back is
// what was read. The look before it makes that almost certain.
func (r *replacement) swap() error {
	if !r.unchanged(r.name) {
		return ErrChanged
	}
	err := renameat2(r.folder, r.temp, r.name, unix.RENAME_EXCHANGE)
	switch {
	case cannot(err):
		return r.rename()
	case errors.Is(err, unix.ENOENT):
		return ErrChanged
	case err != nil:
		return err
	}
	if r.unchanged(r.temp) && r.sameContent() {
		return nil
	}
	return r.putBack()
}

// unchanged reports whether the file of this name is the one that was read.
func (r *replacement) unchanged(name string) bool {
	id, err := look(r.folder, name)
	return err == nil && id == r.over.ID
}

// sameContent reads what the swap took out: a clock's tick may be longer than
// an edit in place, so the times alone do not tell.
func (r *replacement) sameContent() bool {
	taken, err := readAt(r.folder, r.temp, int64(len(r.over.Data)))
	return err == nil && bytes.Equal(taken.Data, r.over.Data)
}

// maxPutBack bounds the exchanges against somebody who replaces the file over
// and over; each of them would have to hit a gap of microseconds.
const maxPutBack = 100

// putBack undoes an exchange that took out somebody else's edit. Should yet
// another one have come in since, what comes out is not the file we put there
// but that edit; being the latest, it goes back in turn.
func (r *replacement) putBack() error {
	placed := r.mine
	for range maxPutBack {
		placing := identify(r.folder, r.temp)
		err := renameat2(r.folder, r.temp, r.name, unix.RENAME_EXCHANGE)
		if errors.Is(err, unix.ENOENT) {
			return ErrChanged // somebody removed the file: that is the latest edit
		}
		if err != nil {
			kept := r.temp
			r.temp = ""
			return fmt.Errorf("put back somebody else's edit, which is now in %s: %w", kept, err)
		}
		if identify(r.folder, r.temp) == placed {
			return ErrChanged
		}
		placed = placing
	}
	return ErrChanged
}

// inode names a file of any kind, whatever its content.
type inode struct{ device, number uint64 }

func identify(folder *os.File, name string) inode {
	var stat unix.Stat_t
	if unix.Fstatat(int(folder.Fd()), name, &stat, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return inode{}
	}
	return inode{uint64(stat.Dev), stat.Ino}
}

// cannot reports whether the kernel or the file system lacks a way to rename.
func cannot(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTSUP)
}

// renameat2 calls renameat(2) where there are no flags: it is the older one.
func renameat2(folder *os.File, from, to string, flags uint) error {
	fd := int(folder.Fd())
	return ignoreEINTR(func() error {
		if flags == 0 {
			return unix.Renameat(fd, from, fd, to)
		}
		return unix.Renameat2(fd, from, fd, to, flags)
	})
}

// remove takes a name away, whatever it names. A folder that is not empty
// stays: it came from somebody else, and it is in the way of nothing.
func remove(folder *os.File, name string) {
	fd := int(folder.Fd())
	err := ignoreEINTR(func() error { return unix.Unlinkat(fd, name, 0) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
	}
}
