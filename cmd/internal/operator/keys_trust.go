package operator

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/authkeys/index"
)

// What others need: to read an index, to run a program.
const (
	forIndex   = 0o004
	forProgram = 0o001
)

// refusals are the reasons for which the helper would not use the index at path, each with
// its remedy: it has to be root's, in folders that are root's, and nobody else may write to
// any of them, but the account that the helper runs as has to get there and read it.
func (t *tool) refusals(path string) []agent.Check {
	found, err := t.untrusted(path, forIndex)
	if err != nil {
		return []agent.Check{t.brokenIndex(path, err)}
	}
	if len(found) > 0 {
		return found
	}
	x, err := index.Open(path, 0, t.top(path))
	if err != nil {
		return []agent.Check{t.brokenIndex(path, err)}
	}
	_ = x.Close()
	return nil
}

func (t *tool) brokenIndex(path string, err error) agent.Check {
	return agent.Check{Name: "index", Result: agent.Fail, Detail: err.Error(), Remedy: t.cureOf(path, forIndex).anew}
}

// A cure is how an index or a program becomes one that can be trusted again. To take the rights
// of others alone would have what they wrote trusted.
type cure struct {
	anew  string // how it is made anew
	stays bool   // it has to be where it is
}

func (t *tool) cureOf(path string, others uint32) cure {
	switch {
	case others == forProgram:
		return cure{"install it again, from the package or by make install", true}
	case path == t.below(index.Bound):
		return cure{"have it written again: latchkey apply", true}
	}
	return cure{"build it again: latchkey keys build", path == t.below(index.Users)}
}

// ofOwner does not tell anybody to take somebody's home.
func (c cure) ofOwner(path string, folder bool) string {
	switch {
	case !folder:
		return "who owns it may have changed it: " + c.anew
	case c.stays:
		return "chown root:root " + path + "; who owned it may have changed what is in it: " + c.anew
	}
	return elsewhere
}

// ofMode does not tell anybody to close /tmp.
func (c cure) ofMode(path string, mode uint32) string {
	switch {
	case mode&unix.S_ISVTX != 0:
		return elsewhere
	case mode&unix.S_IFMT == unix.S_IFDIR:
		return "chmod go-w " + path + "; others may have changed what is in it: " + c.anew
	}
	return "others may have changed it: " + c.anew
}

// ofAccess does not tell anybody to open root's home.
func (c cure) ofAccess(path string, others uint32, folder bool) string {
	if folder && !c.stays {
		return "keep it in a folder that others can get at, such as " + index.Dir
	}
	return fmt.Sprintf("chmod o+%s %s", letters(others), path)
}

const elsewhere = "keep it in a folder that is root's, such as " + index.Dir

// untrusted tells what is wrong with owner and mode of the file at path, once links are
// followed, and of each folder above it. Others need these bits of the file.
func (t *tool) untrusted(path string, others uint32) ([]agent.Check, error) {
	at, err := physical(path)
	if err != nil {
		return nil, err
	}
	if found := t.linked(path, at, others); found != nil {
		return found, nil
	}
	top, c := t.top(path), t.cureOf(path, others)
	found, err := untrustedOne(at, others, c)
	for err == nil && at != top && at != "/" {
		at = filepath.Dir(at)
		var more []agent.Check
		more, err = untrustedOne(at, 0o001, c)
		found = append(found, more...)
	}
	return found, err
}

// linked tells of an index that is a symbolic link: the helper opens none, and where it leads
// need not be fit for one.
func (t *tool) linked(path, at string, others uint32) []agent.Check {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSymlink || others != forIndex {
		return nil
	}
	return []agent.Check{{
		Name: "kind", Result: agent.Fail, Detail: path + " is a symbolic link, to " + at,
		Remedy: "remove the link, and in its place " + t.cureOf(path, others).anew,
	}}
}

// top is where the folders that matter to path begin: at the instance's root, if path is below that.
func (t *tool) top(path string) string {
	root, err := physical(t.instance.Root)
	at, pathErr := physical(path)
	if err != nil || pathErr != nil || !strings.HasPrefix(at, strings.TrimSuffix(root, "/")+"/") {
		return "/"
	}
	return root
}

// physical is a path from / without links.
func physical(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	return filepath.Abs(real)
}

// writable are the bits by which somebody else than the owner may write.
const writable = 0o022

// untrustedOne tells what is wrong with a file or folder; c is the cure of what it is about.
func untrustedOne(path string, others uint32, c cure) (found []agent.Check, err error) {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return nil, &fs.PathError{Op: "look at", Path: path, Err: err}
	}
	fail := func(name, remedy, format string, args ...any) {
		detail := path + " " + fmt.Sprintf(format, args...)
		found = append(found, agent.Check{Name: name, Result: agent.Fail, Detail: detail, Remedy: remedy})
	}
	folder := stat.Mode&unix.S_IFMT == unix.S_IFDIR
	if !folder && stat.Mode&unix.S_IFMT != unix.S_IFREG {
		fail("kind", "put a regular file in its place", "is no regular file")
		return found, nil
	}
	if stat.Uid != 0 {
		fail("owner", c.ofOwner(path, folder), "belongs to uid %d, not to root", stat.Uid)
	}
	if stat.Mode&writable != 0 {
		fail("mode", c.ofMode(path, stat.Mode), "can be written to by others than root (mode %04o)", stat.Mode&0o7777)
	}
	if stat.Mode&others != others {
		fail("mode", c.ofAccess(path, others, folder), "cannot be used by %s (mode %04o)", agent.HelperUser, stat.Mode&0o7777)
	}
	return found, nil
}

// letters are those of chmod(1) for bits of a mode.
func letters(bits uint32) string {
	text := ""
	for _, bit := range []struct {
		value  uint32
		letter string
	}{{4, "r"}, {1, "x"}} {
		if bits&bit.value != 0 {
			text += bit.letter
		}
	}
	return text
}
