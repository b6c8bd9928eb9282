package sshd

import (
	"errors"
	"fmt"
	"strings"
)

// KeysCommand is an AuthorizedKeysCommand and who runs it, for one user. The
// zero value is none.
type KeysCommand struct {
	For     string // the logon user: it stands in a Match block for that user alone
	Command string // the words as in sshd_config(5), with tokens and quotes
	User    string // AuthorizedKeysCommandUser
}

// Validate tells whether k can be written so that every sshd reads exactly
// that: whether Match User can name the user and no other, whether the command
// is one that sshd takes, and all of it stays on its line. The zero value is
// fine. A Policy whose Keys it refuses is taken as one without.
func (k KeysCommand) Validate() error {
	if k == (KeysCommand{}) {
		return nil
	}
	if _, err := userPattern(k.For); err != nil {
		return fmt.Errorf("user %q: %w", k.For, err)
	}
	if err := checkCommand(k.Command); err != nil {
		return fmt.Errorf("AuthorizedKeysCommand %q: %w", k.Command, err)
	}
	if _, err := exactWord(k.User); err != nil {
		return fmt.Errorf("AuthorizedKeysCommandUser %q: %w", k.User, err)
	}
	return nil
}

// block is the Match block that has sshd ask the command for one user's keys,
// and do what else the lines say.
func (k KeysCommand) block(more string) string {
	if k == (KeysCommand{}) || k.Validate() != nil {
		return ""
	}
	pattern, _ := userPattern(k.For)
	user, _ := exactWord(k.User)
	return "Match User " + pattern + "\n" + more +
		"\tAuthorizedKeysCommand " + k.Command + "\n\tAuthorizedKeysCommandUser " + user + "\n"
}

// After is k's command as it has to follow another command's words, whose
// program runs it: sshd expands tokens in every word but the first, which it
// is no more, and a program without arguments gets the user's name
// (sshd_config(5), AuthorizedKeysCommand and TOKENS).
func (k KeysCommand) After(words string) string {
	_, arguments, _ := cutArg(k.Command)
	program := strings.TrimSuffix(k.Command, arguments)
	if strings.Trim(arguments, " \t") == "" {
		arguments = " %u"
	}
	return words + " " + strings.ReplaceAll(program, "%", "%%") + arguments
}

// Errors of words that not every sshd reads the same.
var (
	errNoWord       = errors.New("is empty")
	errPattern      = errors.New("has one of * ? ! , in it, which Match User cannot name exactly")
	errComment      = errors.New("has a # in it, where older releases of sshd begin a comment")
	errPatternLong  = errors.New("is too long for a pattern")
	errQuoting      = errors.New("has quotes or backslashes that releases of sshd read differently")
	errControl      = errors.New("has control characters in it")
	errNotAbsolute  = errors.New("its path is not absolute")
	errOuterBlanks  = errors.New("has blanks around it")
	errCommandQuote = errors.New("its quotes are not closed")
)

// userPattern is the pattern of Match User that name alone matches (PATTERNS in
// ssh_config(5), which know no way to quote a wildcard).
func userPattern(name string) (string, error) {
	switch {
	case strings.ContainsAny(name, "*?!,"):
		return "", errPattern
	case len(name) >= maxPattern:
		return "", errPatternLong
	}
	return exactWord(name)
}

// exactWord is text as one word, in double quotes where it needs them. A
// backslash is plain to the tokenizers of sshd, but for those that
// take it for an escape before a quote or another backslash.
func exactWord(text string) (string, error) {
	switch {
	case text == "":
		return "", errNoWord
	case hasControl(text):
		return "", errControl
	case strings.Contains(text, "#"): // 8.4: in quotes as well
		return "", errComment
	case strings.Contains(text, `"`), strings.Contains(text, `\\`), strings.Contains(text, `\'`), strings.HasSuffix(text, `\`):
		return "", errQuoting
	case strings.ContainsAny(text, " '="):
		return `"` + text + `"`, nil
	}
	return text, nil
}

// checkCommand tells what sshd would refuse of a command, or read as more.
func checkCommand(command string) error {
	switch {
	case !strings.HasPrefix(command, "/"): // one in quotes as well
		return errNotAbsolute
	case hasControl(strings.ReplaceAll(command, "\t", " ")):
		return errControl
	case strings.TrimRight(command, " \t") != command:
		return errOuterBlanks
	}
	if _, err := splitArgs(command); err != nil {
		return errCommandQuote
	}
	return nil
}

func hasControl(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f })
}
