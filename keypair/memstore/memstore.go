// Package memstore is a keypair.Store in memory, for tests and regions that nobody needs
// tomorrow.
//
// What is stored is a tree that is never changed: a change makes a new one that shares most of
// it. So a transaction is a root, a commit is to put one root in the place of another, and to
// roll back is to forget one.
package memstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/internal/commits"
)

// Store is a keypair.Store in memory.
type Store struct {
	commits *commits.Sequence
	root    atomic.Pointer[node]

	views  sync.RWMutex // held for reading by every View; Close waits for them with it
	closed bool
}

var _ keypair.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store { return &Store{commits: commits.New()} }

// View implements keypair.Store.
func (s *Store) View(ctx context.Context, read func(keypair.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.views.RLock()
	defer s.views.RUnlock()
	if s.closed {
		return commits.ErrClosed
	}
	return read(&tx{root: s.root.Load()})
}

// Update implements keypair.Store.
func (s *Store) Update(ctx context.Context, change func(keypair.Tx) error) error {
	return s.commits.Do(ctx, func() ([]string, error) {
		t := &tx{root: s.root.Load(), changed: commits.Keys{}}
		if err := change(t); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s.root.Store(t.root)
		return t.changed.List(), nil
	})
}

// Watch implements keypair.Store.
func (s *Store) Watch(changed func(keys []string)) (stop func()) { return s.commits.Watch(changed) }

// Close implements keypair.Store.
func (s *Store) Close() error {
	return s.commits.Close(func() error {
		s.views.Lock()
		defer s.views.Unlock()
		s.closed = true
		s.root.Store(nil)
		return nil
	})
}

// tx is a keypair.Tx.
type tx struct {
	root    *node
	changed commits.Keys // nil in a View
}

var errReadOnly = errors.New("a View changes nothing")

func (t *tx) Get(key string) ([]byte, error) { return t.root.get(key), nil }

func (t *tx) Put(key string, value []byte) error {
	if t.changed == nil {
		return errReadOnly
	}
	if err := commits.CheckKey(key); err != nil {
		return err
	}
	t.root = t.root.with(key, append([]byte{}, value...)) // never nil: that would be absent
	t.changed.Add(key)
	return nil
}

func (t *tx) Delete(key string) error {
	if t.changed == nil {
		return errReadOnly
	}
	if t.root.get(key) != nil {
		t.root = t.root.without(key)
		t.changed.Add(key)
	}
	return nil
}

func (t *tx) Scan(prefix string, visit func(key string, value []byte) error) error {
	return t.root.scan(prefix, visit)
}
