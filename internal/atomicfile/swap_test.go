package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// newSwap is a replacement of a file that was read, up to its commit.
func newSwap(t *testing.T) (*os.Root, *replacement) {
	t.Helper()
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	put(t, dir, "old")
	old, err := Read(dir, "file", 100)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := dir.Open(".")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { folder.Close() })
	r := &replacement{folder: folder, name: "file", mode: 0o600, compare: true, over: old}
	if err := r.write(dir, content([]byte("ours"))); err != nil {
		t.Fatal(err)
	}
	return dir, r
}

// put replaces the file as an editor does.
func put(t *testing.T, dir *os.Root, content string) {
	t.Helper()
	err := errors.Join(dir.WriteFile("edit", []byte(content), 0o600), dir.Rename("edit", "file"))
	if err != nil {
		t.Fatal(err)
	}
}

func exchange(t *testing.T, r *replacement) {
	t.Helper()
	if err := renameat2(r.folder, r.temp, r.name, unix.RENAME_EXCHANGE); err != nil {
		t.Fatal(err)
	}
}

func TestWhatASwapTookByMistakeGoesBack(t *testing.T) {
	remove := func(t *testing.T, dir *os.Root) {
		if err := dir.Remove("file"); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name  string
		after func(t *testing.T, dir *os.Root) // between the swap and its undoing
		want  string
	}{
		{"the edit that was taken", func(*testing.T, *os.Root) {}, "theirs"},
		{"a later edit", func(t *testing.T, dir *os.Root) { put(t, dir, "later") }, "later"},
		{"a later removal", remove, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir, r := newSwap(t)
			put(t, dir, "theirs") // comes between the look and the exchange
			exchange(t, r)
			test.after(t, dir)
			if err := r.putBack(); !errors.Is(err, ErrChanged) {
				t.Errorf("got %v", err)
			}
			r.discard()
			got, _ := dir.ReadFile("file")
			if string(got) != test.want {
				t.Errorf("file holds %q, want %q", got, test.want)
			}
			if left := listing(t, dir); len(left) > 1 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func TestEditWithinOneTickOfTheClockIsNoticed(t *testing.T) {
	dir, r := newSwap(t)
	file, err := dir.OpenFile("file", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString("new"); err != nil { // as long as what was read
		t.Fatal(err)
	}
	id, err := look(r.folder, r.name)
	if err != nil {
		t.Fatal(err)
	}
	r.over.ID = id // as if the clock had not moved
	if err := r.swap(); !errors.Is(err, ErrChanged) {
		t.Errorf("got %v, want %v", err, ErrChanged)
	}
	if got, _ := dir.ReadFile("file"); string(got) != "new" {
		t.Errorf("file holds %q", got)
	}
}

func listing(t *testing.T, dir *os.Root) []string {
	t.Helper()
	folder, err := dir.Open(".")
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	names, err := folder.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestWithoutExchangeTheLookStillGuards(t *testing.T) {
	for name, errno := range map[string]unix.Errno{"old kernel": unix.ENOSYS, "file system that cannot": unix.EINVAL} {
		t.Run(name, func(t *testing.T) {
			dir, err := os.OpenRoot(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer dir.Close()
			if err := withoutRenameat2(errno, func() error { return replaceWithoutExchange(dir) }); err != nil {
				t.Error(err)
			}
			if left := listing(t, dir); len(left) != 1 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// replaceWithoutExchange makes a file, replaces it, and is refused twice.
func replaceWithoutExchange(dir *os.Root) error {
	if err := Replace(dir, "file", []byte("made"), 0o600, Over(nil)); err != nil {
		return err
	}
	if err := Replace(dir, "file", nil, 0o600, Over(nil)); !errors.Is(err, ErrChanged) {
		return fmt.Errorf("made twice: %w", err)
	}
	old, err := Read(dir, "file", 100)
	if err != nil {
		return err
	}
	if err := Replace(dir, "file", []byte("ours"), 0o600, Over(old)); err != nil {
		return err
	}
	if err := Replace(dir, "file", nil, 0o600, Over(old)); !errors.Is(err, ErrChanged) {
		return fmt.Errorf("replaced what was not read: %w", err)
	}
	if got, err := dir.ReadFile("file"); err != nil || string(got) != "ours" {
		return fmt.Errorf("file holds %q, %w", got, err)
	}
	return nil
}

// withoutRenameat2 runs f on a thread whose calls of renameat2(2) fail with
// errno. A seccomp filter cannot be taken off again, so the thread ends with f.
func withoutRenameat2(errno unix.Errno, f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		filter := []unix.SockFilter{
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_RENAMEAT2, Jf: 1},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		}
		program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
		}
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}
