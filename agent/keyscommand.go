package agent

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/internal/tree"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// The helper, and the account that it runs as. sshd puts its own words in the
// place of the tokens (sshd_config(5), TOKENS).
const (
	helperName   = "latchkey-authorized-keys"
	HelperUser   = "latchkey-keys"
	helperTokens = " %u %U %h %t %k"
)

// helperFolders are where the helper is installed, the package's first.
var helperFolders = []string{"/usr/sbin", "/usr/local/sbin"}

// Reasons for which sshd cannot be given the helper. Nothing is taken over then.
var (
	errHelperMissing = errors.New("the program " + helperName + " is not installed")
	errHelperUnsafe  = errors.New("not every sshd would run it")
	errHelperUser    = errors.New("there is no account " + HelperUser)
	errChain         = errors.New("the AuthorizedKeysCommand that is there cannot be asked after latchkey's")
)

// helper is the path of the helper below the root.
func (a *Agent) helper() (string, error) {
	for _, folder := range helperFolders {
		name := path.Join(folder, helperName)
		if _, err := tree.Stat(a.root, name); err == nil {
			return name, nil
		}
	}
	return "", fmt.Errorf("%w in %s", errHelperMissing, strings.Join(helperFolders, " or "))
}

// keysCommand is what sshd is to ask for the logon user's keys: the helper, and after
// it whatever an administrator has it ask for that user.
func (a *Agent) keysCommand(w *World) (sshd.KeysCommand, error) {
	var none sshd.KeysCommand
	helper, err := a.helper()
	if err != nil {
		return none, err
	}
	if err := a.runnable(helper); err != nil {
		return none, fmt.Errorf("%s: %w: %w", helper, errHelperUnsafe, err)
	}
	if err := checkIndexFolders(a.root); err != nil {
		return none, err
	}
	own := sshd.KeysCommand{For: w.Account.Name, Command: helper + helperTokens, User: HelperUser}
	admin, err := w.Files.AdminKeysCommand(w.Account.Name, w.Account.GroupNames)
	if err != nil {
		return none, fmt.Errorf("%w: %w", errChain, err)
	}
	if admin.User == "" || isHelper(admin.Command, helper) { // without a user, sshd does not run it
		return own, cmp.Or(own.Validate(), a.helperAccount())
	}
	if err := a.chainable(admin); err != nil {
		return none, fmt.Errorf("%w: %s: %w", errChain, admin.Command, err)
	}
	own.Command = admin.After(own.Command + " --")
	own.User = admin.User
	return own, own.Validate()
}

// helperAccount tells whether the helper's account is there.
func (a *Agent) helperAccount() error {
	_, err := account.Lookup(a.root, HelperUser)
	if errors.Is(err, account.ErrUnknownUser) {
		return errHelperUser
	}
	return err
}

// isHelper tells whether an administrator's command is the helper itself, which reads
// all indexes anyway. One with options or a chain of its own is a command like any other.
func isHelper(command, helper string) bool {
	return strings.Join(strings.Fields(command), " ") == helper+helperTokens
}

// chainable tells whether the helper can run an administrator's command as sshd would.
// What sshd would not run is not run by way of the helper either.
func (a *Agent) chainable(admin sshd.KeysCommand) error {
	if err := admin.Validate(); err != nil {
		return err
	}
	if err := a.runnable(strings.Fields(admin.Command)[0]); err != nil {
		return err
	}
	if strings.Contains(admin.User, "%") {
		return nil
	}
	_, err := account.Lookup(a.root, admin.User)
	if errors.Is(err, account.ErrUnknownUser) {
		return fmt.Errorf("AuthorizedKeysCommandUser %s: %w", admin.User, err)
	}
	return err
}

// runnable tells whether sshd would run a program (sshd_config(5),
// AuthorizedKeysCommand): it and every folder above it are root's, and nobody else may
// write to them.
func (a *Agent) runnable(program string) error {
	name := filepath.Join(a.root, program)
	if err := index.Trusted(name, 0, a.root); err != nil {
		return err
	}
	info, err := os.Stat(name)
	if err == nil && info.Mode()&0o111 == 0 {
		err = fmt.Errorf("%s cannot be executed", name)
	}
	return err
}
