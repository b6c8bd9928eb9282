package indexer_test

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
)

// A grant is a line as the tests think of it.
type grant struct {
	options string
	key     int
	comment string
}

func (g grant) line() string { return line(g.options, g.key, g.comment) }

func (g grant) isAuthority() bool { return strings.Contains(g.options, "cert-authority") }

// keys is how many keys the users share.
const keys = 4

func drawGrants(t *rapid.T) []grant {
	one := rapid.Custom(func(t *rapid.T) grant {
		options := []string{"", "restrict", `command="ls -l",no-pty`, "cert-authority", `principals="a,b",CERT-authority,cert-authority`, `environment="A=` + key(3) + `"`}
		comments := []string{"", "me@here", "ssh-ed25519 " + key(0), "cert-author", "ü"}
		return grant{
			rapid.SampledFrom(options).Draw(t, "options"),
			rapid.IntRange(0, keys-1).Draw(t, "key"),
			rapid.SampledFrom(comments).Draw(t, "comment"),
		}
	})
	return rapid.SliceOfN(one, 0, 400).Draw(t, "grants")
}

// TestEveryLineIsFoundInOrderAndNothingElse is about users who share keys, list one
// twice, and have authorities.
func TestEveryLineIsFoundInOrderAndNothingElse(t *testing.T) {
	names := []string{"alice", "git", "git2", "gi", "o'neil@example.com", strings.Repeat("x", 255)}
	path := filepath.Join(newFolder(t), "users.index")
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	rapid.Check(t, func(t *rapid.T) {
		world := make(map[string][]grant)
		var users []indexer.User
		for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom(names), rapid.ID[string]).Draw(t, "names") {
			world[name] = drawGrants(t)
			users = append(users, indexer.User{Name: name, Lines: linesOf(world[name], grantsAny)})
		}
		if err := indexer.Write(dir, "users.index", users...); err != nil {
			t.Fatal(err)
		}
		if _, err := indexer.Check(context.Background(), path); err != nil {
			t.Fatal(err)
		}
		x, err := index.Open(path, os.Getuid(), filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		for _, name := range names {
			wantGrants(t, x, name, world[name])
		}
	})
}

func grantsAny(grant) bool { return true }

func linesOf(grants []grant, which func(grant) bool) (lines []string) {
	for _, g := range grants {
		if which(g) {
			lines = append(lines, g.line())
		}
	}
	return lines
}

// wantGrants asks in every way for the lines of a user.
func wantGrants(t *rapid.T, x *index.Index, user string, grants []grant) {
	want := func(what string, which func(grant) bool, got []string, err error) {
		if diff := cmp.Diff(linesOf(grants, which), got); err != nil || diff != "" {
			t.Fatalf("%s of %.20s: %v (-want +got)\n%s", what, user, err, diff)
		}
	}
	got, err := all(x, user)
	want("all", grantsAny, got, err)
	got, err = matched(x, user, certificate, key(0))
	want("authorities", grant.isAuthority, got, err)
	for i := range keys + 1 { // the last one nobody has
		got, err = matched(x, user, plain, key(i))
		want("a key", func(g grant) bool { return g.key == i && !g.isAuthority() }, got, err)
	}
}

// TestFormatDoesNotChangeUnnoticed: an index outlives an upgrade of the programs, so
// other bytes take another version.
func TestFormatDoesNotChangeUnnoticed(t *testing.T) {
	path := write(t,
		indexer.User{Name: "git", Lines: []string{line(`command="git-shell"`, 1, "alice"), line("cert-authority", 2, ""), line("", 1, "again")}},
		indexer.User{Name: "alice", Lines: []string{line("", 3, "ü")}})
	got := hex.Dump([]byte(readFile(t, path)))
	golden := filepath.Join("testdata", "small.index.hex")
	if diff := cmp.Diff(readFile(t, golden), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", golden, diff)
	}
}

// TestKeyIsFoundHoweverTheLineWritesIt: sshd compares keys, and prints its own
// encoding of the one that is offered.
func TestKeyIsFoundHoweverTheLineWritesIt(t *testing.T) {
	rsa := strings.Fields(rsaLine)[1]
	for name, lines := range map[string][]string{
		"carriage return in the base64": {"ssh-rsa " + rsa[:50] + "\r" + rsa[50:]},
		"signature name as the label":   {"rsa-sha2-256 " + rsa + " c", "restrict rsa-sha2-512 " + rsa},
		"blanks around":                 {" \t restrict \t ssh-rsa \t " + rsa + " \t "},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, indexer.User{Name: "git", Lines: lines})
			if _, err := indexer.Check(context.Background(), path); err != nil {
				t.Error(err)
			}
			got, err := matched(open(t, path), "git", "ssh-rsa", rsa)
			if diff := cmp.Diff(lines, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got)\n%s", err, diff)
			}
		})
	}
}

func TestEndOfVisitIsPassedOn(t *testing.T) {
	x := open(t, write(t, indexer.User{Name: "git", Lines: []string{line("", 1, ""), line("restrict", 1, "")}}))
	for name, ask := range map[string]func(visit func([]byte) error) error{
		"match": func(visit func([]byte) error) error { return x.Match("git", plain, key(1), visit) },
		"all":   func(visit func([]byte) error) error { return x.All("git", visit) },
	} {
		calls := 0
		err := ask(func([]byte) error { calls++; return os.ErrClosed })
		if !errors.Is(err, os.ErrClosed) || calls != 1 {
			t.Errorf("%s: %v after %d calls", name, err, calls)
		}
	}
}

func TestWriteTakesOnlyLinesWithAKey(t *testing.T) {
	for name, user := range map[string]indexer.User{
		"comment":     {Name: "git", Lines: []string{line("", 1, ""), "# none"}},
		"blank":       {Name: "git", Lines: []string{""}},
		"bad options": {Name: "git", Lines: []string{line("no-such-option", 1, "")}},
		"two lines":   {Name: "git", Lines: []string{line("", 1, "") + "\n" + line("", 2, "")}},
		"newline":     {Name: "git", Lines: []string{line("", 1, "") + "\n"}},
		"no user":     {Name: "", Lines: []string{line("", 1, "")}},
		"a path":      {Name: "../git", Lines: []string{line("", 1, "")}},
		"an option":   {Name: "-git", Lines: []string{line("", 1, "")}},
		"long line":   {Name: "git", Lines: []string{line("", 1, strings.Repeat("c", 1<<20))}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newFolder(t)
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			err = indexer.Write(root, "users.index", user)
			if err == nil || strings.Contains(err.Error(), key(1)) {
				t.Errorf("error %v", err)
			}
			wantNames(t, dir)
		})
	}
}

// wantNames compares what is in a folder, hidden or not.
func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in the folder (-want +got):\n%s", diff)
	}
}

func TestLongestLineIsFound(t *testing.T) {
	long := line("", 1, "c")
	long += strings.Repeat("c", 1<<20-len(long))
	x := open(t, write(t, indexer.User{Name: "git", Lines: []string{line("", 2, ""), long, line("", 3, "")}}))
	for name, ask := range map[string]func() ([]string, error){
		"match": func() ([]string, error) { return matched(x, "git", plain, key(1)) },
		"all":   func() ([]string, error) { all, err := all(x, "git"); return all[1:2], err },
	} {
		if got, err := ask(); err != nil || len(got) != 1 || got[0] != long {
			t.Errorf("%s: %d lines, %v", name, len(got), err)
		}
	}
}

func TestEmptyIndexHasNothing(t *testing.T) {
	path := write(t, indexer.User{Name: "git"})
	if summary, err := indexer.Check(context.Background(), path); err != nil || summary.Users != 0 {
		t.Errorf("%+v, %v", summary, err)
	}
	x := open(t, path)
	for _, keyType := range []string{plain, certificate} {
		if got, err := matched(x, "git", keyType, key(1)); err != nil || got != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	if got, err := all(x, "git"); err != nil || got != nil {
		t.Errorf("%q, %v", got, err)
	}
}
