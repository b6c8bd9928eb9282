package sshd

import (
	"errors"
	"fmt"
	"strings"
)

// sshd reads a line with two tokenizers: one for the keyword (and the criteria of Match), which knows
// '=' and whole double-quoted words, and one for arguments, which knows both quotes and backslashes.
// They differ in odd corners; following both keeps this reader's answers those of sshd.

const configSpace = " \t\r\n"

// splitKeyword returns the keyword of a line and what follows it; "" for blank lines and comments.
func splitKeyword(line string) (keyword, rest string, err error) {
	line = strings.TrimLeft(line, " \t\r")
	line = strings.TrimRight(line, configSpace+"\f")
	keyword, rest, ok := nextWord(line)
	if keyword == "" {
		keyword, rest, ok = nextWord(rest)
	}
	if keyword == "" || keyword[0] == '#' {
		return "", "", nil
	}
	if !ok || rest == "" {
		return "", "", fmt.Errorf("no argument after %s", keyword)
	}
	return keyword, rest, nil
}

// nextWord cuts the first word off s, with the space and at most one '=' behind it. A word that
// contains a double quote ends at the closing one. It is not ok when nothing is left behind the word.
func nextWord(s string) (word, rest string, ok bool) {
	i := strings.IndexAny(s, configSpace+`"=`)
	if i < 0 {
		return s, "", false
	}
	if s[i] == '"' {
		return quotedWord(s[:i], s[i+1:])
	}
	word, rest = s[:i], strings.TrimLeft(s[i+1:], configSpace)
	if s[i] != '=' && strings.HasPrefix(rest, "=") {
		rest = strings.TrimLeft(rest[1:], configSpace)
	}
	return word, rest, true
}

func quotedWord(before, s string) (word, rest string, ok bool) {
	inside, rest, found := strings.Cut(s, `"`)
	if !found {
		return "", "", false
	}
	return before + inside, strings.TrimLeft(rest, configSpace), true
}

// argsOf are the arguments of a keyword. Those that name a command take the rest of the line as it is, quotes and
// all; the quotes must still be closed.
func argsOf(keyword, rest string) ([]string, error) {
	args, err := splitArgs(rest)
	switch keyword {
	case "forcecommand", "authorizedkeyscommand", "authorizedprincipalscommand":
		args = []string{rest}
	}
	return args, err
}

// splitArgs splits the arguments of a keyword. A word that starts with '#' ends the line.
func splitArgs(s string) ([]string, error) {
	var args []string
	for {
		s = strings.TrimLeft(s, " \t")
		if s == "" || s[0] == '#' {
			return args, nil
		}
		arg, rest, err := cutArg(s)
		if err != nil {
			return nil, err
		}
		args, s = append(args, arg), rest
	}
}

// cutArg reads one argument, taking quotes and backslashes away.
func cutArg(s string) (arg, rest string, err error) {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s) && escapable(s[i+1], quote):
			i++
			b.WriteByte(s[i])
		case quote == 0 && (c == ' ' || c == '\t'):
			return b.String(), s[i:], nil
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			quote = 0
		default:
			b.WriteByte(c)
		}
	}
	if quote != 0 {
		return "", "", errors.New("quote without its end")
	}
	return b.String(), "", nil
}

func escapable(c, quote byte) bool {
	return c == '\'' || c == '"' || c == '\\' || quote == 0 && c == ' '
}
