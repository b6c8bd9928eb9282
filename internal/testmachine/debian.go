package testmachine

import (
	"os"
	"path/filepath"
	"testing"
)

// NewDebian returns a machine that runs another Debian release and so another
// OpenSSH: "bullseye" has 8.4, "bookworm" 9.2, "trixie" 10.0. The tree below
// it is made once by `make images`.
func NewDebian(t testing.TB, suite string) *Machine {
	t.Helper()
	RequireRoot(t)
	tree, err := imagePath(suite)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(tree); err != nil {
		skip(t, "needs the tree of Debian "+suite+" at "+tree+": make it with `sudo make images`")
	}
	return newMachine(t, tree)
}

// imagePath is where images.sh puts a suite's tree.
func imagePath(suite string) (string, error) {
	if cache := os.Getenv("LATCHKEY_CACHE"); cache != "" {
		return filepath.Join(cache, "images", suite), nil
	}
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "latchkey", "images", suite), err
}
