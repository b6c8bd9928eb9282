package boltstore

import (
	"fmt"
	"os"

	"go.etcd.io/bbolt"
)

// inspect reads the whole file, without write access, and tells what is wrong with it. bbolt itself
// believes its file: of a damaged one it reads beyond the end, or writes over what is in use. What it does not
// find is damage within a value.
func inspect(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("look at the store: %w", err)
	}
	if info.Size() == 0 {
		return foreign(path) // bbolt would take it for a new one; ours are never empty
	}
	db, err := openFile(path, true)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error { return sound(tx, path) })
}

func sound(tx *bbolt.Tx, path string) error {
	file, err := os.ReadFile(path) // bbolt's lock is held
	if err != nil {
		return fmt.Errorf("read the store: %w", err)
	}
	if int64(len(file)) < tx.Size() {
		return damaged(path, fmt.Errorf("%d bytes of %d", len(file), tx.Size()))
	}
	if err := checkPages(file, tx); err != nil {
		return damaged(path, err)
	}
	if tx.Bucket([]byte(bucketName)) == nil {
		return foreign(path)
	}
	return nil
}

func damaged(path string, cause error) error {
	return fmt.Errorf("%s is damaged (%w): put a copy of it back, or move it away and begin with an empty region", path, cause)
}

func foreign(path string) error {
	return fmt.Errorf("%s is no region's store that this program knows, or its beginning is damaged: move it away, or take another folder", path)
}
