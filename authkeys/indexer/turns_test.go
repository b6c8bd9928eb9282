package indexer_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
)

// TestLaterBuildPublishesLater: a slow build that has read a key which is taken out then does
// not bring it back after a quick one that has not.
func TestLaterBuildPublishesLater(t *testing.T) {
	dir, out := newFolder(t), filepath.Join(newFolder(t), "users.index")
	in := writeFile(t, filepath.Join(dir, "git"), line("", 1, "revoked")+"\n"+line("", 2, ""))
	source := []indexer.Source{{User: "git", Path: in}}
	waits := make(chan struct{})
	later := make(chan error, 1)
	slow := indexer.Options{Sources: source, Out: out, Progress: func(indexer.Progress) {
		if waits == nil {
			return
		}
		writeFile(t, in, line("", 2, "")) // the slow build has read it
		began := waits
		waits = nil
		once := sync.OnceFunc(func() { close(began) })
		go func() {
			_, err := indexer.Build(context.Background(), indexer.Options{
				Sources: source, Out: out, Waiting: func(indexer.Wait) error { once(); return nil },
			})
			later <- err
		}()
		select {
		case <-began:
		case err := <-later:
			later <- err
			t.Error("the later build did not wait")
		}
	}}
	if _, err := indexer.Build(context.Background(), slow); err != nil {
		t.Fatal(err)
	}
	if err := <-later; err != nil {
		t.Fatal(err)
	}
	if got, err := all(open(t, out), "git"); err != nil || len(got) != 1 || got[0] != line("", 2, "") {
		t.Errorf("%q, %v", got, err)
	}
	wantNames(t, filepath.Dir(out), "users.index")
}

// lockedBy takes the lock of the index at path, as another build does.
func lockedBy(t *testing.T, path string) (unlock func()) {
	t.Helper()
	name := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".lock")
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	mustNot(t, unix.Flock(int(file.Fd()), unix.LOCK_EX))
	_, err = file.WriteString("4711\n")
	mustNot(t, err)
	return func() { file.Close() }
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	dir, out := newFolder(t), filepath.Join(newFolder(t), "users.index")
	in := writeFile(t, filepath.Join(dir, "git"), line("", 1, ""))
	defer lockedBy(t, out)()
	ctx, cancel := context.WithCancel(context.Background())
	_, err := indexer.Build(ctx, indexer.Options{
		Sources: []indexer.Source{{User: "git", Path: in}}, Out: out,
		Waiting: func(indexer.Wait) error { cancel(); return nil },
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestWaitingEndsAsTheCallerSays, who is told whom it is for, and how long it has been.
func TestWaitingEndsAsTheCallerSays(t *testing.T) {
	dir, out := newFolder(t), filepath.Join(newFolder(t), "users.index")
	in := writeFile(t, filepath.Join(dir, "git"), line("", 1, ""))
	defer lockedBy(t, out)()
	enough := errors.New("enough")
	var last indexer.Wait
	_, err := indexer.Build(context.Background(), indexer.Options{
		Sources: []indexer.Source{{User: "git", Path: in}}, Out: out,
		Waiting: func(w indexer.Wait) error {
			if w.For <= last.For {
				t.Errorf("%v after %v", w.For, last.For)
			}
			if last, w = w, last; w.For > 0 {
				return enough
			}
			return nil
		},
	})
	want := indexer.Wait{For: last.For, Lock: filepath.Join(filepath.Dir(out), ".users.index.lock"), PID: 4711}
	if diff := cmp.Diff(want, last); !errors.Is(err, enough) || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

// TestDeadBuildersLockIsFree: what it leaves is a file, and the next build takes that away.
func TestDeadBuildersLockIsFree(t *testing.T) {
	dir, out := newFolder(t), filepath.Join(newFolder(t), "users.index")
	in := writeFile(t, filepath.Join(dir, "git"), line("", 1, ""))
	lockedBy(t, out)()
	o := indexer.Options{
		Sources: []indexer.Source{{User: "git", Path: in}}, Out: out,
		Waiting: func(indexer.Wait) error { t.Error("it waits"); return nil },
	}
	if _, err := indexer.Build(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	wantNames(t, filepath.Dir(out), "users.index")
}

// TestLockIsNoLink: whoever could put one there would have a file made elsewhere.
func TestLockIsNoLink(t *testing.T) {
	dir, out := newFolder(t), filepath.Join(newFolder(t), "users.index")
	in := writeFile(t, filepath.Join(dir, "git"), line("", 1, ""))
	lock := filepath.Join(filepath.Dir(out), ".users.index.lock")
	mustNot(t, os.Symlink("made", lock))
	_, _, err := build(t, out, indexer.Source{User: "git", Path: in})
	if err == nil || !strings.Contains(err.Error(), "lock users.index") {
		t.Errorf("error %v", err)
	}
	wantNames(t, filepath.Dir(out), ".users.index.lock")
}

// TestKilledBuildsFileGoes, even if the next build does not come to write.
func TestKilledBuildsFileGoes(t *testing.T) {
	out := filepath.Join(newFolder(t), "users.index")
	const neverAProcess = "2147483647"
	writeFile(t, filepath.Join(filepath.Dir(out), ".latchkey-tmp-"+neverAProcess+"-X-1"), "half")
	if _, _, err := build(t, out, indexer.Source{User: "git", Path: "/nonexistent"}); err == nil {
		t.Error("built of nothing")
	}
	wantNames(t, filepath.Dir(out))
}
