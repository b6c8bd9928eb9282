package target

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestOnlyFilesAreReadAndNoMoreOfThemThanIsAllowed(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, size := range map[string]int{"empty": 0, "short": 9, "full": 10, "large": 11, "huge": 10_000} {
		if err := os.WriteFile(at(name), []byte(strings.Repeat("x", size)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(at("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, name := range []string{"empty", "short", "full", "large", "huge", "fifo", "missing", "."} {
		data, err := readRegular(at(name), 10)
		got[name] = string(data)
		if err != nil {
			got[name] = strings.ReplaceAll(err.Error(), at(name), "FILE")
		}
	}
	want := map[string]string{
		"empty": "", "short": "xxxxxxxxx", "full": "xxxxxxxxxx",
		"large": "read FILE: larger than 10 bytes", "huge": "read FILE: larger than 10 bytes",
		"fifo": "read FILE: not a regular file", ".": "read FILE: not a regular file",
		"missing": "open FILE: no such file or directory",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := readRegular(at("missing"), 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestAFileIsReadToItsEndWhateverItsSizeSays(t *testing.T) {
	text := strings.Repeat("a line of a file\n", 1000)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{0, 1, 500, int64(len(text)) - 1, int64(len(text)), int64(len(text)) + 1, 1 << 20} {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := readUpTo(int(file.Fd()), size, 1<<20) // it has grown since, or become shorter
		_ = file.Close()
		if err != nil || string(data) != text {
			t.Errorf("size %d: %d bytes, %v", size, len(data), err)
		}
	}
}
