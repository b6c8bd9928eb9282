package sshd

import (
	"fmt"
	"slices"
	"strings"
)

const (
	commandKeyword     = "authorizedkeyscommand"
	commandUserKeyword = "authorizedkeyscommanduser"
)

// PerConnectionError is a Match block that sets AuthorizedKeysCommand, or its
// user, for some logons of a user and perhaps not for others.
type PerConnectionError struct {
	Position string // "file:line" of the line that sets it
	Match    string // the Match line, in one spelling
}

func (e *PerConnectionError) Error() string {
	return fmt.Sprintf("%s sets it only for logons that match %q", e.Position, e.Match)
}

// AdminKeysCommand is what foreign lines set for logons of user, a member of
// groups: the command as written, and its user; zero when there is none, or
// it is "none". The user is "" where no line sets one: sshd does not run the
// command then. It is a [*PerConnectionError] when that depends on more than
// who logs in.
func (f *Files) AdminKeysCommand(user string, groups []string) (KeysCommand, error) {
	conn := Connection{User: user, Groups: groups}
	command, err := f.foreignValue(commandKeyword, conn)
	if err != nil || command == "" || strings.EqualFold(command, "none") {
		return KeysCommand{}, err
	}
	as, err := f.foreignValue(commandUserKeyword, conn)
	if err != nil {
		return KeysCommand{}, err
	}
	return KeysCommand{For: user, Command: command, User: as}, nil
}

// foreignValue is what foreign lines set keyword to for logons of conn's user,
// wherever they come from: the first that is in a Match block which matches,
// else the first global one; "" for none.
func (f *Files) foreignValue(keyword string, conn Connection) (string, error) {
	var global string
	for _, d := range f.foreign(f.text.Directives) {
		if d.Name() != keyword || len(d.Args) == 0 {
			continue
		}
		block := f.foreignBlock(d.Match)
		switch block.matchesUser(conn) {
		case Accepted:
			if block != nil {
				return d.Args[0], nil
			}
			if global == "" {
				global = d.Args[0]
			}
		case Unknown:
			return "", &PerConnectionError{d.Position(), block.String()}
		case Refused:
		}
	}
	return global, nil
}

// foreignBlock is the block that a foreign line would stand in without our
// lines: ours end at the first Match of the main file, so that what somebody
// has written behind them was global.
func (f *Files) foreignBlock(block *MatchBlock) *MatchBlock {
	if block != nil && f.isOwn(Directive{File: block.File, Line: block.Line}) {
		return nil
	}
	return block
}

// matchesUser tells whether a block is in force for every logon of conn's user,
// for none, or for those that the other criteria choose: Unknown. conn may lack
// groups that only sshd sees the user in. A block by such a group alone is taken for
// one that is not in force, since sshd can be asked about it; with other criteria it
// would have to be asked from everywhere.
func (m *MatchBlock) matchesUser(conn Connection) Verdict {
	verdict, unseen := Accepted, false
	for block := m; block != nil; block = block.Within {
		for _, c := range block.Criteria {
			if !slices.Contains([]string{"all", "user", "group", "invalid-user"}, c.Name) {
				verdict = Unknown
				continue
			}
			switch ok, err := c.matches(conn); {
			case err == nil && ok:
			case c.Name == "group" && mayMatchMore(conn.Groups, c.Pattern):
				unseen = true
			default:
				return Refused
			}
		}
	}
	if unseen && verdict == Accepted {
		return Refused
	}
	return verdict
}

// mayMatchMore tells whether a list of patterns that does not match groups may match
// them and others.
func mayMatchMore(groups []string, list string) bool {
	denied := slices.ContainsFunc(groups, func(group string) bool { return askList(group, list) == listDenied })
	return !denied && slices.ContainsFunc(strings.Split(list, ","), func(pattern string) bool { return !strings.HasPrefix(pattern, "!") })
}

// ForeignKeysCommands are the lines that set AuthorizedKeysCommand and are not ours.
func (f *Files) ForeignKeysCommands() []Directive {
	var lines []Directive
	for _, d := range f.foreign(f.text.Directives) {
		if d.Name() == commandKeyword && len(d.Args) > 0 {
			lines = append(lines, d)
		}
	}
	return lines
}
