package authkeys_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

const keysFile = ".ssh/authorized_keys"

func TestMissingFolderAndFileAreMadePrivate(t *testing.T) {
	for _, umask := range []int{0, 0o22, 0o777} {
		h := newHome(t)
		key := testKey(t, '1')
		old := syscall.Umask(umask)
		change, err := h.bind(key)
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		want := authkeys.Change{After: []byte(withManaged(t, "", key)), Changed: true}
		if diff := cmp.Diff(want, change); diff != "" {
			t.Error(diff)
		}
		wantFile(t, h.sub(".ssh"), folder, 0o700, h.UID)
		wantFile(t, h.sub(keysFile), regular, 0o600, h.UID)
		wantNames(t, h.sub(".ssh"), "authorized_keys")
		if got := h.read(keysFile); got != string(change.After) {
			t.Error(got)
		}
	}
}

func TestNothingToWriteMakesNoFolder(t *testing.T) {
	h := newHome(t)
	if change := h.mustBind(); change.Changed {
		t.Error("reported a change")
	}
	wantNames(t, h.path)
	data, id, err := authkeys.Read(t.Context(), h.Location)
	if len(data) > 0 || id != (authkeys.FileID{}) || err != nil {
		t.Errorf("read %q, %v, %v", data, id, err)
	}
}

// Invariant 4.
func TestUnchangedResultWritesNothing(t *testing.T) {
	h := newHome(t)
	key := testKey(t, '1')
	h.mustBind(key)
	_, before, err := authkeys.Read(t.Context(), h.Location)
	if err != nil {
		t.Fatal(err)
	}
	folderBefore, _ := os.Stat(h.sub(".ssh"))
	if change := h.mustBind(key); change.Changed {
		t.Error("reported a change")
	}
	_, after, err := authkeys.Read(t.Context(), h.Location)
	if err != nil || before != after {
		t.Errorf("the file was %+v and is %+v (%v)", before, after, err)
	}
	if folderAfter, _ := os.Stat(h.sub(".ssh")); !folderAfter.ModTime().Equal(folderBefore.ModTime()) {
		t.Error("the folder was written to")
	}
}

func TestUnbindLeavesWhatWasThereOrAnEmptyFile(t *testing.T) {
	for name, foreign := range foreignFiles(t) {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			h.mkdir(".ssh")
			if foreign != "" {
				h.write(keysFile, foreign)
			}
			h.mustBind(testKey(t, '1'))
			h.mustBind()
			if got := h.read(keysFile); got != foreign {
				t.Errorf("got %q, want %q", got, foreign)
			}
			wantFile(t, h.sub(keysFile), regular, 0o600, h.UID)
		})
	}
}

func TestLooseModeIsTightenedOnceTheBlockIsThere(t *testing.T) {
	h := newHome(t)
	key := testKey(t, '1')
	h.mkdir(".ssh")
	h.write(keysFile, "mine\n")
	loosen := func() {
		if err := os.Chmod(h.sub(keysFile), 0o664); err != nil {
			t.Fatal(err)
		}
	}
	loosen()
	h.mustBind()
	wantFile(t, h.sub(keysFile), regular, 0o664, h.UID) // nothing of ours is in it
	h.mustBind(key)
	wantFile(t, h.sub(keysFile), regular, 0o600, h.UID)
	loosen()
	if change := h.mustBind(key); !change.Changed {
		t.Error("reported no change")
	}
	wantFile(t, h.sub(keysFile), regular, 0o600, h.UID)
}

func TestFileOfRootBecomesTheUsers(t *testing.T) {
	testmachine.RequireRoot(t)
	h := newHome(t)
	h.mkdir(".ssh")
	if err := os.WriteFile(h.sub(keysFile), []byte("mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.mustBind(testKey(t, '1'))
	wantFile(t, h.sub(keysFile), regular, 0o600, h.UID)
}

func TestLinkWithinTheHomeIsKeptAndItsTargetEdited(t *testing.T) {
	tests := []struct {
		name   string
		lay    func(h home)
		links  []string
		target string
	}{
		{"relative", func(h home) {
			h.mkdir(".ssh")
			h.mkdir("dot")
			h.write("dot/keys", "mine\n")
			h.symlink("../dot/keys", keysFile)
		}, []string{keysFile}, "dot/keys"},
		{"absolute", func(h home) {
			h.mkdir(".ssh")
			h.write("keys", "mine\n")
			h.symlink(h.sub("keys"), keysFile)
		}, []string{keysFile}, "keys"},
		{"the folder", func(h home) {
			h.mkdir("a")
			h.mkdir("a/ssh")
			h.write("a/keys", "mine\n")
			h.symlink("a/ssh", ".ssh")
			h.symlink("../keys", "a/ssh/authorized_keys") // .. is a, not the home
		}, []string{".ssh", keysFile}, "a/keys"},
		{"missing target", func(h home) {
			h.mkdir(".ssh")
			h.symlink("../later/keys", keysFile)
		}, []string{keysFile}, "later/keys"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHome(t)
			test.lay(h)
			change := h.mustBind(testKey(t, '1'))
			for _, name := range test.links {
				wantFile(t, h.sub(name), link, 0o777, h.UID)
			}
			if got := h.read(test.target); got != string(change.After) {
				t.Errorf("target holds %q", got)
			}
			wantFile(t, h.sub(test.target), regular, 0o600, h.UID)
		})
	}
}

func TestBadFileIsRefusedAndLeftAlone(t *testing.T) {
	canary := filepath.Join(t.TempDir(), "canary")
	if err := os.WriteFile(canary, []byte("canary"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		lay  func(h home)
		want string
	}{
		{"FIFO", func(h home) { mkfifo(h, keysFile) }, "is a FIFO"},
		{"folder", func(h home) { h.mkdir(keysFile) }, "is a directory"},
		{"socket", func(h home) { bindSocket(h, keysFile) }, "is a socket"},
		{"device", func(h home) { h.symlink("/dev/zero", keysFile) }, "leads out of the home"},
		{"link out", func(h home) { h.symlink(canary, keysFile) }, "leads out of the home"},
		{"relative link out", func(h home) { h.symlink("../../../canary", keysFile) }, "leads out of the home"},
		{"link to the home", func(h home) { h.symlink(h.path, keysFile) }, "folder"},
		{"link to itself", func(h home) { h.symlink("authorized_keys", keysFile) }, "too many symbolic links"},
		{"100 MB", func(h home) {
			h.write(keysFile, "")
			if err := os.Truncate(h.sub(keysFile), 100<<20); err != nil {
				h.t.Fatal(err)
			}
		}, "larger than 4194304 bytes"},
		{"endless lines", func(h home) { h.write(keysFile, strings.Repeat("\n", authkeys.MaxLines+1)) }, "more than 262144 lines"},
		{"binary", func(h home) { h.write(keysFile, "a\nb\x00\n") }, "line 2 holds a NUL"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHome(t)
			h.mkdir(".ssh")
			test.lay(h)
			var before, after unix.Stat_t
			_ = unix.Lstat(h.sub(keysFile), &before)
			_, err := h.bind(testKey(t, '1'))
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), h.Path) {
				t.Errorf("got %v, want %q and the path", err, test.want)
			}
			_ = unix.Lstat(h.sub(keysFile), &after)
			before.Atim, after.Atim = unix.Timespec{}, unix.Timespec{}
			if before != after {
				t.Errorf("was %+v, is %+v", before, after)
			}
			wantNames(t, h.sub(".ssh"), "authorized_keys")
		})
	}
	if data, _ := os.ReadFile(canary); string(data) != "canary" {
		t.Errorf("canary: %q", data)
	}
}

func mkfifo(h home, name string) {
	h.t.Helper()
	if err := unix.Mkfifo(h.sub(name), 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.own(name)
}

// bindSocket binds elsewhere: a socket's address is too short for deep paths.
func bindSocket(h home, name string) {
	h.t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { os.RemoveAll(dir) })
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: dir + "/s"})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { listener.Close() })
	if err := os.Rename(dir+"/s", h.sub(name)); err != nil {
		h.t.Fatal(err)
	}
	h.own(name)
}

func TestFolderThatLeadsOutIsRefused(t *testing.T) {
	outside := t.TempDir()
	if err := os.Chmod(outside, 0o777); err != nil {
		t.Fatal(err)
	}
	h := newHome(t)
	h.symlink(outside, ".ssh")
	if _, err := h.bind(testKey(t, '1')); !errors.Is(err, authkeys.ErrLeaves) {
		t.Errorf("got %v", err)
	}
	wantNames(t, outside)
}

func TestUnreadableFileIsAClearError(t *testing.T) {
	testmachine.RequireRoot(t)
	h := newHome(t)
	h.mkdir(".ssh")
	if err := os.WriteFile(h.sub(keysFile), []byte("root's"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := h.bind(testKey(t, '1'))
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "user somebody has no access") {
		t.Errorf("got %v", err)
	}
	if got := h.read(keysFile); got != "root's" {
		t.Errorf("file holds %q", got)
	}
}

func TestBadHomeIsAClearError(t *testing.T) {
	testmachine.RequireRoot(t)
	tests := []struct {
		name string
		lay  func(h home)
		want string
	}{
		{"missing", func(h home) { must(h.t, os.Remove(h.path)) }, "does not exist"},
		{"a file", func(h home) {
			must(h.t, os.Remove(h.path))
			h.write(".", "")
		}, "not a directory"},
		{"closed to its user", func(h home) { must(h.t, os.Lchown(h.path, 0, 0)) }, "permission denied"},
		{"read-only", func(h home) {
			mount(h.t, h.path, h.path, "", unix.MS_BIND, "")
			mount(h.t, "", h.path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}, "read-only file system"},
		{"full", func(h home) {
			mount(h.t, "tmpfs", h.path, "tmpfs", 0, "size=64k,mode=777")
			h.write("ballast", strings.Repeat("x", 60<<10))
		}, "no space left"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHome(t)
			test.lay(h)
			_, err := h.bind(testKey(t, '1') + " " + strings.Repeat("c", 32<<10))
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), h.path) {
				t.Errorf("got %v, want %q and the home", err, test.want)
			}
			if _, err := os.Lstat(h.sub(".ssh")); err == nil {
				t.Error("left a .ssh behind")
			}
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestHomeIsBelowTheRootGiven(t *testing.T) {
	h := newHome(t)
	h.Root, h.Home, h.Path = filepath.Dir(h.path), "/home", "/home/.ssh/authorized_keys"
	// As in a chroot, an absolute link counts from the root given.
	must(t, os.Symlink("/somebody", filepath.Join(h.Root, "home")))
	h.mustBind(testKey(t, '1'))
	wantFile(t, h.sub(keysFile), regular, 0o600, h.UID)
}

func TestEditWhoseContextEndedChangesNothing(t *testing.T) {
	h := newHome(t)
	h.mkdir(".ssh")
	h.write(keysFile, "mine\n")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	_, err := authkeys.Edit(ctx, h.Location, func(f *authkeys.File) ([]byte, error) {
		defer close(done)
		cancel()
		return f.WithManaged([]string{testKey(t, '1')})
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	<-done
	// The next visit is let in only when the thread that was left has ended.
	for errors.Is(err, context.Canceled) || err != nil && strings.Contains(err.Error(), "still hangs") {
		_, _, err = authkeys.Read(t.Context(), h.Location)
	}
	must(t, err)
	if got := h.read(keysFile); got != "mine\n" {
		t.Errorf("file holds %q", got)
	}
	wantNames(t, h.sub(".ssh"), "authorized_keys")
}

func TestErrorOfTheEditIsReturnedAndNothingWritten(t *testing.T) {
	h := newHome(t)
	want := errors.New("no")
	_, err := authkeys.Edit(t.Context(), h.Location, func(*authkeys.File) ([]byte, error) { return []byte("x"), want })
	if !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
	wantNames(t, h.path)
}

func BenchmarkEdit(b *testing.B) {
	h := newHome(b)
	h.mustBind(testKey(b, '1'))
	keys := []string{testKey(b, '1'), testKey(b, '2')}
	for i := 0; b.Loop(); i++ {
		h.mustBind(keys[i%2])
	}
}

// BenchmarkEditWithoutDisk is on tmpfs, whose fsync does nothing.
func BenchmarkEditWithoutDisk(b *testing.B) {
	testmachine.RequireRoot(b)
	h := newHome(b)
	mount(b, "tmpfs", h.path, "tmpfs", 0, "mode=777")
	h.mustBind(testKey(b, '1'))
	keys := []string{testKey(b, '1'), testKey(b, '2')}
	for i := 0; b.Loop(); i++ {
		h.mustBind(keys[i%2])
	}
}
