package boltstore_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/boltstore"
	"github.com/latchkey-ssh/latchkey/keypair/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConforms(t *testing.T) {
	storetest.Run(t, func(t *testing.T) keypair.Store { return open(t, fresh(t)) })
}

// fresh names a folder that is not there yet.
func fresh(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "region")
}

// open opens the folder's store, which it makes where there is none.
func open(t *testing.T, folder string) *boltstore.Store {
	t.Helper()
	store, err := boltstore.Open(folder)
	if errors.Is(err, fs.ErrNotExist) {
		store, err = boltstore.Create(folder)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}
