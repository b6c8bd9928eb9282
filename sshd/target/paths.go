package target

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/latchkey-ssh/latchkey/sshd"
)

// absoluteRoot is the root wherever the program goes later; "" is "/".
func absoluteRoot(root string) string {
	if root == "" {
		return "/"
	}
	if absolute, err := filepath.Abs(root); err == nil {
		return absolute
	}
	return root
}

// located is a path of the options or of the configuration, absolute below an absolute root. A relative one is in the working
// folder, as in sshd, unless there is a root: then it is below that.
func located(root, path string) string {
	if root == "/" {
		if absolute, err := filepath.Abs(path); err == nil {
			return absolute
		}
	}
	return filepath.Clean("/" + path)
}

// fileKeywords are those whose value sshd takes for a path in the working folder where it is relative.
var fileKeywords = []string{
	"hostkey", "hostcertificate", "pidfile", "modulifile", "banner", "trustedusercakeys", "revokedkeys", "xauthlocation",
}

// locate makes the paths of the directives absolute.
func locate(root string, directives []sshd.Directive) {
	for i, d := range directives {
		if len(d.Args) == 0 || d.Args[0] == "" || strings.EqualFold(d.Args[0], "none") || !slices.Contains(fileKeywords, d.Name()) {
			continue
		}
		directives[i].Args = append([]string{located(root, d.Args[0])}, d.Args[1:]...)
	}
}
