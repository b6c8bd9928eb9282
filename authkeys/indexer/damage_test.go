package indexer_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
)

// worldOf are two users, of whom git has that many lines before the last two.
func worldOf(t testing.TB, lines int) []indexer.User {
	git := indexer.User{Name: "git", Lines: strings.Split(strings.TrimSpace(keyLines(t, lines)), "\n")}
	git.Lines = append(git.Lines, line("cert-authority", 1, ""), line("restrict", 1, "again"))
	return []indexer.User{git, {Name: "alice", Lines: []string{line("", 1, "")}}}
}

// TestDamageAnywhereIsFound: Check finds it, and what is asked of the index is either
// refused or as if there were no damage.
func TestDamageAnywhereIsFound(t *testing.T) {
	for name, test := range map[string]struct{ lines, step int }{
		"every byte":             {2, 1},
		"of pages on two levels": {300, 29},
	} {
		t.Run(name, func(t *testing.T) {
			users := worldOf(t, test.lines)
			path := write(t, users...)
			data := readFile(t, path)
			file, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			put := func(at int, b byte) {
				if _, err := file.WriteAt([]byte{b}, int64(at)); err != nil {
					t.Fatal(err)
				}
			}
			for at := 0; at < len(data); at += test.step {
				put(at, data[at]^byte(1<<(at%8)))
				if _, err := indexer.Check(context.Background(), path); !isDamage(err) {
					t.Fatalf("byte %d: check says %v", at, err)
				}
				wantRightOrRefused(t, path, users)
				put(at, data[at])
			}
		})
	}
}

// wantRightOrRefused asks a damaged index for lines: it must not give a wrong one.
func wantRightOrRefused(t *testing.T, path string, users []indexer.User) {
	t.Helper()
	x, err := index.Open(path, os.Getuid(), filepath.Dir(path))
	if isDamage(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	want := func(lines, got []string, err error) {
		t.Helper()
		if err != nil {
			if !isDamage(err) || len(got) > len(lines) || !slices.Equal(got, lines[:len(got)]) {
				t.Fatalf("%v after %q", err, got)
			}
		} else if diff := cmp.Diff(lines, got); diff != "" {
			t.Fatal(diff)
		}
	}
	git := users[0].Lines
	got, err := matched(x, "git", plain, key(1))
	want([]string{git[1], git[len(git)-1]}, got, err)
	got, err = matched(x, "git", certificate, key(1))
	want([]string{git[len(git)-2]}, got, err)
	got, err = all(x, "git")
	want(git, got, err)
	got, err = all(x, "alice")
	want(users[1].Lines, got, err)
	got, err = matched(x, "bob", plain, key(1))
	want(nil, got, err)
}

func TestCutShortOrLongerIsRefused(t *testing.T) {
	data := readFile(t, write(t, worldOf(t, 2)...))
	path := filepath.Join(newFolder(t), "short.index")
	wantRefusal := func(data string) {
		writeFile(t, path, data)
		if x, err := index.Open(path, os.Getuid(), filepath.Dir(path)); !isDamage(err) {
			x.Close()
			t.Fatalf("%d bytes: open says %v", len(data), err)
		}
		if _, err := indexer.Check(context.Background(), path); !isDamage(err) {
			t.Fatalf("%d bytes: check says %v", len(data), err)
		}
	}
	for n := range len(data) {
		wantRefusal(data[:n])
	}
	wantRefusal(data + "\x00")
}

// TestCutShortWhileItIsReadIsRefused: the file is open when somebody writes to it, as
// nobody should.
func TestCutShortWhileItIsReadIsRefused(t *testing.T) {
	data := readFile(t, write(t, worldOf(t, 2)...))
	path := writeFile(t, filepath.Join(newFolder(t), "short.index"), data)
	x := open(t, path)
	if err := os.Truncate(path, 60); err != nil {
		t.Fatal(err)
	}
	if got, err := matched(x, "git", plain, key(1)); !isDamage(err) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := all(x, "git"); !isDamage(err) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestReplacedWhileItIsReadStaysWhole: who has the old one open reads that.
func TestReplacedWhileItIsReadStaysWhole(t *testing.T) {
	path := write(t, indexer.User{Name: "git", Lines: []string{line("", 1, "old")}})
	x := open(t, path)
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := indexer.Write(dir, filepath.Base(path), indexer.User{Name: "git", Lines: []string{line("", 1, "new")}}); err != nil {
		t.Fatal(err)
	}
	for comment, x := range map[string]*index.Index{"old": x, "new": open(t, path)} {
		if got, err := matched(x, "git", plain, key(1)); err != nil || len(got) != 1 || got[0] != line("", 1, comment) {
			t.Errorf("%s: %q, %v", comment, got, err)
		}
	}
}
