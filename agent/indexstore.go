package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
)

// indexStore is the index of bound keys. Nobody but root may write to it, and it
// holds nothing but what is put there here.
type indexStore struct {
	root string
	user string
	// others are users of an earlier time whose lines stay until this user's are proved.
	others []string
	users  []indexer.User // the user and the others, as found; nil where there is no sound index
	whole  bool           // the index is sound, and holds no lines but these
	fault  error          // why it is not sound
}

// lookAtIndex reads the index of bound keys. One that the helper would refuse is
// as none: it is written anew.
func lookAtIndex(root, user string, others []string) *indexStore {
	s := &indexStore{root: root, user: user, others: others}
	s.users, s.fault = s.read()
	if s.fault != nil || s.users == nil {
		return s
	}
	summary, err := indexer.Check(context.Background(), s.path())
	s.fault = cmp.Or(err, openToAll(root, index.Bound))
	lines := 0
	for _, u := range s.users {
		lines += len(u.Lines)
	}
	s.whole = err == nil && summary.Lines == lines
	return s
}

// openToAll tells what keeps the helper, which has no rights of its own, from reading
// an index.
func openToAll(root, file string) error {
	for _, needed := range []struct {
		name string
		mode fs.FileMode
	}{{StateDir, 0o001}, {index.Dir, 0o001}, {file, 0o004}} {
		info, err := os.Stat(filepath.Join(root, needed.name))
		if err != nil {
			return err
		}
		if info.Mode()&needed.mode == 0 {
			return fmt.Errorf("%s has mode %04o, so %s cannot read the index", needed.name, info.Mode().Perm(), HelperUser)
		}
	}
	return nil
}

func (s *indexStore) path() string { return filepath.Join(s.root, index.Bound) }

// read returns the lines of the user and of the others; nil where there is no
// index.
func (s *indexStore) read() ([]indexer.User, error) {
	x, err := index.Open(s.path(), 0, s.root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer x.Close()
	users := []indexer.User{}
	for _, name := range append([]string{s.user}, s.others...) {
		var lines []string
		err := x.All(name, func(line []byte) error {
			lines = append(lines, string(line))
			return nil
		})
		if err != nil {
			return nil, err
		}
		if len(lines) > 0 {
			users = append(users, indexer.User{Name: name, Lines: lines})
		}
	}
	return users, nil
}

// keeping is the store when, of the places that are to be given up, the users in the
// index keep their lines until they are.
func (s *indexStore) keeping(retire []KeysPlace) *indexStore {
	var others []string
	for _, place := range retire {
		if place.isIndex() {
			others = append(others, place.User)
		}
	}
	if len(others) == 0 {
		return s
	}
	return lookAtIndex(s.root, s.user, others)
}

func (s *indexStore) place() KeysPlace { return indexPlace(s.user) }

// indexPlace is the index as the place of a user's keys.
func indexPlace(user string) KeysPlace { return KeysPlace{user, index.Bound} }

// isIndex tells whether the place is the index.
func (p KeysPlace) isIndex() bool { return p.KeysFile == index.Bound }

// lines are those of the user as found, comments and all.
func (s *indexStore) lines() []string {
	for _, u := range s.users {
		if u.Name == s.user {
			return u.Lines
		}
	}
	return nil
}

func (s *indexStore) managed() []string {
	block, err := authkeys.Parse(nil).WithManaged(s.lines())
	if err != nil {
		return nil // not lines of latchkey's
	}
	return authkeys.Parse(block).ManagedLines()
}

func (s *indexStore) settled(lines []string) (bool, error) {
	if s.fault != nil {
		return false, nil
	}
	if s.users == nil {
		return len(lines) == 0, nil
	}
	return s.whole && len(s.users) > 0 && slices.Equal(s.lines(), lines), nil
}

func (s *indexStore) diff(lines []string) FileDiff {
	text := func(lines []string) []byte {
		var out []byte
		for _, line := range lines {
			out = fmt.Appendf(out, "%s: %s\n", s.user, line)
		}
		return out
	}
	return FileDiff{index.Bound, text(s.lines()), text(lines)}
}

// with are the users that the index is to hold.
func (s *indexStore) with(lines []string) []indexer.User {
	var users []indexer.User
	if len(lines) > 0 {
		users = append(users, indexer.User{Name: s.user, Lines: lines})
	}
	for _, u := range s.users {
		if u.Name != s.user && slices.Contains(s.others, u.Name) {
			users = append(users, u)
		}
	}
	return users
}

func (s *indexStore) set(_ context.Context, lines []string) (bool, error) {
	now := lookAtIndex(s.root, s.user, s.others)
	if settled, _ := now.settled(lines); settled {
		return false, nil
	}
	if len(now.with(lines)) == 0 {
		return true, removeIndex(s.root)
	}
	dir, err := openIndexDir(s.root)
	if err != nil {
		return false, fmt.Errorf("publish the bound key: %w", err)
	}
	defer dir.Close()
	now = lookAtIndex(s.root, s.user, s.others)
	if settled, _ := now.settled(lines); settled {
		return true, nil // a folder was all that had to be set right
	}
	if err := indexer.Write(dir, path.Base(index.Bound), now.with(lines)...); err != nil {
		return false, fmt.Errorf("publish the bound key: %w", err)
	}
	now = lookAtIndex(s.root, s.user, s.others)
	if settled, _ := now.settled(lines); !settled {
		return true, fmt.Errorf("publish the bound key: it cannot be read as it was written: %w", cmp.Or(now.fault, errIndexChanged))
	}
	return true, nil
}

// usersInIndex are all who have lines in the index; none where it cannot be read.
func usersInIndex(ctx context.Context, root string) []string {
	var users []string
	err := indexer.Users(ctx, filepath.Join(root, index.Bound), func(name string) error {
		users = append(users, name)
		return nil
	})
	if err != nil {
		return nil
	}
	return users
}

var errIndexChanged = errors.New("somebody else has changed it")

func (s *indexStore) look(context.Context) (keysStore, error) {
	return lookAtIndex(s.root, s.user, s.others), nil
}

func (s *indexStore) around() any { return index.Bound }
