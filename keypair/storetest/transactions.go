package storetest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-ssh/latchkey/keypair"
)

var transactions = []promise{
	{"AViewSeesWhatWasCommitted", viewSeesCommitted},
	{"AViewSeesOneMoment", viewSeesOneMoment},
	{"AViewCallsReadOnceAndReturnsItsError", viewCallsReadOnce},
	{"AViewChangesNothing", viewChangesNothing},
	{"ATransactionSeesItsOwnChangesAndNobodyElse", transactionSeesItself},
	{"AnErrorUndoesAllAndComesBackAsItIs", errorUndoesAll},
	{"APanicUndoesAllAndTheStoreGoesOn", panicUndoesAll},
	{"AContextThatIsOverUndoesAll", contextUndoesAll},
	{"AContextThatIsOverStartsNothing", contextStartsNothing},
	{"NothingAndEmptyAreTwoThings", nothingAndEmpty},
	{"DeletingWhatIsNotThereIsNoError", deletingNothing},
	{"ValuesAreTheCallersToKeep", valuesAreKept},
	{"AValueIsCopiedWhenPut", valueIsCopied},
	{"KeysOf1To1024BytesAreKeysAndNoOthers", keysAreBounded},
}

func viewSeesCommitted(t *testing.T, store keypair.Store) {
	update(t, store, map[string][]byte{"a": []byte("1"), "b": []byte("2")})
	update(t, store, map[string][]byte{"a": []byte("3"), "b": nil, "c": []byte("4")})
	expect(t, store, map[string]string{"a": "3", "c": "4"})
}

func viewSeesOneMoment(t *testing.T, store keypair.Store) {
	update(t, store, map[string][]byte{"a": []byte("before"), "b": []byte("before")})
	var a, b []byte
	var errs [2]error
	err := store.View(t.Context(), func(tx keypair.Tx) error {
		a, errs[0] = tx.Get("a")
		elsewhere := make(chan struct{})
		go func() {
			defer close(elsewhere)
			update(t, store, map[string][]byte{"a": []byte("after"), "b": []byte("after")})
		}()
		await(t, "update during a view", elsewhere)
		b, errs[1] = tx.Get("b")
		return errors.Join(errs[:]...)
	})
	if err != nil || string(a) != "before" || string(b) != "before" {
		t.Errorf("one view saw %q, then %q (%v)", a, b, err)
	}
}

func viewCallsReadOnce(t *testing.T, store keypair.Store) {
	mine, calls := errors.New("mine"), 0
	if err := store.View(t.Context(), func(keypair.Tx) error { calls++; return mine }); !isVery(err, mine) || calls != 1 {
		t.Errorf("%d calls, error %v; want 1 and the very error that read returned", calls, err)
	}
}

func viewChangesNothing(t *testing.T, store keypair.Store) {
	update(t, store, map[string][]byte{"a": []byte("1")})
	err := store.View(t.Context(), func(tx keypair.Tx) error {
		if tx.Put("a", []byte("2")) == nil || tx.Put("b", []byte("2")) == nil {
			t.Error("Put in a View succeeded")
		}
		if tx.Delete("a") == nil || tx.Delete("b") == nil {
			t.Error("Delete in a View succeeded")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	expect(t, store, map[string]string{"a": "1"})
}

func transactionSeesItself(t *testing.T, store keypair.Store) {
	update(t, store, map[string][]byte{"old": []byte("1"), "gone": []byte("1")})
	err := store.Update(t.Context(), func(tx keypair.Tx) error {
		if err := apply(tx, map[string][]byte{"old": []byte("2"), "new": []byte("2"), "gone": nil}); err != nil {
			return err
		}
		for key, want := range map[string]string{"old": "2", "new": "2", "gone": ""} {
			if value, err := tx.Get(key); err != nil || string(value) != want {
				t.Errorf("%s is %q within the transaction, want %q (%v)", key, value, want, err)
			}
		}
		elsewhere := make(chan struct{})
		go func() {
			defer close(elsewhere)
			expect(t, store, map[string]string{"old": "1", "gone": "1"})
		}()
		await(t, "view during an update", elsewhere)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	expect(t, store, map[string]string{"old": "2", "new": "2"})
}

// spoil changes all that is there: nothing of it may stay.
func spoil(tx keypair.Tx) error {
	return apply(tx, map[string][]byte{"kept": []byte("spoilt"), "added": []byte("1"), "there": nil})
}

func errorUndoesAll(t *testing.T, store keypair.Store) {
	mine := errors.New("mine")
	undone(t, store, func() {
		err := store.Update(t.Context(), func(tx keypair.Tx) error {
			if err := spoil(tx); err != nil {
				return err
			}
			return mine
		})
		if !isVery(err, mine) {
			t.Errorf("error %v; want the very one that change returned", err)
		}
	})
}

func panicUndoesAll(t *testing.T, store keypair.Store) {
	undone(t, store, func() {
		defer func() {
			if cause := recover(); cause != "mine" {
				t.Errorf("recovered %v, want what change panicked with", cause)
			}
		}()
		_ = store.Update(t.Context(), func(tx keypair.Tx) error {
			if err := spoil(tx); err != nil {
				return err
			}
			panic("mine")
		})
	})
}

func contextUndoesAll(t *testing.T, store keypair.Store) {
	undone(t, store, func() {
		ctx, cancel := context.WithCancel(t.Context())
		err := store.Update(ctx, func(tx keypair.Tx) error {
			cancel()
			return spoil(tx)
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want the context's", err)
		}
	})
}

func contextStartsNothing(t *testing.T, store keypair.Store) {
	undone(t, store, func() {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := store.Update(ctx, spoil); !errors.Is(err, context.Canceled) {
			t.Errorf("Update: error %v, want the context's", err)
		}
		if err := store.View(ctx, func(keypair.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("View: error %v, want the context's", err)
		}
	})
}

// undone expects that an Update that spoils leaves nothing behind, and the store fit for use.
func undone(t *testing.T, store keypair.Store, attempt func()) {
	t.Helper()
	update(t, store, map[string][]byte{"kept": []byte("1"), "there": []byte("1")})
	attempt()
	expect(t, store, map[string]string{"kept": "1", "there": "1"})
	update(t, store, map[string][]byte{"goes on": []byte("1")})
	expect(t, store, map[string]string{"kept": "1", "there": "1", "goes on": "1"})
}

func nothingAndEmpty(t *testing.T, store keypair.Store) {
	look := func(tx keypair.Tx) error {
		var errs []error
		for key, want := range map[string]bool{"empty": true, "nil": true, "absent": false, "empt": false} {
			value, err := tx.Get(key)
			if (value != nil) != want || len(value) != 0 {
				t.Errorf("%s is %#v, want it there: %t, and empty", key, value, want)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	err := store.Update(t.Context(), func(tx keypair.Tx) error {
		return errors.Join(tx.Put("empty", []byte{}), tx.Put("nil", nil), look(tx))
	})
	if err := errors.Join(err, store.View(t.Context(), look)); err != nil {
		t.Error(err)
	}
}

func deletingNothing(t *testing.T, store keypair.Store) {
	err := store.Update(t.Context(), func(tx keypair.Tx) error {
		return errors.Join(tx.Delete("absent"), tx.Put("a", []byte("1")), tx.Delete("a"), tx.Delete("a"))
	})
	if err != nil {
		t.Error(err)
	}
	expect(t, store, map[string]string{})
}

func valuesAreKept(t *testing.T, store keypair.Store) {
	long := func(word string) []byte { return bytes.Repeat([]byte(word), 1000) } // as no store keeps in passing
	update(t, store, map[string][]byte{"a": long("first"), "b": long("first")})
	var kept [][]byte
	keep := func(tx keypair.Tx) error {
		value, err := tx.Get("a")
		kept = append(kept, value)
		return errors.Join(err, tx.Scan("", func(_ string, value []byte) error {
			kept = append(kept, value)
			return nil
		}))
	}
	if err := store.View(t.Context(), keep); err != nil {
		t.Fatal(err)
	}
	err := store.Update(t.Context(), func(tx keypair.Tx) error {
		return errors.Join(keep(tx), apply(tx, map[string][]byte{"a": long("other"), "b": nil}))
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 { // so that its memory would be used again
		update(t, store, map[string][]byte{"a": long("third"), "b": long("third")})
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	for _, value := range kept {
		if !bytes.Equal(value, long("first")) {
			t.Errorf("a value that was kept has become %.10q…", value)
		}
	}
}

func valueIsCopied(t *testing.T, store keypair.Store) {
	err := store.Update(t.Context(), func(tx keypair.Tx) error {
		value := []byte("right")
		err := tx.Put("a", value)
		copy(value, "wrong")
		return err
	})
	if err != nil {
		t.Error(err)
	}
	expect(t, store, map[string]string{"a": "right"})
}

func keysAreBounded(t *testing.T, store keypair.Store) {
	longest := strings.Repeat("\U00020000", 256)
	update(t, store, map[string][]byte{longest: []byte("1"), "\x00": []byte("2")})
	for name, key := range map[string]string{"empty": "", "too long": longest + "x", "no UTF-8": "a\xff"} {
		put := func(tx keypair.Tx) error { return tx.Put(key, []byte("3")) }
		if store.Update(t.Context(), put) == nil {
			t.Errorf("Put of a key that is %s succeeded", name)
		}
	}
	expect(t, store, map[string]string{longest: "1", "\x00": "2"})
}

// once makes a channel that may be closed by every call of a change that is called again.
func once() (closed chan struct{}, closeIt func()) {
	closed = make(chan struct{})
	return closed, sync.OnceFunc(func() { close(closed) })
}
