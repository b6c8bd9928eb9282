package house

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// layers are the folders from the bottom up: a package imports from lower
// lines only, or from its own folder. What is not named here is checked by
// TestEveryPackageHasItsLayer.
var layers = [][]string{
	{"internal"},
	{"metadata", "authkeys", "systemd"},
	{"sshd"},
	{"network"},
	{"keypair"},
	{"agent"},
	{"cmd"},
	{"e2e", "bench", "packaging", "internal/house"},
}

// layerOf returns the index of a package's layer, or -1. The longest folder
// that fits counts.
func layerOf(importPath string) int {
	layer, longest := -1, -1
	for i, folders := range layers {
		for _, folder := range folders {
			if within(importPath, folder) && len(folder) > longest {
				layer, longest = i, len(folder)
			}
		}
	}
	return layer
}

func TestEveryPackageHasItsLayer(t *testing.T) {
	for _, p := range packages(t) {
		if layerOf(p.ImportPath) < 0 {
			t.Errorf("%s is in none of the folders that internal/house knows", p.folder())
		}
	}
}

func TestImportsGoDownwards(t *testing.T) {
	for _, p := range packages(t) {
		for _, imported := range p.ownImports() {
			if sameFolder(p.ImportPath, imported) || layerOf(imported) < layerOf(p.ImportPath) {
				continue
			}
			t.Errorf("%s imports %s, which is not below it", p.ImportPath, imported)
		}
	}
}

// sameFolder reports whether both are in one top-level folder.
func sameFolder(a, b string) bool {
	first := func(path string) string {
		folder, _, _ := strings.Cut(strings.TrimPrefix(path, module+"/"), "/")
		return folder
	}
	return first(a) == first(b)
}

// TestForbiddenImports holds the rules that layers do not say. They count for
// what is imported through others too.
func TestForbiddenImports(t *testing.T) {
	rules := []struct{ importer, imported, why string }{
		{"agent", "keypair", "an instance must not carry the region's code"},
		{"cmd/latchkeyd", "keypair", "an instance must not carry the region's code"},
		{"keypair", "sshd", "a region does not know how an instance is logged in to"},
		{"keypair", "agent", "a region does not know how an instance is logged in to"},
		{"keypair", "metadata", "server and client of one protocol check each other"},
		{"sshd", "metadata", "what asks sshd does not know where a key comes from"},
		{"sshd", "keypair", "what asks sshd does not know where a key comes from"},
		{"authkeys", "metadata", "the file format does not know where a key comes from"},
		{"internal", "metadata", "internal packages serve the others"},
		{"internal", "agent", "internal packages serve the others"},
	}
	for _, rule := range rules {
		for _, p := range packages(t) {
			if !p.under(rule.importer) {
				continue
			}
			for _, imported := range p.Deps {
				if within(imported, rule.imported) {
					t.Errorf("%s imports %s (perhaps through another): %s", p.ImportPath, imported, rule.why)
				}
			}
		}
	}
}

// TestOnlyThese lists packages that import from the project nothing but what is
// said here.
func TestOnlyThese(t *testing.T) {
	rules := []struct {
		importer string
		allowed  []string
	}{
		{"metadata", nil},
		{"keypair", []string{"keypair", "authkeys"}},
		{"cmd/latchkey-authorized-keys", []string{"authkeys/index"}},
	}
	for _, rule := range rules {
		for _, p := range packages(t) {
			if !p.under(rule.importer) {
				continue
			}
			for _, imported := range p.ownImports() {
				fits := func(folder string) bool { return within(imported, folder) }
				if !slices.ContainsFunc(rule.allowed, fits) {
					t.Errorf("%s imports %s; it may import only %q", p.ImportPath, imported, rule.allowed)
				}
			}
		}
	}
}

// TestTheHelperIsMadeOfNextToNothing: sshd starts it twice for each key that a
// client offers, and what a package does at the start of a program is done every
// time. Left out is what comes with every program.
func TestTheHelperIsMadeOfNextToNothing(t *testing.T) {
	want := []string{
		"cmp", "errors", module + "/authkeys/index", module + "/authkeys/internal/indexfile",
		"iter", "math/bits", "slices", "strconv", "sync", "sync/atomic", "syscall", "unicode/utf8", "unsafe",
	}
	for _, p := range packages(t) {
		if p.folder() != "cmd/latchkey-authorized-keys" {
			continue
		}
		got := slices.DeleteFunc(slices.Clone(p.Deps), func(path string) bool {
			first, _, _ := strings.Cut(path, "/")
			return first == "internal" || first == "runtime"
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s is made of (-want +got):\n%s", p.folder(), diff)
		}
		return
	}
	t.Error("there is no such program")
}

func TestNothingImportsACommandOrTestTool(t *testing.T) {
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			switch {
			case within(imported, "cmd") && !p.under("cmd"):
				t.Errorf("%s imports the command %s", p.ImportPath, imported)
			case within(imported, "internal/testmachine"), imported == "testing" && !p.under("internal/testmachine") && !p.under("keypair/storetest"):
				t.Errorf("%s imports %s outside its tests", p.ImportPath, imported)
			}
		}
	}
}
