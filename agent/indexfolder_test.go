package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fsnotify/fsnotify"
	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/internal/tree"
)

// TestAFolderAboveTheIndexThatOthersMayWriteToIsReportedAndNothingWritten: it is not
// latchkey's, and the index would be refused wherever it is in there.
func TestAFolderAboveTheIndexThatOthersMayWriteToIsReportedAndNothingWritten(t *testing.T) {
	t.Parallel()
	r, key := newBoundRig(t, ByCommand)
	seen := bound(t, key)
	for _, change := range [][]string{{"chmod", "0777", "/var/lib"}, {"chown", testUser, "/var"}} {
		r.Run(t, change[0], change[1:]...)
		before := r.traces(index.Dir)
		for range 3 {
			_, err := r.agent().Pass(context.Background(), seen, How{})
			if err == nil || blocker(err).ID != "key-index-folder" {
				t.Errorf("%v: pass: %v", change, err)
			}
		}
		r.wantUntouched(before, index.Dir)
		r.wantPassword(false)
		if names, _ := r.doctor(seen); !strings.Contains(strings.Join(names, ","), "fail key-index-folder") {
			t.Errorf("%v: doctor: %v", change, names)
		}
		r.Run(t, "chmod", "0755", "/var/lib")
		r.Run(t, "chown", "root", "/var")
	}
	if outcome := r.pass(seen, How{}); len(outcome.Applied.Faults) > 0 {
		t.Errorf("faults %+v, all is as it was", outcome.Applied.Faults)
	}
	r.wantKey(key, true)
}

// TestFoldersOnTheWayToTheIndexAndTheHelperAreWatched, for a change of mode or owner:
// latchkey's own are put right, others are reported.
func TestFoldersOnTheWayToTheIndexAndTheHelperAreWatched(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	key := testmachine.NewKey(t, "ed25519")
	r.commandDaemon(key)
	for _, own := range [][]string{{"chmod", "0700", StateDir}, {"chmod", "0777", index.Dir}, {"chown", testUser, StateDir}} {
		before := r.traces(index.Dir)[index.Bound]
		r.Run(t, own[0], own[1:]...)
		poll(t, strings.Join(own, " ")+" is put right", func() bool { return lookAtIndex(r.Root, testUser, nil).fault == nil })
		if after := r.traces(index.Dir)[index.Bound]; before != after {
			t.Errorf("%v: the index was written from %v to %v, though it was right", own, before, after)
		}
	}
	for _, foreign := range []struct{ mode, back, name, fault string }{
		{"0777", "0755", "/var/lib", "key-index-folder"},
		{"0700", "0755", "/var", "keys-command-failed"},
		{"0777", "0755", "/usr", "keys-command-unsafe"},
	} {
		r.Run(t, "chmod", foreign.mode, foreign.name)
		poll(t, foreign.name+" is reported", func() bool { return r.status().hasFault(foreign.fault) })
		if r.offersPassword() {
			t.Errorf("%s: passwords were opened for what somebody else has done", foreign.name)
		}
		r.Run(t, "chmod", foreign.back, foreign.name)
		poll(t, foreign.name+" is found to be right again", func() bool { return len(r.status().Faults) == 0 })
	}
	r.wantKey(key, true)
}

// TestNothingElseInTheFoldersOnTheWayWakesTheAgent: all that is installed comes and goes
// in them.
func TestNothingElseInTheFoldersOnTheWayWakesTheAgent(t *testing.T) {
	t.Parallel()
	config := DefaultConfig()
	config.Apply.Delivery = ByCommand
	root := t.TempDir()
	for _, folder := range []string{index.Dir, helperFolders[0], helperFolders[1]} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	a := New(Options{Root: root, Config: config})
	w, err := newWatch()
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	for name, names := range a.commandWays() {
		if err := errors.Join(w.addPath(name, names), w.addPath(name, names)); err != nil {
			t.Fatal(err)
		}
	}
	wakes := map[string]string{
		"/": "usr var", "/usr": "local sbin", "/usr/local": "sbin", "/usr/sbin": helperName, "/usr/local/sbin": helperName,
		"/var": "lib", "/var/lib": "latchkey", StateDir: "keys", index.Dir: "bound.index users.index",
	}
	if len(w.folders) != len(wakes) {
		t.Errorf("%d folders are watched, want %d", len(w.folders), len(wakes))
	}
	for folder, names := range wakes {
		watched := w.folders[filepath.Join(root, folder)]
		if diff := cmp.Diff(strings.Fields(names), watched.names); diff != "" {
			t.Errorf("%s (-want +got):\n%s", folder, diff)
		}
		if w.matters(fsnotify.Event{Name: watched.handle + "/other", Op: fsnotify.Create}) {
			t.Errorf("something else in %s wakes the agent", folder)
		}
		if !w.matters(fsnotify.Event{Name: watched.handle, Op: fsnotify.Chmod}) {
			t.Errorf("the mode of %s does not wake the agent", folder)
		}
	}
}

// TestAnIncludedFileIsWatchedAlsoOnTheWayToTheHelper: the folder is watched for an entry
// of its own already.
func TestAnIncludedFileIsWatchedAlsoOnTheWayToTheHelper(t *testing.T) {
	t.Parallel()
	config := DefaultConfig()
	config.Apply.Delivery = ByCommand
	root := t.TempDir()
	name := filepath.Join(root, config.SSHD.Config)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte("Include /usr/local/*.conf\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	folders := New(Options{Root: root, Config: config}).systemFolders()
	if names, watched := folders[filepath.Join(root, "/usr/local")]; !watched || names != nil {
		t.Errorf("of /usr/local, %v matters; want all", names)
	}
}

// TestNoLinkLeadsOutOfATree: an image whose builder made links must not have this
// machine's folders changed.
func TestNoLinkLeadsOutOfATree(t *testing.T) {
	testmachine.RequireRoot(t)
	t.Parallel()
	for name, link := range map[string]string{
		"/var": "out/var", "/var/lib": "out/var/lib", StateDir: "out/var/lib/latchkey", index.Dir: "out/var/lib/latchkey/keys",
	} {
		for _, relative := range []bool{false, true} {
			top := t.TempDir()
			tree, out := filepath.Join(top, "tree"), filepath.Join(top, "out/var/lib/latchkey/keys")
			at := filepath.Join(tree, name)
			err := errors.Join(os.MkdirAll(out, 0o755), os.MkdirAll(filepath.Dir(at), 0o755),
				os.WriteFile(filepath.Join(out, "bound.index"), []byte("theirs"), 0o640))
			for folder := out; folder != top; folder = filepath.Dir(folder) {
				err = errors.Join(err, os.Chown(folder, 12345, 12345), os.Chmod(folder, 0o700))
			}
			target := filepath.Join(top, link)
			if relative {
				target, _ = filepath.Rel(filepath.Dir(at), target)
			}
			if err := errors.Join(err, os.Symlink(target, at)); err != nil {
				t.Fatal(err)
			}
			before := listing(t, filepath.Join(top, "out"))
			if dir, err := openIndexDir(tree); err == nil {
				dir.Close()
				t.Errorf("%s, a link to %s: the folder was opened", name, target)
			}
			if err := removeIndex(tree); err == nil {
				t.Errorf("%s, a link to %s: removed", name, target)
			}
			if err := (State{Version: stateVersion}).save(tree); err == nil && name != index.Dir {
				t.Errorf("%s, a link to %s: the state was saved", name, target)
			}
			if _, err := loadState(tree, ""); err == nil && name != index.Dir {
				t.Errorf("%s, a link to %s: the state was looked for there", name, target)
			}
			if diff := cmp.Diff(before, listing(t, filepath.Join(top, "out"))); diff != "" {
				t.Errorf("%s, a link to %s (-before +after):\n%s", name, target, diff)
			}
		}
	}
}

// TestOnTheMachineItselfAFolderMayBeALink: an administrator may keep /var/lib elsewhere,
// which no tree's builder decides.
func TestOnTheMachineItselfAFolderMayBeALink(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	if err := errors.Join(os.Mkdir(top+"/data", 0o755), os.Symlink(top+"/data", top+"/lib")); err != nil {
		t.Fatal(err)
	}
	dir, err := tree.MakeFolder("/", top+"/lib/latchkey", 0o711)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, err := os.Stat(top + "/data/latchkey"); err != nil {
		t.Error(err)
	}
}

// listing is all there is below a folder, with owner, mode and content.
func listing(t *testing.T, folder string) map[string]trace {
	t.Helper()
	r := &rig{Machine: &testmachine.Machine{Root: folder}, t: t}
	return r.traces("/")
}
