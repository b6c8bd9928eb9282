package target

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// check tells what of the options could let in nobody, or anybody, and so cannot be meant.
func (o *options) check() error {
	for name, user := range o.users {
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
	if u.Methods == "" {
		return nil
	}
	return checkMethods(strings.Fields(u.Methods))
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
