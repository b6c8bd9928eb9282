package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// usersIndexCheck names the index in checks, and what is wrong with it in causes.
const usersIndexCheck = "users-index"

// usersIndex is the index that an administrator has built. The helper reads it as well,
// and prints no key at all where it has to refuse it. It is never changed here. Whether
// it is sound is all that matters: one that is built anew takes no proof.
type usersIndex struct {
	Fault string // why the helper refuses it; "" where it does not
}

// lookAtUsersIndex is nil where there is no such index.
func lookAtUsersIndex(root string) *usersIndex {
	name := filepath.Join(root, index.Users)
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	found := &usersIndex{}
	x, err := index.Open(name, 0, root)
	if err == nil {
		x.Close()
		err = openToAll(root, index.Users)
	}
	if err != nil {
		found.Fault = err.Error()
	}
	return found
}

// cause is what speaks against every key that the helper is asked for; nil for nothing.
func (u *usersIndex) cause() *sshd.Cause {
	if u == nil || u.Fault == "" {
		return nil
	}
	return &sshd.Cause{
		ID:     usersIndexCheck,
		Detail: "latchkey-authorized-keys refuses every key: " + u.Fault,
		Remedy: "see \"latchkey keys check\" and build it again: latchkey keys build; or remove " + index.Users,
	}
}

// usersIndex checks the administrator's index, where there is one.
func (d *doctor) usersIndex() {
	found := lookAtUsersIndex(d.agent.root)
	switch c := found.cause(); {
	case c != nil:
		d.cause(*c)
	case found != nil:
		d.pass(usersIndexCheck, "%s is there as well, and sound", index.Users)
	}
}
