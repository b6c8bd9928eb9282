package storetest

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ssh/latchkey/keypair"
)

var closing = []promise{
	{"CloseWaitsForAView", func(t *testing.T, store keypair.Store) {
		closeWaits(t, store, func(during func(keypair.Tx) error) error { return store.View(t.Context(), during) })
	}},
	{"CloseWaitsForAnUpdate", func(t *testing.T, store keypair.Store) {
		closeWaits(t, store, func(during func(keypair.Tx) error) error { return store.Update(t.Context(), during) })
	}},
	{"NothingIsDoneAfterClose", nothingAfterClose},
}

// closeWaits closes the store in the middle of a transaction, which has to come to its end.
func closeWaits(t *testing.T, store keypair.Store, transaction func(during func(keypair.Tx) error) error) {
	begun, begin := once()
	closed, done := make(chan struct{}), make(chan struct{})
	var early atomic.Bool
	go func() {
		defer close(done)
		err := transaction(func(tx keypair.Tx) error {
			begin()
			select {
			case <-closed:
				early.Store(true)
			case <-time.After(restraint):
			}
			_, err := tx.Get("a")
			return err
		})
		if err != nil {
			t.Errorf("the transaction under way: %v", err)
		}
	}()
	await(t, "begin of the transaction", begun)
	if err := store.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	close(closed)
	await(t, "end of the transaction", done)
	if early.Load() {
		t.Error("Close returned while a transaction was under way")
	}
}

func nothingAfterClose(t *testing.T, store keypair.Store) {
	update(t, store, map[string][]byte{"a": []byte("1")})
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	unwanted := func(keypair.Tx) error { t.Error("a transaction began"); return nil }
	if store.View(t.Context(), unwanted) == nil {
		t.Error("View after Close returned no error")
	}
	if store.Update(t.Context(), unwanted) == nil {
		t.Error("Update after Close returned no error")
	}
	store.Watch(func([]string) {})() // has no error to return
}
