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
		return []agent.Check{brokenIndex(err)}
	}
	if len(found) > 0 {
		return found
	}
	x, err := index.Open(path, 0, t.top(path))
	if err != nil {
		return []agent.Check{brokenIndex(err)}
	}
	_ = x.Close()
	return nil
}

func brokenIndex(err error) agent.Check {
	return agent.Check{Name: "index", Result: agent.Fail, Detail: err.Error(), Remedy: "build it again: latchkey keys build"}
}

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
	top := t.top(path)
	found, err := untrustedOne(at, others)
	for err == nil && at != top && at != "/" {
		at = filepath.Dir(at)
		var more []agent.Check
		more, err = untrustedOne(at, 0o001)
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
		Remedy: "remove the link, and build the index in its place: latchkey keys build",
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

func untrustedOne(path string, others uint32) (found []agent.Check, err error) {
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
		fail("owner", ownerRemedy(path, folder), "belongs to uid %d, not to root", stat.Uid)
	}
	if stat.Mode&writable != 0 {
		fail("mode", modeRemedy(path, stat.Mode), "can be written to by others than root (mode %04o)", stat.Mode&0o7777)
	}
	if stat.Mode&others != others {
		fail("mode", fmt.Sprintf("chmod o+%s %s", letters(others), path), "cannot be used by %s (mode %04o)", agent.HelperUser, stat.Mode&0o7777)
	}
	return found, nil
}

const elsewhere = "keep it in a folder that is root's, such as " + index.Dir

func ownerRemedy(path string, folder bool) string {
	if folder {
		return elsewhere
	}
	return "chown root:root " + path
}

// modeRemedy does not tell anybody to close /tmp.
func modeRemedy(path string, mode uint32) string {
	if mode&unix.S_ISVTX != 0 {
		return elsewhere
	}
	return "chmod go-w " + path
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
