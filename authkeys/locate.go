package authkeys

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// An Account is the user whose keys are edited, as in the instance's passwd(5)
// and group(5).
type Account struct {
	Root     string // where the instance's file tree is; "/" normally
	User     string
	Home     string // absolute, below Root
	UID, GID int
	Groups   []int // supplementary groups
}

// A Location is where sshd looks for an account's keys.
type Location struct {
	Account
	Path string // absolute and clean, below Root
}

// ErrNoKeysFile means that sshd reads no keys from files: its AuthorizedKeysFile
// is "none".
var ErrNoKeysFile = errors.New("AuthorizedKeysFile is none: sshd reads keys from no file")

// ErrShared means that sshd reads the keys of all users from one file, which is
// not one user's to be given a key in.
var ErrShared = errors.New("AuthorizedKeysFile names one file for all users: let it name one below the home, or one with %u")

// Locate returns where to write the account's keys: the first of the effective
// AuthorizedKeysFile values that is below the home, or else the first that names
// a file of the user's own by a token. A value
// is a path with the tokens %%, %h, %u and %U, below the home if relative
// (sshd_config(5) AuthorizedKeysFile, TOKENS).
func Locate(patterns []string, account Account) (Location, error) {
	var first *Location
	shared := false
	for _, pattern := range patterns {
		if strings.EqualFold(pattern, "none") {
			continue
		}
		expanded, err := expandTokens(pattern, account)
		if err != nil {
			return Location{}, fmt.Errorf("AuthorizedKeysFile %s: %w", pattern, err)
		}
		if !path.IsAbs(expanded) {
			expanded = path.Join(account.Home, expanded)
		}
		location := Location{Account: account, Path: path.Clean(expanded)}
		if location.belowHome() {
			return location, nil
		}
		own := !path.IsAbs(pattern) || strings.Contains(strings.ReplaceAll(pattern, "%%", ""), "%")
		shared = shared || !own
		if first == nil && own {
			first = &location
		}
	}
	switch {
	case first != nil:
		return *first, nil
	case shared:
		return Location{}, ErrShared
	}
	return Location{}, ErrNoKeysFile
}

func expandTokens(pattern string, account Account) (string, error) {
	var out strings.Builder
	for {
		text, after, found := strings.Cut(pattern, "%")
		out.WriteString(text)
		if !found {
			return out.String(), nil
		}
		if after == "" {
			return "", errors.New("a lone % ends it: write %%")
		}
		switch token := after[0]; token {
		case '%':
			out.WriteByte('%')
		case 'h':
			out.WriteString(account.Home)
		case 'u':
			out.WriteString(account.User)
		case 'U':
			out.WriteString(strconv.Itoa(account.UID))
		default:
			return "", fmt.Errorf("unknown token %%%c", token)
		}
		pattern = after[1:]
	}
}

func (l Location) belowHome() bool {
	rel, ok := below(l.Home, l.Path)
	return ok && rel != "."
}

// below returns name as a path relative to base, if it is there. Both are
// absolute.
func below(base, name string) (string, bool) {
	base, name = path.Clean(base), path.Clean(name)
	if base == name {
		return ".", true
	}
	return strings.CutPrefix(name, strings.TrimSuffix(base, "/")+"/")
}
