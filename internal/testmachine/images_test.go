package testmachine

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestATreeIsMadeAnewOnlyWhenItsPackagesHaveChanged runs images.sh with a
// debootstrap that makes an empty tree and counts.
func TestATreeIsMadeAnewOnlyWhenItsPackagesHaveChanged(t *testing.T) {
	t.Parallel()
	cache, programs := t.TempDir(), t.TempDir()
	for name, script := range map[string]string{
		"debootstrap": `echo made >>"$LATCHKEY_CACHE/count"; for last; do tree=$previous previous=$last; done; mkdir -p "$tree/etc/cloud"`,
		"apt-get":     `echo Debian http://mirror.test/ bookworm`,
	} {
		if err := os.WriteFile(filepath.Join(programs, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tree := filepath.Join(cache, "images", "bookworm")
	want := func(made int) {
		t.Helper()
		cmd := exec.Command("./images.sh", "bookworm")
		cmd.Env = append(os.Environ(), "LATCHKEY_CACHE="+cache, "PATH="+programs+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("images.sh: %v\n%s", err, out)
		}
		count, err := os.ReadFile(filepath.Join(cache, "count"))
		if got := strings.Count(string(count), "\n"); got != made || err != nil {
			t.Fatalf("made %d times, want %d (%v)", got, made, err)
		}
		if _, err := os.Stat(filepath.Join(tree, "etc/cloud/cloud-init.disabled")); err != nil {
			t.Error(err)
		}
	}
	want(1)
	want(1)
	if err := os.WriteFile(filepath.Join(tree, "var/lib/testmachine/packages"), []byte("fewer\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	want(2)
	if rest, err := filepath.Glob(filepath.Join(cache, "images", ".bookworm*")); err != nil || len(rest) > 0 {
		t.Errorf("left beside the tree: %q (%v)", rest, err)
	}
}
