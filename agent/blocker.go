package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/internal/atomicfile"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// errOtherInstance ends the error that names both instances.
var errOtherInstance = errors.New("nothing is changed")

func otherInstance(state State, seen metadata.Binding) error {
	return fmt.Errorf("the endpoint speaks for %s, this instance is %s: %w", seen.InstanceID, state.InstanceID, errOtherInstance)
}

// blocker is why a pass came to nothing, or the instance could not be looked at,
// as a cause with an ID that does not change; nil for no error.
func blocker(err error) *sshd.Cause {
	if err == nil {
		return nil
	}
	id, remedy := blockerID(err)
	return &sshd.Cause{ID: id, Detail: err.Error(), Remedy: remedy}
}

// blockerID names the kind of an error, and what to do about it.
func blockerID(err error) (id, remedy string) {
	var command *sshd.CommandError
	if errors.As(err, &command) && command.Refused() {
		return "sshd-config", `make "sshd -t" pass, then run "latchkey apply"`
	}
	if _, ok := errors.AsType[*atomicfile.KindError](err); ok {
		return "authorized-keys-not-a-file", "move it away and run \"latchkey apply\", which writes a new one"
	}
	if _, ok := errors.AsType[*atomicfile.SizeError](err); ok {
		return "authorized-keys-too-large", "take out the lines that are not needed"
	}
	if _, ok := errors.AsType[*authkeys.BinaryError](err); ok {
		return "authorized-keys-binary", "move it away and run \"latchkey apply\", which writes a new one"
	}
	for _, known := range blockers {
		if errors.Is(err, known.err) {
			return known.id, known.remedy
		}
	}
	return "pass-failed", `mend what it names, then run "latchkey apply"`
}

// blockers are the errors that are known by value.
var blockers = []struct {
	err        error
	id, remedy string
}{
	{errHelperMissing, "keys-command-missing", "install it, it comes with latchkey; or set apply.delivery = \"file\" in latchkey.toml"},
	{errHelperUnsafe, "keys-command-unsafe", "make each folder above it root's, with no write permission for group and others (chmod go-w), and install it again: it may have been changed"},
	{errHelperUser, "keys-command-user", "systemd-sysusers, or: useradd --system --user-group --no-create-home --shell /usr/sbin/nologin " + HelperUser},
	{errChain, "keys-command-chain", "let a global line, or a Match by User and Group alone, name a sound program and its user; or set apply.delivery = \"file\" in latchkey.toml"},
	{errIndexFolder, "key-index-folder", "make each folder above " + StateDir + " root's, writable by nobody else: chown root, chmod go-w; put a folder in the place of a link"},
	{errOtherInstance, "other-instance", "check metadata.endpoint in latchkey.toml; on a copied disk, remove " + StateDir + "/" + stateFile},
	{sshd.ErrMissing, "sshd-missing", "install the OpenSSH server: apt-get install openssh-server"},
	{account.ErrUnknownUser, "user-unknown", "create the account, or name another in login.user of latchkey.toml"},
	{authkeys.ErrNoKeysFile, "authorized-keys-file", "set AuthorizedKeysFile .ssh/authorized_keys in sshd_config"},
	{authkeys.ErrShared, "keys-file-shared", "let AuthorizedKeysFile name a file below the home, or one with %u"},
	{authkeys.ErrNoHome, "home-missing", "create the home for its user: mkhomedir_helper, or usermod --move-home"},
	{authkeys.ErrLeaves, "authorized-keys-link", "put a folder and a file in the place of the link"},
	{fs.ErrPermission, "authorized-keys-no-access", "give them back to their user: chown and chmod u+rwX"},
	{syscall.EROFS, "read-only", "mount the file system writable"},
	{syscall.ENOSPC, "disk-full", "make room on the file system"},
	{syscall.EDQUOT, "disk-full", "raise the user's quota, or make room in the home"},
}
