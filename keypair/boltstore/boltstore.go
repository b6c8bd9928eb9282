// Package boltstore is a keypair.Store in one file, for one process at a time.
//
// bbolt gives what matters: a transaction is in the file as a whole or not at all, whatever
// is killed in between, and what was committed was synced before. This package adds that the file
// is nobody else's to read, since access keys are in it, that what was never a region's store or
// is damaged is found before anything is written to it, and that watchers hear of commits.
package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/internal/commits"
)

// FileName is the store's file in its folder.
const FileName = "region.db"

// bucketName holds all there is. The number is the format's: a program that does not know it
// leaves the file alone.
const bucketName = "latchkey region 1"

// Store is a keypair.Store in a file.
type Store struct {
	db      *bbolt.DB
	path    string
	commits *commits.Sequence
}

var _ keypair.Store = (*Store)(nil)

// View implements keypair.Store.
func (s *Store) View(ctx context.Context, read func(keypair.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	begun, err := s.db.Begin(false)
	if err != nil {
		return s.wrap("read", err)
	}
	defer func() { _ = begun.Rollback() }() // how bbolt ends one that only reads
	return read(&tx{bucket: begun.Bucket([]byte(bucketName))})
}

// Update implements keypair.Store.
func (s *Store) Update(ctx context.Context, change func(keypair.Tx) error) error {
	return s.commits.Do(ctx, func() ([]string, error) {
		begun, err := s.db.Begin(true)
		if err != nil {
			return nil, s.wrap("write", err)
		}
		defer func() { _ = begun.Rollback() }() // nothing to do after a commit
		t := &tx{bucket: begun.Bucket([]byte(bucketName)), changed: commits.Keys{}}
		if err := change(t); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil || len(t.changed) == 0 {
			return nil, err
		}
		return t.changed.List(), s.wrap("write", begun.Commit())
	})
}

// Watch implements keypair.Store.
func (s *Store) Watch(changed func(keys []string)) (stop func()) { return s.commits.Watch(changed) }

// Close implements keypair.Store. Another process may open the store then.
func (s *Store) Close() error {
	return s.commits.Close(func() error { return s.wrap("close", s.db.Close()) })
}

func (s *Store) wrap(verb string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bbolterrors.ErrDatabaseNotOpen):
		return commits.ErrClosed
	}
	return fmt.Errorf("%s %s: %w", verb, s.path, err)
}

// tx is a keypair.Tx. What bbolt returns is its memory, and gone after the transaction: it is
// copied.
type tx struct {
	bucket  *bbolt.Bucket
	changed commits.Keys // nil in a View
}

var errReadOnly = errors.New("a View changes nothing")

func (t *tx) Get(key string) ([]byte, error) { return bytes.Clone(t.bucket.Get([]byte(key))), nil }

func (t *tx) Put(key string, value []byte) error {
	if t.changed == nil {
		return errReadOnly
	}
	if err := commits.CheckKey(key); err != nil {
		return err
	}
	t.changed.Add(key)
	return t.bucket.Put([]byte(key), append([]byte{}, value...)) // never nil: that would be absent
}

func (t *tx) Delete(key string) error {
	if t.changed == nil {
		return errReadOnly
	}
	if t.bucket.Get([]byte(key)) == nil {
		return nil
	}
	t.changed.Add(key)
	return t.bucket.Delete([]byte(key))
}

func (t *tx) Scan(prefix string, visit func(key string, value []byte) error) error {
	cursor := t.bucket.Cursor()
	for key, value := cursor.Seek([]byte(prefix)); bytes.HasPrefix(key, []byte(prefix)) && key != nil; key, value = cursor.Next() {
		if err := visit(string(key), append([]byte{}, value...)); err != nil {
			return err
		}
	}
	return nil
}
