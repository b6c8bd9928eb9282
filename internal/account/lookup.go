package account

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Errors of [Lookup] that a caller may decide by.
var (
	// ErrUnknownUser: passwd(5) has no such name.
	ErrUnknownUser = errors.New("no such user")
	// ErrInvalidName: the name cannot be that of a local account.
	ErrInvalidName = errors.New("not a valid user name")
)

// Account is a local account.
type Account struct {
	Name string
	UID  int
	GID  int
	// Groups are the ids of all its groups, the primary one first, each once.
	Groups []int
	// GroupNames are the names of Groups, without those that have none.
	GroupNames []string
	Home       string
	// Shell is never empty: passwd(5) reads an empty field as /bin/sh.
	Shell string
	// Shadow is nil when shadow(5) could not be read or does not know the account.
	Shadow *Shadow
}

// ValidName reports whether a local account may have that name: what shadow-utils
// allows in any of the distributions, and nothing that a shell or an option
// parser could misread. Names that begin with a digit are refused: tools take
// them for a number.
func ValidName(name string) bool {
	if name == "" || len(name) > maxName || strings.IndexByte("0123456789.-", name[0]) >= 0 {
		return false
	}
	name = strings.TrimSuffix(name, "$") // Samba's machine accounts
	return name != "" && onlyASCII(name, "_.-")
}

// maxName is the longest that utmp(5) has room for.
const maxName = 32

// onlyASCII reports whether text has no other bytes than ASCII letters, digits
// and those in more.
func onlyASCII(text, more string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool {
		letter := r|0x20 >= 'a' && r|0x20 <= 'z'
		return !letter && (r < '0' || r > '9') && !strings.ContainsRune(more, r)
	})
}

// Lookup finds the account of that name in the files below root. The error is
// an [ErrUnknownUser] or an [ErrInvalidName] or tells what could not be read; a
// shadow file that only root may read, or that is missing, is not an error.
func Lookup(root, name string) (Account, error) {
	if !ValidName(name) {
		return Account{}, fmt.Errorf("user %.64q: %w", name, ErrInvalidName)
	}
	passwd, err := readLines(root, "/etc/passwd")
	if err != nil {
		return Account{}, err
	}
	account, hash, found := findPasswd(passwd, name)
	if !found {
		return Account{}, fmt.Errorf("user %s: %w in %s", name, ErrUnknownUser, below(root, "/etc/passwd"))
	}
	groups, err := readLines(root, "/etc/group")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Account{}, err
	}
	account.Groups, account.GroupNames = groupsOf(groups, account)
	account.Shadow, err = lookupShadow(root, name, hash)
	return account, err
}

// lookupShadow goes to shadow(5) where passwd(5) says so. A field that says
// otherwise is the password field itself, as pam_unix has it.
func lookupShadow(root, name, passwdField string) (*Shadow, error) {
	if passwdField != "x" {
		return newShadow(passwdField), nil
	}
	lines, err := readLines(root, "/etc/shadow")
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return findShadow(lines, name), nil
}

// groupsOf lists the groups as initgroups(3) does, and their names as sshd
// matches them: the first line with that id.
func groupsOf(lines []string, account Account) (ids []int, names []string) {
	ids = []int{account.GID}
	nameOf := make(map[int]string)
	for _, line := range lines {
		group, ok := parseGroup(line)
		if !ok {
			continue
		}
		if _, named := nameOf[group.id]; !named {
			nameOf[group.id] = group.name
		}
		if slices.Contains(group.members, account.Name) && !slices.Contains(ids, group.id) {
			ids = append(ids, group.id)
		}
	}
	for _, id := range ids {
		if name, named := nameOf[id]; named {
			names = append(names, name)
		}
	}
	return ids, names
}
