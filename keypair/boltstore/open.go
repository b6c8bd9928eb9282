package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/latchkey-ssh/latchkey/keypair/internal/commits"
)

// lockWait is how long another process may take to close the store.
const lockWait = time.Second

// mapSize, in bytes of addresses, is more than a region needs: while a file outgrows its map, bbolt
// has the writer wait for all that read.
const mapSize = 256 << 20

// growth is by how many bytes the file grows when it has to.
const growth = 256 << 10

// Open returns the store in the folder. Folder (0700) and file (0600) have to be the caller's own. It is an
// error, and changes nothing, if there is none (fs.ErrNotExist), if others have access, if another process
// has the store open, and if the file is damaged or no region's store. None is made by the way: an
// empty one in the place of one that is lost would say that nothing is bound.
func Open(folder string) (*Store, error) {
	path := filepath.Join(folder, FileName)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no region is in %s: %w", folder, err)
	}
	if err := private(folder, fs.ModeDir); err != nil {
		return nil, err
	}
	if err := private(path, 0); err != nil {
		return nil, err
	}
	if err := inspect(path); err != nil {
		return nil, err
	}
	db, err := openFile(path, false)
	if err != nil {
		return nil, err
	}
	return &Store{db: db, path: path, commits: commits.New()}, nil
}

// private refuses what is of another kind, or what others than the caller can use. What is
// there may be a link to it.
func private(path string, kind fs.FileMode) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("look at the store: %w", err)
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch {
	case info.Mode().Type() != kind:
		return fmt.Errorf("%s is neither a folder nor a regular file where the store needs one: move it away", path)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s has access keys in it and mode %#o, which lets others in: chmod go= %s", path, info.Mode().Perm(), path)
	case int(owner) != os.Geteuid():
		return fmt.Errorf("%s belongs to user id %d, and this is user id %d: run as that user", path, owner, os.Geteuid())
	}
	return nil
}

// openFile opens the file with bbolt, which locks it: for itself, or together with others who only read.
// Reading alone, bbolt looks at nothing but the file's two first pages yet.
func openFile(path string, readOnly bool) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: lockWait, ReadOnly: readOnly, NoStatistics: true,
		FreelistType: bbolt.FreelistMapType, InitialMmapSize: mapSize,
	})
	if err != nil {
		return nil, explain(path, err)
	}
	db.AllocSize = growth
	return db, nil
}

// explain tells what a person can do about a file that bbolt does not open.
func explain(path string, err error) error {
	var system syscall.Errno
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return fmt.Errorf("%s is in use by %s: stop that first, or take another folder", path, lockHolder(path))
	case errors.As(err, &system):
		return fmt.Errorf("open %s: %w", path, err)
	}
	return foreign(path)
}
