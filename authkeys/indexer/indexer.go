// Package indexer writes the key indexes that package index reads, and looks
// through a whole one.
package indexer

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/latchkey-ssh/latchkey/internal/atomicfile"
)

// mode is that of an index: who runs an AuthorizedKeysCommand has no rights, and public
// keys are no secret.
const mode = 0o644

// User is a user and their lines of authorized_keys, in order.
type User struct {
	Name  string
	Lines []string // without newlines; each one that sshd reads as a key
}

// Write replaces the file name in dir by an index of these users, mode 0644. The file
// is never seen half written. A line that sshd would not read as a key is an error.
func Write(dir *os.Root, name string, users ...User) error {
	sorted := slices.Clone(users)
	slices.SortStableFunc(sorted, func(a, b User) int { return strings.Compare(a.Name, b.Name) })
	write := func(file *os.File) error {
		l := newLayout(file)
		for _, user := range sorted {
			if err := l.addUser(user); err != nil {
				return err
			}
		}
		return l.finish()
	}
	return atomicfile.Stream(dir, name, write, mode)
}

func (l *layout) addUser(user User) error {
	if err := checkName(user.Name); err != nil {
		return err
	}
	for i, line := range user.Lines {
		var b batch
		b.encode(&piece{user: user.Name, file: user.Name, line: i + 1}, []byte(line))
		switch {
		case len(b.skipped) > 0:
			return fmt.Errorf("%s:%d: %w", user.Name, i+1, b.skipped[0].why)
		case len(b.entries) != 1 || strings.Contains(line, "\n"):
			return fmt.Errorf("%s:%d: %w", user.Name, i+1, errNotOne)
		}
		if err := l.add(user.Name, b.records, b.entries); err != nil {
			return err
		}
	}
	return nil
}

var errNotOne = errors.New("not one line with a key")
