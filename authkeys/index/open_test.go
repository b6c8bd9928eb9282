package index_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// newIndex makes an index in a folder below another, and returns that one.
func newIndex(t *testing.T) (top, path string) {
	t.Helper()
	top = filepath.Join(t.TempDir(), "top")
	folder := filepath.Join(top, "lib", "keys")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.OpenRoot(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	user := indexer.User{Name: "git", Lines: []string{"ssh-ed25519 " + testmachine.KeyBase64(1)}}
	if err := indexer.Write(dir, "users.index", user); err != nil {
		t.Fatal(err)
	}
	return top, filepath.Join(folder, "users.index")
}

func chmod(t *testing.T, path string, mode uint32) {
	t.Helper()
	if err := unix.Chmod(path, mode); err != nil { // os.Chmod has its own bits above 0777
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefusesWhatOthersMayChange(t *testing.T) {
	tests := map[string]struct {
		meddle func(t *testing.T, top, path string)
		why    string // "": it is opened
	}{
		"nothing":                {func(*testing.T, string, string) {}, ""},
		"mode 0600":              {func(t *testing.T, _, path string) { chmod(t, path, 0o600) }, ""},
		"written by the group":   {func(t *testing.T, _, path string) { chmod(t, path, 0o664) }, "its mode is 0664"},
		"written by all":         {func(t *testing.T, _, path string) { chmod(t, path, 0o646) }, "its mode is 0646"},
		"folder of all":          {func(t *testing.T, _, path string) { chmod(t, filepath.Dir(path), 0o777) }, "/lib/keys: can be written by others"},
		"sticky folder of all":   {func(t *testing.T, _, path string) { chmod(t, filepath.Dir(path), 0o1777) }, "its mode is 01777"},
		"folder above, group":    {func(t *testing.T, top, _ string) { chmod(t, top+"/lib", 0o775) }, "/lib: can be written by others"},
		"topmost folder":         {func(t *testing.T, top, _ string) { chmod(t, top, 0o775) }, "/top: can be written by others"},
		"folder above the top":   {func(t *testing.T, top, _ string) { chmod(t, filepath.Dir(top), 0o777) }, ""},
		"a symbolic link":        {linkFile, "is a symbolic link"},
		"a folder by a link":     {linkFolder, ""},
		"a folder":               {makeFolder, "is not a regular file"},
		"a FIFO":                 {makeFIFO, "is not a regular file"},
		"a socket":               {makeSocket, "users.index: "},
		"empty":                  {func(t *testing.T, _, path string) { replace(t, path, "") }, "too short"},
		"text":                   {func(t *testing.T, _, path string) { replace(t, path, strings.Repeat("text\n", 100)) }, "is no key index"},
		"of another version":     {newerVersion, "of another version"},
		"folder below no folder": {func(t *testing.T, top, _ string) { remove(t, top+"/lib"); replace(t, top+"/lib", "") }, "not a directory"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			top, path := newIndex(t)
			test.meddle(t, top, path)
			x, err := within(t, func() (*index.Index, error) { return index.Open(path, os.Getuid(), top) })
			if err == nil {
				x.Close()
			}
			_, refused := errors.AsType[*index.Error](err)
			if refused != (test.why != "") || refused && !strings.Contains(err.Error(), test.why) {
				t.Errorf("error %v, want one that says %q", err, test.why)
			}
		})
	}
}

// within fails the test when f waits for something.
func within[T any](t *testing.T, f func() (T, error)) (value T, err error) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		value, err = f()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("it waits")
	}
	return value, err
}

func linkFile(t *testing.T, _, path string) {
	if err := errors.Join(os.Rename(path, path+"2"), os.Symlink("users.index2", path)); err != nil {
		t.Fatal(err)
	}
}

// linkFolder leads to a folder below the top by another way.
func linkFolder(t *testing.T, top, path string) {
	dir := filepath.Dir(path)
	if err := errors.Join(os.Rename(dir, top+"/elsewhere"), os.Symlink(top+"/elsewhere", dir)); err != nil {
		t.Fatal(err)
	}
}

func makeFolder(t *testing.T, _, path string) {
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o755)); err != nil {
		t.Fatal(err)
	}
}

func makeFIFO(t *testing.T, _, path string) {
	if err := errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func makeSocket(t *testing.T, _, path string) {
	if err := errors.Join(os.Remove(path), unix.Mknod(path, unix.S_IFSOCK|0o600, 0)); err != nil {
		t.Fatal(err)
	}
}

func newerVersion(t *testing.T, _, path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[14]++
	replace(t, path, string(data))
}

func TestAnotherOwnersIndexIsRefused(t *testing.T) {
	testmachine.RequireRoot(t)
	for _, name := range []string{"lib/keys/users.index", "lib/keys", "lib", "."} {
		top, path := newIndex(t)
		if err := os.Chown(filepath.Join(top, name), 54321, 0); err != nil {
			t.Fatal(err)
		}
		_, err := index.Open(path, 0, top)
		if err == nil || !strings.Contains(err.Error(), "belongs to uid 54321, not to uid 0") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTopHasToBeAbove: else the folders that were checked would be none of those that
// were meant.
func TestTopHasToBeAbove(t *testing.T) {
	for name, err := range map[string]error{
		"index":   second(index.Open("/etc/passwd", 0, "/usr")),
		"program": index.Trusted("/etc/passwd", 0, "/usr"),
	} {
		if _, refused := errors.AsType[*index.Error](err); !refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestDeviceIsRefused(t *testing.T) {
	if x, err := index.Open("/dev/zero", 0, "/dev"); err == nil {
		x.Close()
		t.Error("opened")
	}
}

// TestMissingIndexIsENOENT: that there is none is for the caller to judge, also where
// others could make one.
func TestMissingIndexIsENOENT(t *testing.T) {
	for name, meddle := range map[string]func(t *testing.T, top, path string){
		"the file":             func(t *testing.T, _, path string) { remove(t, path) },
		"the folder":           func(t *testing.T, _, path string) { remove(t, filepath.Dir(path)) },
		"from a loose folder":  func(t *testing.T, _, path string) { remove(t, path); chmod(t, filepath.Dir(path), 0o777) },
		"all, with the folder": func(t *testing.T, top, _ string) { remove(t, top) },
	} {
		top, path := newIndex(t)
		meddle(t, top, path)
		if _, err := index.Open(path, os.Getuid(), top); !errors.Is(err, syscall.ENOENT) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNothingIsLeftOpen whatever becomes of an Open.
func TestNothingIsLeftOpen(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	top, path := newIndex(t)
	loose := filepath.Dir(path)
	before := count()
	for range 10 {
		for mode, name := range map[uint32]string{0o755: path, 0o777: path, 0o750: path + "2"} {
			chmod(t, loose, mode)
			if x, err := index.Open(name, os.Getuid(), top); err == nil {
				x.Close()
			}
			_ = index.Trusted(name, os.Getuid(), top)
		}
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func TestProgramIsTrustedByTheRuleOfSshd(t *testing.T) {
	tests := map[string]struct {
		meddle func(t *testing.T, top, path string)
		why    string
	}{
		"nothing":             {func(*testing.T, string, string) {}, ""},
		"a link to it":        {linkFile, ""},
		"a folder by a link":  {linkFolder, ""},
		"written by all":      {func(t *testing.T, _, path string) { chmod(t, path, 0o777) }, "users.index: can be written by others"},
		"folder of the group": {func(t *testing.T, _, path string) { chmod(t, filepath.Dir(path), 0o775) }, "/lib/keys: can be written by others"},
		"link into a folder of all": {func(t *testing.T, top, path string) {
			loose := top + "/loose"
			if err := errors.Join(os.Mkdir(loose, 0o755), os.Rename(path, loose+"/program"), os.Symlink(loose+"/program", path)); err != nil {
				t.Fatal(err)
			}
			chmod(t, loose, 0o777)
		}, "/loose: can be written by others"},
		"missing":  {func(t *testing.T, _, path string) { remove(t, path) }, syscall.ENOENT.Error()},
		"a FIFO":   {makeFIFO, "is not a regular file"},
		"a folder": {makeFolder, "is not a regular file"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			top, path := newIndex(t)
			test.meddle(t, top, path)
			_, err := within(t, func() (struct{}, error) { return struct{}{}, index.Trusted(path, os.Getuid(), top) })
			if (err != nil) != (test.why != "") || err != nil && !strings.Contains(err.Error(), test.why) {
				t.Errorf("error %v, want one that says %q", err, test.why)
			}
		})
	}
	if err := index.Trusted("true", 0, "/"); err == nil {
		t.Error("a relative path is trusted")
	}
}
