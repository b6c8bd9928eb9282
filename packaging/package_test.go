package packaging

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// top is the root of the tree, seen from this package.
const top = ".."

// TestMain takes the packages away that the tests have built.
func TestMain(m *testing.M) {
	code := m.Run()
	if err := built.remove(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// built is a copy of the tree in which all packages were made.
var built builtTree

type builtTree struct {
	once sync.Once
	dir  string
	err  error
}

// tree returns a copy of the tree with all packages in dist/.
func (b *builtTree) tree(t *testing.T) string {
	t.Helper()
	testmachine.RequireProgram(t, "make")
	b.once.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "latchkey-packaging-"); b.err != nil {
			return
		}
		if b.err = copyTree(b.dir, top, time.Now(), 0o022); b.err == nil {
			b.err = makeIn(b.dir, "022", "package")
		}
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.dir
}

func (b *builtTree) remove() error {
	if b.dir == "" {
		return nil
	}
	return os.RemoveAll(b.dir)
}

// file returns the path of the one package whose name matches.
func (b *builtTree) file(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(b.tree(t), "dist", pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("dist/%s: %q, want one file (%v)", pattern, found, err)
	}
	return found[0]
}

// copyTree copies a tree, without history and results, as it would be after a
// checkout at that time under that umask.
func copyTree(to, from string, at time.Time, umask fs.FileMode) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		switch {
		case slices.Contains([]string{".git", "bin", "dist"}, relative):
			return filepath.SkipDir
		case entry.IsDir():
			return os.MkdirAll(target, 0o755)
		case !entry.Type().IsRegular():
			return nil
		}
		return copyFile(target, path, at, umask)
	})
}

func copyFile(to, from string, at time.Time, umask fs.FileMode) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, data, info.Mode().Perm()&^umask); err != nil {
		return err
	}
	return os.Chtimes(to, at, at)
}

// makeIn runs make in a tree, under an umask.
func makeIn(dir, umask string, args ...string) error {
	command := exec.Command("sh", append([]string{"-c", "umask " + umask + " && exec make --no-print-directory \"$@\"", "make"}, args...)...)
	command.Dir = dir
	command.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains([]string{"VERSION", "DIST", "FORMATS", "ARCHES", "PREFIX", "DESTDIR", "SOURCE_DATE_EPOCH", "MAKEFLAGS"}, name)
	})
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("make %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// TestSameTreeSamePackages: checked out and built in another folder, at another
// time, under another umask, it gives the same bytes.
func TestSameTreeSamePackages(t *testing.T) {
	t.Parallel()
	here := built.tree(t)
	elsewhere := filepath.Join(t.TempDir(), "a", "longer", "path")
	if err := copyTree(elsewhere, here, time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC), 0o077); err != nil {
		t.Fatal(err)
	}
	// One architecture is enough: the packages differ in nothing but the programs.
	if err := makeIn(elsewhere, "077", "package", "ARCHES=arm64"); err != nil {
		t.Fatal(err)
	}
	again := digests(t, filepath.Join(elsewhere, "dist"))
	if len(again) != 3 {
		t.Errorf("made %d packages, want 3", len(again))
	}
	want := map[string]string{}
	for name, digest := range digests(t, filepath.Join(here, "dist")) {
		if _, ok := again[name]; ok {
			want[name] = digest
		}
	}
	if diff := cmp.Diff(want, again); diff != "" {
		t.Errorf("the packages differ (-first +second):\n%s", diff)
	}
}

// digests are the SHA-256 of a folder's files.
func digests(t *testing.T, folder string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]string{}
	for _, entry := range entries {
		sums[entry.Name()] = fmt.Sprintf("%x", sha256.Sum256(readFile(t, filepath.Join(folder, entry.Name()))))
	}
	return sums
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestThereIsAPackageForEachFormatAndArchitecture(t *testing.T) {
	var names []string
	for name := range digests(t, filepath.Join(built.tree(t), "dist")) {
		names = append(names, name)
	}
	slices.Sort(names)
	want := []string{
		"latchkey-0.1.0-1.aarch64.rpm", "latchkey-0.1.0-1.x86_64.rpm",
		"latchkey_0.1.0-1_amd64.deb", "latchkey_0.1.0-1_arm64.deb",
		"latchkey_0.1.0-r1_aarch64.apk", "latchkey_0.1.0-r1_x86_64.apk",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("dist/ (-want +got):\n%s", diff)
	}
}

func TestLintianFindsNoErrors(t *testing.T) {
	t.Parallel()
	lintian := testmachine.RequireProgram(t, "lintian")
	out, err := exec.Command(lintian, "--fail-on", "error", built.file(t, "*_amd64.deb")).CombinedOutput()
	if err != nil {
		t.Errorf("lintian: %v\n%s", err, out)
	}
}
