package atomicfile

import (
	"errors"
	"os"
	"testing"

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
	if err := r.write(dir, []byte("ours")); err != nil {
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
