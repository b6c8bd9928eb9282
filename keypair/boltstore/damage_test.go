package boltstore_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/boltstore"
)

// sample returns the bytes of a store's file with several pages of every kind, and what is in it.
func sample(t *testing.T) (file []byte, all map[string]string) {
	t.Helper()
	folder := fresh(t)
	store := open(t, folder)
	for round := range 3 { // so that there are free pages too
		err := store.Update(t.Context(), func(tx keypair.Tx) error {
			for i := range 1000 {
				if err := tx.Put(fmt.Sprintf("key %04d", i), fmt.Appendf(nil, "%40d", round)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	all = content(t, store)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(folder, boltstore.FileName))
	if err != nil {
		t.Fatal(err)
	}
	return file, all
}

// another returns the file of another program's bbolt store.
func another(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "other")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("theirs"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// reopen opens a store that has this file.
func reopen(t *testing.T, folder string, file []byte) (*boltstore.Store, error) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, boltstore.FileName), file, 0o600); err != nil {
		t.Fatal(err)
	}
	return boltstore.Open(folder)
}

// unchanged expects the file as it was written.
func unchanged(t *testing.T, folder string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(folder, boltstore.FileName))
	if err != nil || !bytes.Equal(want, got) {
		t.Errorf("the file has changed (%v)", err)
	}
}

func TestADamagedOrForeignFileIsSaidToBeAndNotChanged(t *testing.T) {
	whole, _ := sample(t)
	page := make([]byte, os.Getpagesize())
	cases := map[string][]byte{
		"empty":               {},
		"a text":              []byte("Dear diary,\n"),
		"a long text":         bytes.Repeat([]byte("Dear diary,\n"), 10_000),
		"zeros":               make([]byte, 1<<20),
		"another's store":     another(t),
		"half of it":          whole[:len(whole)/2],
		"its first page":      whole[:len(page)],
		"its first two pages": whole[:2*len(page)],
		"cut within a page":   whole[:5*len(page)+17],
		"no head":             bytes.Join([][]byte{page, page, whole[2*len(page):]}, nil),
		"zeros behind its head": append(bytes.Clone(whole[:2*len(page)]),
			make([]byte, len(whole)-2*len(page))...),
	}
	for name, file := range cases {
		t.Run(name, func(t *testing.T) {
			folder := fresh(t)
			_, err := reopen(t, folder, file)
			path := filepath.Join(folder, boltstore.FileName)
			if err == nil || !strings.Contains(err.Error(), path+" is ") || !strings.Contains(err.Error(), "move it away") {
				t.Errorf("error %v, want one that names the file and says what to do", err)
			}
			unchanged(t, folder, file)
		})
	}
}

func TestWhatIsNoFileIsRefused(t *testing.T) {
	folder := fresh(t)
	if err := os.MkdirAll(filepath.Join(folder, boltstore.FileName), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := boltstore.Open(folder); err == nil {
		t.Error("a folder in the file's place was opened")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := boltstore.Open(file); err == nil {
		t.Error("a file in the folder's place was opened")
	}
}

// TestEveryPageThatIsSpoiltIsFoundOrFree spoils one page after another.
func TestEveryPageThatIsSpoiltIsFoundOrFree(t *testing.T) {
	whole, all := sample(t)
	size, found := os.Getpagesize(), 0
	for begin := 0; begin < len(whole); begin += size {
		folder, file := fresh(t), bytes.Clone(whole)
		for i := range min(size, len(file)-begin) {
			file[begin+i] = 0xff
		}
		store, err := reopen(t, folder, file)
		if err != nil {
			found++
			unchanged(t, folder, file)
			continue
		}
		// The two first pages stand in for each other, at the price of the last commit.
		if diff := cmp.Diff(all, content(t, store)); diff != "" && begin >= 2*size {
			t.Errorf("page %d was spoilt, and nothing said (-want +got):\n%s", begin/size, diff)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
	if found < 10 {
		t.Errorf("only %d of %d pages matter", found, len(whole)/size)
	}
}

// TestAPageThatIsInUseMustNotBeFree: bbolt would write over it.
func TestAPageThatIsInUseMustNotBeFree(t *testing.T) {
	file, _ := sample(t)
	number, size := binary.NativeEndian, uint64(os.Getpagesize())
	meta := file[16:]
	if other := file[size+16:]; number.Uint64(other[48:]) > number.Uint64(meta[48:]) {
		meta = other // the one of the later commit
	}
	root, free := number.Uint64(meta[16:]), file[number.Uint64(meta[32:])*size:]
	if count := number.Uint16(free[10:]); count == 0 {
		t.Fatal("no page of the sample is free")
	}
	number.PutUint64(free[16:], root)
	folder := fresh(t)
	if _, err := reopen(t, folder, file); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("page %d is used twice", root)) {
		t.Errorf("error %v, want one that names page %d", err, root)
	}
	unchanged(t, folder, file)
}

// TestNoDamageCrashes: whatever is wrong with a few bytes, opening ends with an error or with a store that can
// be read and written.
func TestNoDamageCrashes(t *testing.T) {
	whole, _ := sample(t)
	folder, size := fresh(t), os.Getpagesize()
	rapid.Check(t, func(r *rapid.T) {
		file := bytes.Clone(whole)
		for range rapid.IntRange(1, 8).Draw(r, "bytes") {
			at := size * rapid.IntRange(0, len(file)/size-1).Draw(r, "page")
			if rapid.Bool().Draw(r, "in its beginning") {
				at += rapid.IntRange(0, 63).Draw(r, "at")
			} else {
				at += rapid.IntRange(0, size-1).Draw(r, "at")
			}
			file[at] = rapid.Byte().Draw(r, "byte")
		}
		store, err := reopen(t, folder, file)
		if err != nil {
			unchanged(t, folder, file)
			return
		}
		content(t, store)
		for i := range 20 {
			put(t, store, fmt.Sprint("new ", i), strings.Repeat("x", size))
		}
		if err := store.Close(); err != nil {
			r.Error(err)
		}
	})
}
