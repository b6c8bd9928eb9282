package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestTopLevelFoldersAreThere(t *testing.T) {
	for _, name := range []string{
		"cmd", "agent", "metadata", "authkeys", "sshd", "keypair", "systemd",
		"packaging", "testdata", "e2e", "bench", "docs", "internal",
	} {
		entries, err := os.ReadDir(filepath.Join(top, name))
		if err != nil || len(entries) == 0 {
			t.Errorf("%s: nothing there (%v)", name, err)
		}
	}
}

func TestEveryPackageHasADocComment(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", p.folder())
		}
	}
}

// maxLines is where a file surely has a second subject; one that grows past
// 400 lines should be looked at before that.
const maxLines = 600

func TestNoFileIsTooLong(t *testing.T) {
	for _, path := range files(t, ".go") {
		if n := strings.Count(read(t, path), "\n"); n > maxLines {
			t.Errorf("%s has %d lines, more than %d", path, n, maxLines)
		}
	}
}

func TestNoVagueNames(t *testing.T) {
	for _, p := range packages(t) {
		if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "misc", "pkg"}, p.Name) {
			t.Errorf("%s: the name says nothing", p.folder())
		}
	}
}

func TestGoModReplacesNothing(t *testing.T) {
	if regexp.MustCompile(`(?m)^\s*replace\b`).MatchString(read(t, "go.mod")) {
		t.Error("go.mod has a replace, which those who import this module do not get")
	}
}

// TestEveryDependencyHasItsReason: docs/HACKING.md names each module that
// go.mod requires directly.
func TestEveryDependencyHasItsReason(t *testing.T) {
	hacking := read(t, "docs/HACKING.md")
	required := regexp.MustCompile(`(?m)^(?:require)?\s+(\S+\.\S+/\S+) v\S+$`) // not "// indirect"
	for _, match := range required.FindAllStringSubmatch(read(t, "go.mod"), -1) {
		if !strings.Contains(hacking, match[1]) {
			t.Errorf("docs/HACKING.md does not say what %s is for", match[1])
		}
	}
}

// TestOnlyTestmachineSkips: a skip of its own would escape the rule that
// nothing is skipped in continuous integration.
func TestOnlyTestmachineSkips(t *testing.T) {
	for _, path := range files(t, ".go") {
		if strings.HasPrefix(path, "internal/testmachine/") {
			continue
		}
		for _, position := range skips(t, path) {
			t.Errorf("%s skips by itself; use testmachine.RequireRoot or RequireProgram", position)
		}
	}
}

// skips returns where the file calls t.Skip, t.Skipf or t.SkipNow on what the
// tests here call t, tb, b or f.
func skips(t *testing.T, path string) []token.Position {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, filepath.Join(top, path), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var found []token.Position
	ast.Inspect(file, func(node ast.Node) bool {
		call, ok := node.(*ast.SelectorExpr)
		if !ok || !slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, call.Sel.Name) {
			return true
		}
		if name, ok := call.X.(*ast.Ident); ok && slices.Contains([]string{"t", "tb", "b", "f"}, name.Name) {
			found = append(found, set.Position(call.Pos()))
		}
		return true
	})
	return found
}

// TestNothingNamesOneMachine: what is true on one machine alone does not
// belong in the tree. The patterns are put together so that they are not
// themselves found.
func TestNothingNamesOneMachine(t *testing.T) {
	forbidden := regexp.MustCompile(strings.Join([]string{
		`/` + `work/`, `/` + `root/go`, `proxy\.` + `golang\.org`, `deb\.` + `debian\.org`,
		`registry\.` + `npmjs`, `pypi\.` + `org`, `TO` + `DO\b`, `FIX` + `ME\b`,
	}, "|"))
	for _, path := range files(t, "") {
		if strings.Contains(path, "testdata/fuzz/") || path == "go.sum" {
			continue
		}
		for i, line := range strings.Split(read(t, path), "\n") {
			if found := forbidden.FindString(line); found != "" {
				t.Errorf("%s:%d has %q", path, i+1, found)
			}
		}
	}
}
