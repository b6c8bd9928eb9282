package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// Create makes an empty store in the folder, which it makes where there is none, but not the
// folder's parent, and opens it. It is an error (fs.ErrExist) if a store is there already.
func Create(folder string) (*Store, error) {
	if err := makeFolder(folder); err != nil {
		return nil, err
	}
	if err := makeFile(filepath.Join(folder, FileName)); err != nil {
		return nil, err
	}
	return Open(folder)
}

func makeFolder(folder string) error {
	err := os.Mkdir(folder, 0o700)
	if err == nil {
		err = syncFolder(filepath.Dir(filepath.Clean(folder)))
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the store's folder: %w", err)
	}
	return private(folder, fs.ModeDir)
}

// makeFile makes an empty store. It takes its name when it is complete, so that a crash
// leaves none or a whole one.
func makeFile(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return taken(path, err)
	}
	folder := filepath.Dir(path)
	temp, err := makeEmpty(folder)
	if err == nil {
		err = os.Link(temp, path)
		removeTemps(folder)
	}
	if err == nil {
		err = syncFolder(folder)
	} else if _, statErr := os.Lstat(path); statErr == nil {
		return taken(path, nil) // another process was faster
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	return nil
}

// taken is the error of a name that is not free, or of which err keeps from knowing it.
func taken(path string, err error) error {
	if err != nil {
		return fmt.Errorf("look at the store: %w", err)
	}
	return fmt.Errorf("make %s: %w", path, fs.ErrExist)
}

// tempPattern is of files that no store was made of yet, or never will.
const tempPattern = "." + FileName + "-*"

func makeEmpty(folder string) (temp string, err error) {
	file, err := os.CreateTemp(folder, tempPattern) // with mode 0600
	if err != nil {
		return "", err
	}
	if err := file.Close(); err != nil {
		return "", err
	}
	db, err := bbolt.Open(file.Name(), 0o600, &bbolt.Options{Timeout: lockWait})
	if err != nil {
		return "", err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte(bucketName))
		return err
	})
	return file.Name(), errors.Join(err, db.Close())
}

// removeTemps, once there is a store, also takes the files that a crash has left. One that another process is
// just making goes too: that process finds the store.
func removeTemps(folder string) {
	temps, _ := filepath.Glob(filepath.Join(folder, tempPattern))
	for _, temp := range temps {
		_ = os.Remove(temp) // one that stays does no harm
	}
}

func syncFolder(folder string) error {
	opened, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer opened.Close()
	return opened.Sync()
}
