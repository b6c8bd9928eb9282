// Package storetest checks that an implementation of keypair.Store does what the interface
// says: every sentence there is a test here.
//
// Whoever writes another store, say on etcd, calls Run from its tests against a real server, with an
// open that makes a store below a prefix of its own, so that each begins empty:
//
//	func TestConforms(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) keypair.Store { return openBelow(t, uniquePrefix()) })
//	}
//
// The interface is all that a region knows of its store. It leaves room for several processes
// on one: change may be called again when another has committed first (etcd: a transaction that
// compares the revisions of all that was read, ranges included); Watch tells of the commits of
// all processes, in their order (etcd: a watch, of which each answer is one revision), and Update
// waits until the watch has come to its own. What the suite does not check, for want of a
// common way to cause it, is durability: that stays with the implementation's own tests.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/keypair"
)

// Run runs the suite. Each call of open returns a store with nothing in it, which the suite closes.
func Run(t *testing.T, open func(t *testing.T) keypair.Store) {
	for _, group := range [][]promise{transactions, serializability, scans, watches, closing, model} {
		for _, p := range group {
			t.Run(p.name, func(t *testing.T) {
				store := open(t)
				t.Cleanup(func() { _ = store.Close() }) // closed before, in some
				p.check(t, store)
			})
		}
	}
}

// promise is a sentence about a store, and how to find out.
type promise struct {
	name  string
	check func(t *testing.T, store keypair.Store)
}

// patience is how long something may take that has to happen.
const patience = 10 * time.Second

// restraint is how long something is given to happen that must not.
const restraint = 50 * time.Millisecond

// await waits for what has to happen.
func await(t *testing.T, what string, happened <-chan struct{}) {
	t.Helper()
	select {
	case <-happened:
	case <-time.After(patience):
		t.Fatalf("%s: not after %s", what, patience)
	}
}

// update makes changes that have to succeed: a nil value deletes.
func update(t *testing.T, store keypair.Store, changes map[string][]byte) {
	t.Helper()
	if err := store.Update(t.Context(), func(tx keypair.Tx) error { return apply(tx, changes) }); err != nil {
		t.Fatalf("update: %v", err)
	}
}

func apply(tx keypair.Tx, changes map[string][]byte) error {
	for key, value := range changes {
		if err := change(tx, key, value); err != nil {
			return err
		}
	}
	return nil
}

func change(tx keypair.Tx, key string, value []byte) error {
	if value == nil {
		return tx.Delete(key)
	}
	return tx.Put(key, value)
}

// content is all that the store holds, as a View shows it.
func content(t *testing.T, store keypair.Store) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := store.View(context.WithoutCancel(t.Context()), func(tx keypair.Tx) error {
		return tx.Scan("", func(key string, value []byte) error {
			found[key] = string(value)
			return nil
		})
	})
	if err != nil {
		t.Fatalf("view: %v", err)
	}
	return found
}

func expect(t *testing.T, store keypair.Store, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, content(t, store)); diff != "" {
		t.Errorf("in the store (-want +got):\n%s", diff)
	}
}

// number reads a counter, which is 0 where there is none.
func number(tx keypair.Tx, key string) (int, error) {
	value, err := tx.Get(key)
	if err != nil || value == nil {
		return 0, err
	}
	n, err := strconv.Atoi(string(value))
	if err != nil {
		return 0, fmt.Errorf("counter %s: %w", key, err)
	}
	return n, nil
}

func putNumber(tx keypair.Tx, key string, n int) error { return tx.Put(key, []byte(strconv.Itoa(n))) }

// isVery tells whether an error is the very one, and not one that wraps it.
func isVery(err, mine error) bool { return errors.Is(err, mine) && err.Error() == mine.Error() }
