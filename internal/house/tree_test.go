package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/latchkey-ssh/latchkey"

// top is the root of the tree, seen from this package.
const top = "../.."

// pkg is what these tests need of a package; `go help list` explains the fields.
type pkg struct {
	ImportPath   string
	Name         string
	Dir          string
	Doc          string
	Imports      []string
	Deps         []string
	TestImports  []string
	XTestImports []string
	GoFiles      []string
}

// folder is the package's path in the tree: "sshd/target".
func (p pkg) folder() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

// under reports whether the package is in that folder or below it.
func (p pkg) under(folder string) bool {
	return within(p.ImportPath, folder)
}

func within(importPath, folder string) bool {
	full := module + "/" + folder
	return importPath == full || strings.HasPrefix(importPath, full+"/")
}

var listPackages = sync.OnceValues(func() ([]pkg, error) {
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Name,Dir,Doc,Imports,Deps,TestImports,XTestImports,GoFiles", "./...")
	cmd.Dir = top
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var all []pkg
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
})

func packages(t *testing.T) []pkg {
	t.Helper()
	all, err := listPackages()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if len(all) < 3 {
		t.Fatalf("go list names only %d packages", len(all))
	}
	return all
}

// ownImports are the imports of the package that are the project's.
func (p pkg) ownImports() []string {
	return slices.DeleteFunc(slices.Clone(p.Imports), func(path string) bool {
		return path != module && !strings.HasPrefix(path, module+"/")
	})
}

// notOurs are folders that hold no files of the tree: results and caches.
var notOurs = []string{".git", "bin", "dist"}

// files returns the paths, from the top, of all files that end so.
func files(t *testing.T, suffix string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains(notOurs, relative) {
			return filepath.SkipDir
		}
		if entry.Type().IsRegular() && strings.HasSuffix(path, suffix) {
			found = append(found, relative)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(top, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
