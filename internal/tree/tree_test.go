package tree_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/tree"
)

// newTree is a tree with a file in it and, beside it, a folder that links lead to.
func newTree(t *testing.T, links map[string]string) (root, outside string) {
	t.Helper()
	top := t.TempDir()
	root, outside = filepath.Join(top, "root"), filepath.Join(top, "outside")
	write(t, filepath.Join(root, "etc/real/file"), "inside")
	write(t, filepath.Join(outside, "file"), "outside")
	for link, target := range links {
		if target == "OUTSIDE" {
			target = outside
		}
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	return root, outside
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// ways are all the calls, on the file name or its folder.
func ways(root, name string) map[string]error {
	errs := map[string]error{}
	note := func(way string, err error) { errs[way] = err }
	_, err := tree.ReadFile(root, name)
	note("ReadFile", err)
	_, err = tree.Stat(root, name)
	note("Stat", err)
	_, err = tree.Lstat(root, name)
	note("Lstat", err)
	folder, err := tree.OpenFolder(root, filepath.Dir(name))
	note("OpenFolder", errors.Join(err, closed(folder)))
	folder, err = tree.MakeFolder(root, filepath.Join(filepath.Dir(name), "new"), 0o755)
	note("MakeFolder", errors.Join(err, closed(folder)))
	folder, _, err = tree.Place(root, name)
	note("Place", errors.Join(err, closed(folder)))
	note("Remove", tree.Remove(root, name))
	return errs
}

func closed(folder *os.Root) error {
	if folder == nil {
		return nil
	}
	return folder.Close()
}

func TestNoLinkLeadsOutOfTheTree(t *testing.T) {
	t.Parallel()
	for name, links := range map[string]map[string]string{
		"absolute":            {"etc/link": "OUTSIDE"},
		"climbing":            {"etc/link": "../../outside"},
		"one after the other": {"etc/link": "real/second", "etc/real/second": "OUTSIDE"},
		"to nothing":          {"etc/link": "/none/such"},
	} {
		root, outside := newTree(t, links)
		for way, err := range ways(root, "/etc/link/file") {
			var link *tree.LinkError
			if !errors.As(err, &link) || link.Link != root+"/etc/link" {
				t.Errorf("%s: %s: %v, want the link named", name, way, err)
			}
		}
		entries, err := os.ReadDir(outside)
		if err != nil || len(entries) != 1 {
			t.Errorf("%s: outside is now %v (%v)", name, entries, err)
		}
	}
}

func TestALinkThatStaysInsideIsFollowed(t *testing.T) {
	t.Parallel()
	for name, links := range map[string]map[string]string{
		"a folder":    {"etc/link": "real"},
		"up and down": {"etc/link": "../etc/./real"},
		"twice":       {"etc/link": "real/second", "etc/real/second": "../real"},
	} {
		root, _ := newTree(t, links)
		for way, err := range ways(root, "/etc/link/file") {
			if err != nil {
				t.Errorf("%s: %s: %v", name, way, err)
			}
		}
		if _, err := os.Stat(filepath.Join(root, "etc/real/file")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: it was not removed: %v", name, err)
		}
	}
}

func TestAFileIsPlacedWhereItsLinksLead(t *testing.T) {
	t.Parallel()
	links := map[string]string{
		"etc/link": "deep/er", "etc/deep": "real/deep",
		"etc/real/deep/er/up": "../../file", // of the folder that deep leads to
		"etc/real/again":      "../link/up", "etc/dangling": "real/none",
	}
	for name, want := range map[string]struct{ folder, base string }{
		"/etc/real/file":  {"etc/real", "file"},
		"/etc/link/up":    {"etc/real", "file"},
		"/etc/real/again": {"etc/real", "file"},
		"/etc/dangling":   {"etc", "dangling"},
		"/etc/real/none":  {"etc/real", "none"},
		"/top":            {"", "top"},
	} {
		root, _ := newTree(t, nil)
		if err := os.MkdirAll(filepath.Join(root, "etc/real/deep/er"), 0o755); err != nil {
			t.Fatal(err)
		}
		for link, target := range links {
			if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
				t.Fatal(err)
			}
		}
		for _, machine := range []bool{false, true} { // the same below "/", as far as links are relative
			from, file := root, name
			if machine {
				from, file = "/", root+name
			}
			folder, base, err := tree.Place(from, file)
			if err != nil {
				t.Errorf("%s below %s: %v", file, from, err)
				continue
			}
			info, err := folder.Stat(".")
			wanted, err2 := os.Stat(filepath.Join(root, want.folder))
			if err := errors.Join(err, err2, folder.Close()); err != nil {
				t.Fatal(err)
			}
			if base != want.base || !os.SameFile(info, wanted) {
				t.Errorf("%s below %s: %s in %s, want %+v", file, from, base, folder.Name(), want)
			}
		}
	}
}

func TestOnTheMachineItselfAbsoluteLinksAreFollowed(t *testing.T) {
	t.Parallel()
	root, outside := newTree(t, map[string]string{"etc/link": "OUTSIDE"})
	for way, err := range ways("/", filepath.Join(root, "etc/link/file")) {
		if err != nil {
			t.Errorf("%s: %v", way, err)
		}
	}
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 1 || entries[0].Name() != "new" {
		t.Errorf("there is %v (%v), want the folder alone", entries, err)
	}
}

func TestAnErrorNamesTheFileAsItIsTyped(t *testing.T) {
	t.Parallel()
	root, _ := newTree(t, map[string]string{"etc/loop": "loop"})
	for name, want := range map[string]string{"/etc/none": "no such file or directory", "/etc/loop": "too many levels of symbolic links"} {
		_, err := tree.ReadFile(root, name)
		path, ok := errors.AsType[*fs.PathError](err)
		if !ok {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff([]string{root + name, want}, []string{path.Path, path.Err.Error()}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
