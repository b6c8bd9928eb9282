package rooted

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pkg/sftp"
)

// TestALinkIsNotMovedToWhereItLeadsOut: its text is relative to where it is.
func TestALinkIsNotMovedToWhereItLeadsOut(t *testing.T) {
	for name, move := range map[string]func(c *sftp.Client, from, to string) error{
		"rename":       (*sftp.Client).Rename,
		"posix-rename": (*sftp.Client).PosixRename,
		"hard link":    (*sftp.Client).Link,
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, map[string]string{"a/b/": "", "c/d/": "", "f": ""}, Options{})
			if err := errors.Join(s.Symlink("../../f", "/a/b/l"), s.Symlink("../../f", "/a/b/m")); err != nil {
				t.Fatal(err)
			}
			for _, to := range []string{"/out", "/a/out"} {
				if diff := cmp.Diff("permission denied", code(move(s.Client, "/a/b/l", to))); diff != "" {
					t.Errorf("%s: %s", to, diff)
				}
			}
			if err := errors.Join(move(s.Client, "/a/b/l", "/a/b/k"), move(s.Client, "/a/b/m", "/c/d/m")); err != nil {
				t.Error(err)
			}
			for _, link := range []string{"a/b/k", "c/d/m"} {
				if text, err := os.Readlink(filepath.Join(s.dir, link)); text != "../../f" || err != nil {
					t.Errorf("%s: %q, %v", link, text, err)
				}
			}
		})
	}
}
