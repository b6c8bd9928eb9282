package authkeys_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/authkeys"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashEnv); dir != "" {
		editForever(dir)
	}
	goleak.VerifyTestMain(m)
}

// A home is the home of a user without an account; of whoever runs the test,
// where that is not root.
type home struct {
	t testing.TB
	authkeys.Location
	path string // of the home
}

func newHome(t testing.TB) home {
	t.Helper()
	account := authkeys.Account{Root: "/", User: "somebody", UID: 54321, GID: 54321}
	if os.Geteuid() != 0 {
		account.UID, account.GID = os.Geteuid(), os.Getegid()
	}
	dir := t.TempDir()
	must(t, os.Chmod(filepath.Dir(dir), 0o755)) // so that the user gets to it
	account.Home = filepath.Join(dir, "somebody")
	location, err := authkeys.Locate([]string{".ssh/authorized_keys"}, account)
	if err != nil {
		t.Fatal(err)
	}
	h := home{t: t, Location: location, path: account.Home}
	h.mkdir(".")
	return h
}

// sub is a path in the home.
func (h home) sub(name string) string { return filepath.Join(h.path, name) }

func (h home) own(name string) {
	h.t.Helper()
	if err := os.Lchown(h.sub(name), h.UID, h.GID); err != nil {
		h.t.Fatal(err)
	}
}

func (h home) mkdir(name string) {
	h.t.Helper()
	if err := os.Mkdir(h.sub(name), 0o700); err != nil {
		h.t.Fatal(err)
	}
	h.own(name)
}

func (h home) write(name, content string) {
	h.t.Helper()
	if err := os.WriteFile(h.sub(name), []byte(content), 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.own(name)
}

func (h home) symlink(target, name string) {
	h.t.Helper()
	if err := os.Symlink(target, h.sub(name)); err != nil {
		h.t.Fatal(err)
	}
	h.own(name)
}

func (h home) read(name string) string {
	h.t.Helper()
	data, err := os.ReadFile(h.sub(name))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(data)
}

// bind puts the keys into the block.
func (h home) bind(keys ...string) (authkeys.Change, error) {
	return authkeys.Edit(h.t.Context(), h.Location, bindTo(keys...))
}

func bindTo(keys ...string) func(*authkeys.File) ([]byte, error) {
	return func(f *authkeys.File) ([]byte, error) { return f.WithManaged(keys) }
}

func (h home) mustBind(keys ...string) authkeys.Change {
	h.t.Helper()
	change, err := h.bind(keys...)
	if err != nil {
		h.t.Fatal(err)
	}
	return change
}

// wantFile checks type, mode and owner.
func wantFile(t testing.TB, path string, kind, mode uint32, uid int) {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		t.Fatal(err)
	}
	if stat.Mode != kind|mode || int(stat.Uid) != uid {
		t.Errorf("%s: mode %o, owner %d; want %o, %d", path, stat.Mode, stat.Uid, kind|mode, uid)
	}
}

// wantNames checks that the folder holds these names and none besides.
func wantNames(t testing.TB, folder string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(want) {
		t.Errorf("%s holds %v, want %q", folder, entries, want)
		return
	}
	for i, entry := range entries {
		if entry.Name() != want[i] {
			t.Errorf("%s holds %v, want %q", folder, entries, want)
		}
	}
}

// mount works in the mount namespace that testmachine gives the test binary.
func mount(t testing.TB, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		t.Fatalf("mount %s: %v", target, err)
	}
	if flags&unix.MS_REMOUNT == 0 {
		t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
	}
}

const (
	regular = syscall.S_IFREG
	folder  = syscall.S_IFDIR
	link    = syscall.S_IFLNK
)
