package indexer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
)

// build makes an index of the sources, and returns what was skipped.
func build(t testing.TB, out string, sources ...indexer.Source) (summary indexer.Summary, skipped []string, err error) {
	t.Helper()
	summary, err = indexer.Build(context.Background(), indexer.Options{
		Sources: sources, Out: out,
		Skipped: func(file string, line int, why error) {
			skipped = append(skipped, fmt.Sprintf("%s:%d: %v", filepath.Base(file), line, why))
		},
	})
	return summary, skipped, err
}

// mustBuild makes an index of these files of users in a folder, and returns its bytes.
func mustBuild(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := newFolder(t)
	for name, content := range files {
		writeFile(t, filepath.Join(dir, name), content)
	}
	out := filepath.Join(newFolder(t), "users.index")
	if _, _, err := build(t, out, indexer.Source{Path: dir}); err != nil {
		t.Fatal(err)
	}
	if _, err := indexer.Check(context.Background(), out); err != nil {
		t.Fatal(err)
	}
	return readFile(t, out)
}

func TestLinesThatSshdSkipsAreReported(t *testing.T) {
	good := []string{line("", 1, "first"), line("restrict", 2, ""), line("cert-authority", 3, "last")}
	text := good[0] + "\r\n\n# a comment\n \t\nrubbish\n" + good[1] + "\n" + line("no-such", 4, "") + "\n" + good[2]
	dir := newFolder(t)
	in, out := writeFile(t, filepath.Join(dir, "in"), text), filepath.Join(dir, "out")
	summary, skipped, err := build(t, out, indexer.Source{User: "git", Path: in})
	if err != nil {
		t.Fatal(err)
	}
	wantSkipped := []string{
		"in:5: no key: expected a key type, a blank and the key in base64",
		`in:7: options: no such option or wrong form: "no-such"`,
	}
	if diff := cmp.Diff(wantSkipped, skipped); diff != "" {
		t.Error(diff)
	}
	want := indexer.Summary{Users: 1, Lines: 3, Skipped: 2, Bytes: int64(len(readFile(t, out)))}
	if diff := cmp.Diff(want, summary); diff != "" {
		t.Error(diff)
	}
	got, err := all(open(t, out), "git")
	if diff := cmp.Diff(good, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	info, err := os.Stat(out)
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestNULEndsALine as it does for sshd: what follows it must not come out.
// TestCarriageReturnsAtTheEndAreDropped, however many, as what is built has to stand the check.
func TestCarriageReturnsAtTheEndAreDropped(t *testing.T) {
	want := mustBuild(t, map[string]string{"git": line("", 1, "") + "\n" + line("", 2, "c\rd") + "\n"})
	for _, end := range []string{"\r\n", "\r\r\n", "\r\r\r\n", "\r\x00x\n", "\r\r\x00\r\n"} {
		if got := mustBuild(t, map[string]string{"git": line("", 1, "") + end + line("", 2, "c\rd") + end}); got != want {
			t.Errorf("%q: another index than with a newline alone", end)
		}
	}
}

func TestNULEndsALine(t *testing.T) {
	got := mustBuild(t, map[string]string{"git": line("", 1, "a") + "\x00b\n" + line("x\x00", 2, "") + "\n"})
	if want := mustBuild(t, map[string]string{"git": line("", 1, "a") + "\n"}); got != want {
		t.Error("another index than without it")
	}
}

func TestIndexIsTheSameHoweverTheLinesCome(t *testing.T) {
	a, b := keyLines(t, 5000), line("", 1, "b")
	want := readFile(t, write(t,
		indexer.User{Name: "alice", Lines: strings.Split(strings.TrimSpace(a), "\n")},
		indexer.User{Name: "bob", Lines: []string{b}}))
	for name, files := range map[string]map[string]string{
		"a folder":        {"alice": a, "bob": b + "\n"},
		"no last newline": {"bob": b, "alice": strings.TrimSpace(a)},
		"CRLF":            {"alice": strings.ReplaceAll(a, "\n", "\r\n"), "bob": b + "\r\n"},
		"users with none": {"alice": a, "bob": b, "carol": "", "dave": "# none\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if mustBuild(t, files) != want {
				t.Error("other bytes")
			}
		})
	}
}

func TestLinesOfOneUserFollowEachOtherAsTheSourcesDo(t *testing.T) {
	dir := newFolder(t)
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	first := writeFile(t, filepath.Join(dir, "first"), line("", 1, "1"))
	writeFile(t, filepath.Join(dir, "folder", "git"), line("", 1, "2"))
	last := writeFile(t, filepath.Join(dir, "last"), line("", 1, "3"))
	out := filepath.Join(dir, "out")
	_, _, err := build(t, out, indexer.Source{User: "git", Path: first},
		indexer.Source{Path: filepath.Join(dir, "folder")}, indexer.Source{User: "git", Path: last})
	if err != nil {
		t.Fatal(err)
	}
	got, err := matched(open(t, out), "git", plain, key(1))
	want := []string{line("", 1, "1"), line("", 1, "2"), line("", 1, "3")}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

// TestFolderIsTakenAsItIs: what is no user's file is reported, and nothing outside is
// read.
func TestFolderIsTakenAsItIs(t *testing.T) {
	dir := newFolder(t)
	path := func(name string) string { return filepath.Join(dir, name) }
	writeFile(t, path("alice"), line("", 1, ""))
	writeFile(t, path(".alice.swp"), line("", 2, ""))
	writeFile(t, path("al ice"), line("", 3, ""))
	err := errors.Join(os.Symlink("alice", path("bob")), os.Mkdir(path("carol"), 0o755), unix.Mkfifo(path("dave"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(newFolder(t), "out")
	summary, skipped, err := build(t, out, indexer.Source{Path: dir})
	if err != nil || summary.Users != 2 || summary.Lines != 2 {
		t.Fatalf("%+v, %v", summary, err)
	}
	if len(skipped) != 4 || summary.Skipped != 4 {
		t.Errorf("skipped %q", skipped)
	}
	if got, err := matched(open(t, out), "bob", plain, key(1)); err != nil || len(got) != 1 {
		t.Errorf("%q, %v", got, err)
	}
}

// TestFailedBuildChangesNothing: neither the old index, nor the folder.
func TestFailedBuildChangesNothing(t *testing.T) {
	tests := map[string]func(t *testing.T, dir string) indexer.Source{
		"no file":   func(_ *testing.T, dir string) indexer.Source { return indexer.Source{User: "git", Path: dir + "/none"} },
		"no folder": func(_ *testing.T, dir string) indexer.Source { return indexer.Source{Path: dir + "/none"} },
		"a file without its user": func(t *testing.T, dir string) indexer.Source {
			return indexer.Source{Path: writeFile(t, dir+"/git", line("", 1, ""))}
		},
		"a folder as a file": func(_ *testing.T, dir string) indexer.Source { return indexer.Source{User: "git", Path: dir} },
		"a FIFO": func(t *testing.T, dir string) indexer.Source {
			if err := unix.Mkfifo(dir+"/git", 0o600); err != nil {
				t.Fatal(err)
			}
			return indexer.Source{User: "git", Path: dir + "/git"}
		},
		"a folder that others may write to": func(t *testing.T, dir string) indexer.Source {
			if err := os.Chmod(dir, 0o775); err != nil {
				t.Fatal(err)
			}
			return indexer.Source{Path: dir}
		},
		"no user name": func(t *testing.T, dir string) indexer.Source {
			return indexer.Source{User: "g/it", Path: writeFile(t, dir+"/git", "")}
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			folder := newFolder(t)
			out := writeFile(t, filepath.Join(folder, "users.index"), "old")
			good := indexer.Source{User: "alice", Path: writeFile(t, filepath.Join(newFolder(t), "alice"), keyLines(t, 10))}
			if _, _, err := build(t, out, good, test(t, newFolder(t))); err == nil {
				t.Error("built")
			} else {
				t.Log(err)
			}
			wantNames(t, folder, "users.index")
			if got := readFile(t, out); got != "old" {
				t.Errorf("the index is %q", got)
			}
		})
	}
}

// TestInterruptedBuildChangesNothing: the context ends when some lines have been read, or all.
func TestInterruptedBuildChangesNothing(t *testing.T) {
	const lines = 50_000
	in := writeFile(t, filepath.Join(newFolder(t), "in"), keyLines(t, lines))
	for _, read := range []int{1, lines} {
		t.Run(fmt.Sprintf("after %d lines", read), func(t *testing.T) {
			folder := newFolder(t)
			out := writeFile(t, filepath.Join(folder, "users.index"), "old")
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			_, err := indexer.Build(ctx, indexer.Options{
				Sources: []indexer.Source{{User: "git", Path: in}},
				Out:     out,
				Progress: func(p indexer.Progress) {
					if p.Lines >= read {
						cancel()
					}
				},
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			wantNames(t, folder, "users.index")
			if got := readFile(t, out); got != "old" {
				t.Errorf("the index is %q", got[:min(len(got), 100)])
			}
		})
	}
}

func TestCheckAndFindEndWithTheirContext(t *testing.T) {
	path := write(t, worldOf(t, 2)...)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := indexer.Check(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("check: %v", err)
	}
	if err := indexer.Find(ctx, path, fingerprintOf(t, 1), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("find: %v", err)
	}
}

// TestBuildsAtTheSameTimeAreEachWhole: the one that ends last wins.
func TestBuildsAtTheSameTimeAreEachWhole(t *testing.T) {
	dir := newFolder(t)
	out := filepath.Join(dir, "users.index")
	var whole []string
	var wait sync.WaitGroup
	for i := range 4 {
		in := writeFile(t, filepath.Join(newFolder(t), "in"), keyLines(t, 1000*(i+1)))
		whole = append(whole, mustBuild(t, map[string]string{"git": readFile(t, in)}))
		wait.Go(func() {
			if _, _, err := build(t, out, indexer.Source{User: "git", Path: in}); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	wantNames(t, dir, "users.index")
	for _, one := range whole {
		if readFile(t, out) == one {
			return
		}
	}
	t.Error("the index is none of those that were built")
}

func TestProgressGrowsToTheEnd(t *testing.T) {
	dir := newFolder(t)
	in := writeFile(t, filepath.Join(dir, "in"), keyLines(t, 20_000))
	var last indexer.Progress
	_, err := indexer.Build(context.Background(), indexer.Options{
		Sources: []indexer.Source{{User: "git", Path: in}}, Out: filepath.Join(dir, "out"),
		Progress: func(p indexer.Progress) {
			if p.Lines < last.Lines {
				t.Errorf("%+v after %+v", p, last)
			}
			last = p
		},
	})
	if err != nil || last != (indexer.Progress{Users: 1, Lines: 20_000}) {
		t.Errorf("%+v, %v", last, err)
	}
}

func TestFingerprintIsFoundWithAllItsUsers(t *testing.T) {
	fingerprint := fingerprintOf(t, 7)
	path := write(t,
		indexer.User{Name: "git", Lines: []string{line("", 1, ""), line("restrict", 7, "git's"), line("cert-authority", 7, "")}},
		indexer.User{Name: "alice", Lines: []string{line("", 7, ""), line("", 8, "")}})
	var got []indexer.Found
	visit := func(f indexer.Found) error { got = append(got, f); return nil }
	if err := indexer.Find(context.Background(), path, fingerprint, visit); err != nil {
		t.Fatal(err)
	}
	want := []indexer.Found{{"alice", line("", 7, "")}, {"git", line("restrict", 7, "git's")}, {"git", line("cert-authority", 7, "")}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	err := indexer.Find(context.Background(), path, fingerprint, func(indexer.Found) error { return fs.ErrClosed })
	if !errors.Is(err, fs.ErrClosed) {
		t.Errorf("visit's error became %v", err)
	}
	for _, text := range []string{"", "SHA256:", "MD5:" + fingerprint[7:], fingerprint[:40], fingerprint + "A"} {
		if err := indexer.Find(context.Background(), path, text, visit); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// TestFindSaysWhenTheIndexIsDamaged: that is not to be taken for "nobody has it".
func TestFindSaysWhenTheIndexIsDamaged(t *testing.T) {
	path := write(t, worldOf(t, 50)...)
	data := []byte(readFile(t, path))
	at := bytes.Index(data, []byte("key-40"))
	data[at] ^= 1
	writeFile(t, path, string(data))
	if err := indexer.Find(context.Background(), path, fingerprintOf(t, 999), nil); !isDamage(err) {
		t.Errorf("error %v", err)
	}
}

// TestManyFilesKeepTheirOrder: files are read several at a time, and what becomes of them is
// in the order of their names, that of the kernel's listing being what it may.
func TestManyFilesKeepTheirOrder(t *testing.T) {
	const users = 300
	dir, out := newFolder(t), filepath.Join(newFolder(t), "out")
	var want []indexer.User
	var wantSkipped []string
	for i := range users {
		name := fmt.Sprintf("user%04d", i)
		lines := []string{line("", i, "first"), line("restrict", i, "last")}
		if i%100 == 50 { // more than is read at a time
			lines = append(strings.Split(strings.TrimSpace(keyLines(t, 3000)), "\n"), lines...)
		}
		want = append(want, indexer.User{Name: name, Lines: lines})
		wantSkipped = append(wantSkipped, fmt.Sprintf("%s:%d: no key: expected a key type, a blank and the key in base64", name, len(lines)+1))
		writeFile(t, filepath.Join(dir, name), strings.Join(lines, "\n")+"\nrubbish")
	}
	_, skipped, err := build(t, out, indexer.Source{Path: dir})
	if diff := cmp.Diff(wantSkipped, skipped); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if readFile(t, out) != readFile(t, write(t, want...)) {
		t.Error("other bytes than of the same users one by one")
	}
}
