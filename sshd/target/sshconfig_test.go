package target

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree is what a folder holds: content by name, that of a link being where it points.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if target, err := os.Readlink(path); err == nil {
			all[entry.Name()] = "-> " + target
			continue
		}
		all[entry.Name()] = readFile(t, path)
	}
	return all
}

func TestWriteSSHConfigTouchesNothingThatIsThere(t *testing.T) {
	s := Start(t)
	for _, name := range []string{"config", "known_hosts", "id_ed25519"} {
		for kind, make := range map[string]func(path string) error{
			"file":          func(path string) error { return os.WriteFile(path, []byte("the user's own"), 0o644) },
			"link":          func(path string) error { return os.Symlink("elsewhere", path) },
			"dangling link": func(path string) error { return os.Symlink("nowhere", path) },
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				dir := t.TempDir()
				if err := os.WriteFile(filepath.Join(dir, "elsewhere"), []byte("another's"), 0o644); err != nil {
					t.Fatal(err)
				}
				if err := make(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
				before := tree(t, dir)
				_, err := s.WriteSSHConfig(dir)
				if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, name)) {
					t.Errorf("the error does not name the file: %v", err)
				}
				if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
					t.Errorf("changed (-before +after):\n%s", diff)
				}
			})
		}
	}
}

func TestWriteSSHConfigLetsNobodyElseRead(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	s := Start(t)
	dir := filepath.Join(t.TempDir(), "new")
	if _, err := s.WriteSSHConfig(dir); err != nil {
		t.Fatal(err)
	}
	got := map[string]fs.FileMode{}
	for _, name := range []string{".", "config", "known_hosts", "id_ed25519"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got[name] = info.Mode()
	}
	want := map[string]fs.FileMode{".": fs.ModeDir | 0o700, "config": 0o600, "known_hosts": 0o600, "id_ed25519": 0o600}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
