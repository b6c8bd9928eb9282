package boltstore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/boltstore"
)

// mode returns what others may do with a file.
func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

// names returns what is in a folder.
func names(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return all
}

func put(t *testing.T, store keypair.Store, key, value string) {
	t.Helper()
	err := store.Update(t.Context(), func(tx keypair.Tx) error { return tx.Put(key, []byte(value)) })
	if err != nil {
		t.Fatal(err)
	}
}

// content is all that is in the store.
func content(t *testing.T, store keypair.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := store.View(t.Context(), func(tx keypair.Tx) error {
		return tx.Scan("", func(key string, value []byte) error { all[key] = string(value); return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestFileAndFolderAreTheOwnersAlone(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0)) // these tests do not run in parallel
	folder := fresh(t)
	open(t, folder)
	if got := mode(t, folder); got != 0o700 {
		t.Errorf("the folder has mode %o", got)
	}
	if got := mode(t, filepath.Join(folder, boltstore.FileName)); got != 0o600 {
		t.Errorf("the file has mode %o", got)
	}
	if diff := cmp.Diff([]string{boltstore.FileName}, names(t, folder)); diff != "" {
		t.Errorf("in the folder (-want +got):\n%s", diff)
	}
}

func TestWhatOthersCanReadIsRefused(t *testing.T) {
	for _, bits := range []fs.FileMode{0o740, 0o720, 0o710, 0o704, 0o702, 0o701} {
		for _, name := range []string{".", boltstore.FileName} {
			folder := fresh(t)
			if err := open(t, folder).Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(folder, name)
			if err := os.Chmod(path, bits); err != nil {
				t.Fatal(err)
			}
			_, err := boltstore.Open(folder)
			if err == nil || !strings.Contains(err.Error(), "chmod go= "+path) {
				t.Errorf("%s with mode %o: error %v, want one that tells the remedy", name, bits, err)
			}
			if got := mode(t, path); got != bits {
				t.Errorf("%s has mode %o now, had %o", name, got, bits)
			}
		}
	}
}

func TestAnotherUsersStoreIsRefused(t *testing.T) {
	testmachine.RequireRoot(t)
	for _, name := range []string{".", boltstore.FileName} {
		folder := fresh(t)
		if err := open(t, folder).Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(folder, name), 12345, 12345); err != nil {
			t.Fatal(err)
		}
		if _, err := boltstore.Open(folder); err == nil || !strings.Contains(err.Error(), "12345") {
			t.Errorf("%s of another user: error %v, want one that names the user", name, err)
		}
	}
}

func TestAFolderWithoutParentIsNotMade(t *testing.T) {
	if _, err := boltstore.Create(filepath.Join(fresh(t), "region")); err == nil {
		t.Error("no error")
	}
}

// TestALostStoreIsNotTakenForAnEmptyOne: its volume is not mounted, or a backup is half put back. Instances
// must not hear from an empty one that nothing is bound to them.
func TestALostStoreIsNotTakenForAnEmptyOne(t *testing.T) {
	dangling := filepath.Join(t.TempDir(), "not mounted", boltstore.FileName)
	for name, lose := range map[string]func(folder string) error{
		"folder":            os.RemoveAll,
		"file":              func(folder string) error { return os.Remove(filepath.Join(folder, boltstore.FileName)) },
		"where a link goes": func(folder string) error { return relink(filepath.Join(folder, boltstore.FileName), dangling) },
	} {
		t.Run(name, func(t *testing.T) {
			folder := fresh(t)
			if err := open(t, folder).Close(); err != nil {
				t.Fatal(err)
			}
			if err := lose(folder); err != nil {
				t.Fatal(err)
			}
			_, err := boltstore.Open(folder)
			if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), folder) {
				t.Errorf("error %v, want one that says what is not there", err)
			}
			if _, err := os.Stat(filepath.Join(folder, boltstore.FileName)); err == nil {
				t.Error("it was made anew")
			}
		})
	}
}

// relink puts a link in the place of a file.
func relink(path, target string) error { return errors.Join(os.Remove(path), os.Symlink(target, path)) }

func TestAStoreIsMadeOnce(t *testing.T) {
	folder := fresh(t)
	store := open(t, folder)
	put(t, store, "a", "1")
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := boltstore.Create(folder); !errors.Is(err, fs.ErrExist) {
		t.Errorf("error %v, want %v", err, fs.ErrExist)
	}
	if diff := cmp.Diff(map[string]string{"a": "1"}, content(t, open(t, folder))); diff != "" {
		t.Errorf("what was there (-want +got):\n%s", diff)
	}
}

func TestWhoHasTheStoreIsSaidWithinASecond(t *testing.T) {
	folder := fresh(t)
	store := open(t, folder)
	begin := time.Now()
	_, err := boltstore.Open(folder)
	want := fmt.Sprintf("process %d (", os.Getpid())
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "stop that first") {
		t.Errorf("error %v, want one with %q and what to do", err, want)
	}
	if took := time.Since(begin); took > 5*time.Second/2 {
		t.Errorf("took %s", took)
	}
	put(t, store, "a", "1")
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "1"}, content(t, open(t, folder))); diff != "" {
		t.Errorf("after the next opening (-want +got):\n%s", diff)
	}
}

func TestWhatWasCommittedIsThereAfterReopening(t *testing.T) {
	folder, want := fresh(t), map[string]string{}
	for i := range 5 {
		store := open(t, folder)
		key := fmt.Sprint("key ", i)
		put(t, store, key, "value")
		want[key] = "value"
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, content(t, open(t, folder))); diff != "" {
		t.Errorf("after the last opening (-want +got):\n%s", diff)
	}
}

// TestAnUnfinishedBeginningIsBegunAgain: a crash before the store had its name has left a file.
func TestAnUnfinishedBeginningIsBegunAgain(t *testing.T) {
	folder := fresh(t)
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".region.db-123", "kept"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open(t, folder)
	if diff := cmp.Diff([]string{"kept", boltstore.FileName}, names(t, folder)); diff != "" {
		t.Errorf("in the folder (-want +got):\n%s", diff)
	}
}

func TestOfManyWhoBeginAtOnceOneHasTheStore(t *testing.T) {
	folder := fresh(t)
	var all sync.WaitGroup
	opened := make(chan *boltstore.Store, 8)
	for range cap(opened) {
		all.Go(func() {
			store, err := boltstore.Create(folder)
			if err == nil {
				opened <- store
			} else if !errors.Is(err, fs.ErrExist) {
				t.Errorf("error %v, want %v", err, fs.ErrExist)
			}
		})
	}
	all.Wait()
	if len(opened) != 1 {
		t.Fatalf("%d have the store open", len(opened))
	}
	store := <-opened
	put(t, store, "a", "1")
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{boltstore.FileName}, names(t, folder)); diff != "" {
		t.Errorf("in the folder (-want +got):\n%s", diff)
	}
}
