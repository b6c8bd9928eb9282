package indexer_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
)

// TestBuildTakesLittleMemory: neither all lines nor the index are in memory at once. It
// builds in a process of its own, as this one may have used more before.
func TestBuildTakesLittleMemory(t *testing.T) {
	const (
		variable = "LATCHKEY_TEST_BUILD"
		lines    = 300_000 // 26 MB, and an index of 40 MB
		most     = 180     // MiB; with the race detector it takes 130, without it 50
	)
	if in := os.Getenv(variable); in != "" {
		if _, _, err := build(t, in+".index", indexer.Source{User: "git", Path: in}); err != nil {
			t.Fatal(err)
		}
		if peak := peakMemory(t); peak > most {
			t.Errorf("%d MiB for %d lines, want at most %d", peak, lines, most)
		}
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestBuildTakesLittleMemory$")
	child.Env = append(os.Environ(), variable+"="+writeLines(t, lines), "GOMAXPROCS=64") // it has not to grow with them
	if output, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

// peakMemory is the most that this process has had in memory, in MiB. The kernel's
// figure for a child would begin with its parent's.
func peakMemory(t *testing.T) (peak int) {
	t.Helper()
	_, rest, _ := strings.Cut(readFile(t, "/proc/self/status"), "VmHWM:")
	if _, err := fmt.Sscan(rest, &peak); err != nil {
		t.Fatal(err)
	}
	return peak / 1024
}
