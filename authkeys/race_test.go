package authkeys_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// onTmpfs makes edits fast: what is tested is their order, not the disk.
func onTmpfs(h home) {
	h.t.Helper()
	testmachine.RequireRoot(h.t)
	mount(h.t, "tmpfs", h.path, "tmpfs", 0, "mode=777")
}

// Invariant 2.
func TestAtNoInstantIsTheFileMissingEmptyHalfOrReadableByOthers(t *testing.T) {
	h := newHome(t)
	onTmpfs(h)
	bound := []string{testKey(t, '1'), testKey(t, '2') + " " + strings.Repeat("c", 10<<10)}
	h.mustBind(bound[0])
	whole := map[string]bool{withManaged(t, "", bound[0]): true, withManaged(t, "", bound[1]): true}
	stop := make(chan struct{})
	var looks int
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for ; !isClosed(stop); looks++ {
			if err := lookAt(h.sub(keysFile), whole); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range 2000 {
		h.mustBind(bound[(i+1)%2])
	}
	close(stop)
	watcher.Wait()
	t.Logf("%d looks", looks)
	wantNames(t, h.sub(".ssh"), "authorized_keys")
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func lookAt(path string, whole map[string]bool) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Mode() != 0o600 {
		return fmt.Errorf("mode %v", info.Mode())
	}
	data := make([]byte, info.Size()+1)
	n, _ := file.Read(data)
	if !whole[string(data[:n])] {
		return fmt.Errorf("%d bytes that nobody wrote as a whole", n)
	}
	return nil
}

// crashEnv makes the test binary edit the home it names until it is killed.
const crashEnv = "LATCHKEY_TEST_CRASH"

var crashKeys = []string{"1", "2"}

func crashKey(i int) string {
	return blobCase{label: "ssh-ed25519", parts: []string{"ssh-ed25519", strings.Repeat(crashKeys[i%2], 32)}}.line()
}

func editForever(path string) {
	account := authkeys.Account{Root: "/", User: "somebody", Home: path, UID: 54321, GID: 54321}
	location, err := authkeys.Locate([]string{keysFile}, account)
	for i := 0; err == nil; i++ {
		_, err = authkeys.Edit(context.Background(), location, bindTo(crashKey(i)))
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// Invariant 2, under any crash.
func TestKilledEditLeavesAWholeFileAndTheNextOneCleansUp(t *testing.T) {
	h := newHome(t)
	onTmpfs(h)
	h.mkdir(".ssh")
	h.write(keysFile, "mine\n")
	whole := map[string]bool{"mine\n": true, withManaged(t, "mine\n", crashKey(0)): true, withManaged(t, "mine\n", crashKey(1)): true}
	for range 30 {
		killEditor(t, h)
		if err := lookAt(h.sub(keysFile), whole); err != nil {
			t.Fatal(err)
		}
	}
	h.mustBind(testKey(t, '3'))
	wantNames(t, h.sub(".ssh"), "authorized_keys")
}

// killEditor starts an editor and kills it somewhere after its first edit.
func killEditor(t *testing.T, h home) {
	t.Helper()
	editor := exec.Command("/proc/self/exe")
	editor.Env = append(os.Environ(), crashEnv+"="+h.path)
	var said strings.Builder
	editor.Stderr = &said
	before, err := os.Stat(h.sub(keysFile))
	must(t, err)
	must(t, editor.Start())
	deadline := time.Now().Add(20 * time.Second)
	for changed := false; !changed && time.Now().Before(deadline); {
		now, err := os.Stat(h.sub(keysFile))
		changed = err == nil && !os.SameFile(before, now)
	}
	pause(2000)
	must(t, editor.Process.Kill())
	_ = editor.Wait()
	if said.Len() > 0 {
		t.Fatal(said.String())
	}
}

// Invariant 7: the foreign edit comes right between our read and our rename.
func TestEditOfSomebodyElseMeanwhileIsNotLost(t *testing.T) {
	key := testKey(t, '1')
	tests := []struct {
		name   string
		before string
		meddle func(h home) // once
		want   string       // after unbinding
	}{
		{"replaced", "a\n", func(h home) { h.replace("a\nb\n") }, "a\nb\n"},
		{"appended in place", "a\n", func(h home) { h.write(keysFile, "a\nb\n") }, "a\nb\n"},
		{"same size in place", "a\n", func(h home) { h.write(keysFile, "b\n") }, "b\n"},
		{"removed", "a\n", func(h home) { must(h.t, os.Remove(h.sub(keysFile))) }, ""},
		{"made", "", func(h home) { h.replace("b\n") }, "b\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHome(t)
			h.mkdir(".ssh")
			if test.before != "" {
				h.write(keysFile, test.before)
			}
			asked := 0
			_, err := authkeys.Edit(t.Context(), h.Location, func(f *authkeys.File) ([]byte, error) {
				if asked++; asked == 1 {
					test.meddle(h)
				}
				return f.WithManaged([]string{key})
			})
			must(t, err)
			if got := h.read(keysFile); got != withManaged(t, test.want, key) || asked != 2 {
				t.Errorf("asked %d times, file holds %q", asked, got)
			}
			wantNames(t, h.sub(".ssh"), "authorized_keys")
		})
	}
}

// replace does as an editor does.
func (h home) replace(content string) {
	h.t.Helper()
	h.write(".edit", content)
	must(h.t, os.Rename(h.sub(".edit"), h.sub(keysFile)))
}

// Invariant 7, by numbers.
func TestLinesAddedDuringManyEditsAreAllThere(t *testing.T) {
	h := newHome(t)
	onTmpfs(h)
	h.mkdir(".ssh")
	h.write(keysFile, "")
	stop := make(chan struct{})
	lines := 0
	var adder sync.WaitGroup
	adder.Go(func() {
		for ; !isClosed(stop); lines++ {
			h.replace(h.read(keysFile) + fmt.Sprintf("line %d\n", lines))
			pause(20000)
		}
	})
	end := sync.OnceFunc(func() {
		close(stop)
		adder.Wait()
	})
	defer end()
	for i := range 300 {
		// An edit may give up against somebody who never pauses; what it must not do
		// is to lose a line.
		if _, err := h.bind(testKey(t, byte('1'+i%2))); err != nil && !strings.Contains(err.Error(), "keeps changing it") {
			t.Fatal(err)
		}
	}
	end()
	t.Logf("%d lines", lines)
	h.mustBind()
	got := h.read(keysFile)
	for i := range lines {
		if !strings.Contains(got, fmt.Sprintf("line %d\n", i)) {
			t.Errorf("line %d is lost", i)
		}
	}
	wantNames(t, h.sub(".ssh"), "authorized_keys")
}

// pause passes up to so many system calls, some 100 ns each.
func pause(most int) {
	for range rand.IntN(most) {
		_ = unix.Getppid()
	}
}

// Invariant 6.
func TestNothingSwappedInTheHomeLeadsAnywhereElse(t *testing.T) {
	h := newHome(t)
	onTmpfs(h)
	outside := filepath.Join(filepath.Dir(h.path), "outside")
	must(t, os.MkdirAll(outside+"/.ssh", 0o755))
	canaries := []string{outside + "/shadow", outside + "/authorized_keys", outside + "/.ssh/authorized_keys"}
	for _, path := range canaries {
		must(t, os.WriteFile(path, []byte("canary"), 0o600))
	}
	h.mkdir(".ssh")
	attacks := []func(temp string) error{
		func(temp string) error { return os.Symlink(canaries[0], temp) },
		func(temp string) error { return os.Symlink("/dev/zero", temp) },
		func(temp string) error { return os.Symlink("../../outside/shadow", temp) },
		func(temp string) error { return unix.Mkfifo(temp, 0o600) },
		func(temp string) error { return os.Mkdir(temp, 0o700) },
		func(temp string) error { return os.WriteFile(temp, []byte("mine\n"), 0o600) },
	}
	stop := make(chan struct{})
	var attackers sync.WaitGroup
	attackers.Go(func() { swapForever(h, stop, attacks) })
	attackers.Go(func() { swapFolderForever(h, stop, outside) })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	done := 0
	for i := range 2000 {
		_, err := authkeys.Edit(ctx, h.Location, bindTo(testKey(t, byte('1'+i%2))))
		if err == nil {
			done++
		}
		if ctx.Err() != nil {
			t.Fatalf("hangs: %v", err)
		}
	}
	close(stop)
	attackers.Wait()
	t.Logf("%d edits of 2000 went through", done)
	for _, path := range canaries {
		data, err := os.ReadFile(path)
		if err != nil || string(data) != "canary" {
			t.Errorf("%s: %q, %v", path, data, err)
		}
		wantFile(t, path, regular, 0o600, 0)
	}
	wantNames(t, outside, ".ssh", "authorized_keys", "shadow")
	wantNames(t, outside+"/.ssh", "authorized_keys")
}

// swapForever puts one thing after another under the file's name.
func swapForever(h home, stop <-chan struct{}, attacks []func(temp string) error) {
	temp := h.sub(".attack")
	for i := 0; !isClosed(stop); i++ {
		_ = os.RemoveAll(temp)
		if attacks[i%len(attacks)](temp) != nil {
			continue
		}
		_ = os.Lchown(temp, h.UID, h.GID)
		if errors.Is(unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, h.sub(keysFile), unix.RENAME_EXCHANGE), fs.ErrNotExist) {
			_ = os.Rename(temp, h.sub(keysFile))
		}
	}
}

// swapFolderForever puts a link that leads out in the folder's place and back.
func swapFolderForever(h home, stop <-chan struct{}, outside string) {
	_ = os.Symlink(outside, h.sub("link"))
	for !isClosed(stop) {
		for range 2 {
			_ = unix.Renameat2(unix.AT_FDCWD, h.sub("link"), unix.AT_FDCWD, h.sub(".ssh"), unix.RENAME_EXCHANGE)
		}
		pause(2000)
	}
}

func TestHardLinkToAnothersFileIsNeverWrittenThrough(t *testing.T) {
	testmachine.RequireRoot(t)
	for mode, works := range map[fs.FileMode]bool{0o600: false, 0o644: true} {
		h := newHome(t)
		h.mkdir(".ssh")
		canary := filepath.Join(filepath.Dir(h.path), "canary")
		must(t, os.WriteFile(canary, []byte("canary\n"), mode))
		must(t, os.Link(canary, h.sub(keysFile)))
		if _, err := h.bind(testKey(t, '1')); (err == nil) != works {
			t.Errorf("mode %o: %v", mode, err)
		}
		data, _ := os.ReadFile(canary)
		if string(data) != "canary\n" {
			t.Errorf("mode %o: canary holds %q", mode, data)
		}
		wantFile(t, canary, regular, uint32(mode), 0)
	}
}
