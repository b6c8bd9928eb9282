package target

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/authkeys"
)

// check tells what of the options could let in nobody, or anybody, or could not work, and so cannot be meant.
func (o *options) check() error {
	if len(o.mistakes) > 0 {
		return o.mistakes[0]
	}
	if slices.Contains(o.hostKeys, nil) {
		return errors.New("WithHostKey: a key is nil")
	}
	if slices.Contains(o.cas, nil) {
		return errors.New("WithUserCA: a key is nil")
	}
	for name, user := range o.users {
		if err := checkName(name); err != nil {
			return fmt.Errorf("WithUser: %w", err)
		}
		if err := user.check(); err != nil {
			return fmt.Errorf("user %s: %w", name, err)
		}
	}
	for _, ca := range o.cas {
		if _, certified := ca.(*ssh.Certificate); certified {
			return errors.New("WithUserCA: a certificate is no authority")
		}
	}
	return nil
}

func (u User) check() error {
	if len(u.Prompts) > 0 && !asksSomething(u.Prompts) {
		return errors.New("prompts without a question")
	}
	if err := checkKeys(u.AuthorizedKeys); err != nil {
		return fmt.Errorf("no line of AuthorizedKeys is a key: %w", err)
	}
	if u.Methods == "" {
		return nil
	}
	return checkMethods(strings.Fields(u.Methods))
}

// checkName refuses what could be no account's name in passwd(5).
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("a user without a name")
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) || strings.Contains(name, ":"):
		return fmt.Errorf("%q cannot be a user's name", name)
	}
	return nil
}

// checkKeys refuses the text of an authorized_keys file in which there are lines, none of which is a key. The error is that of the first.
func checkKeys(text string) error {
	file := authkeys.Parse([]byte(text))
	first := slices.IndexFunc(file.Lines, func(line authkeys.Line) bool { return line.Kind == authkeys.Bad })
	if first < 0 || len(file.Keys()) > 0 {
		return nil
	}
	return fmt.Errorf("line %d: %w", first+1, file.Lines[first].Err)
}

// knownMethods are those that sshd has under this name.
var knownMethods = []string{publicKey, password, keyboardInteractive, "hostbased", "gssapi-with-mic", "none"}

// checkMethods reads the arguments of AuthenticationMethods: lists of methods, or the one word any.
func checkMethods(lists []string) error {
	if slices.Contains(lists, "any") && len(lists) > 1 {
		return errors.New("authenticationmethods: any stands alone")
	}
	if slices.Equal(lists, []string{"any"}) {
		return nil
	}
	for _, list := range lists {
		for name := range strings.SplitSeq(list, ",") {
			method, _, _ := strings.Cut(name, ":")
			if !slices.Contains(knownMethods, method) {
				return fmt.Errorf("authenticationmethods %s: unknown method %q", list, method)
			}
		}
	}
	return nil
}
