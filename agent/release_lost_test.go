package agent

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// TestReleaseKeepsTheKeyOfAUserWhomOnlyTheEndpointNamedThoughTheStateIsDamaged: what is
// in sshd's files, or else in the index, still tells whose key it is.
func TestReleaseKeepsTheKeyOfAUserWhomOnlyTheEndpointNamedThoughTheStateIsDamaged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByCommand)
	r.config.Login.User = "root"
	r.AuthorizedKeys(testUser, "# mine")
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	seen := bound(t, key)
	seen.User = testUser
	for name, c := range map[string]struct {
		by     Delivery
		config string
		spoil  func()
		remove bool
	}{
		"our lines name the user":  {by: ByCommand},
		"by both":                  {by: ByBoth},
		"the key is to go":         {by: ByBoth, remove: true},
		"the index alone names it": {by: ByCommand, config: helperForAll, spoil: func() { r.remove(dropIn); r.hangUp() }},
	} {
		r.config.Apply.Delivery = c.by
		r.SSHDConfig(noPasswords + c.config)
		r.hangUp()
		files := r.sshdFiles()
		r.pass(seen, How{Now: true})
		r.WriteFile(StateDir+"/"+stateFile, "{", 0o600)
		if c.spoil != nil {
			c.spoil()
		}
		released, err := r.agent().Release(context.Background(), ReleaseHow{RemoveKeys: c.remove})
		if err != nil || len(released.Files) != 1 || r.logsIn(key) == c.remove {
			t.Errorf("%s: released %+v, %v; the key logs in: %v", name, released, err, r.logsIn(key))
		}
		if diff := cmp.Diff(files, r.sshdFiles()); diff != "" || r.exists(index.Bound) {
			t.Errorf("%s: sshd's files (-before +after):\n%s", name, diff)
		}
		r.WriteFile(keysFile, "# mine\n", 0o600)
	}
}

// helperForAll are lines of an administrator's that have sshd ask the helper for all.
const helperForAll = "AuthorizedKeysCommand " + helperPath + " %u %U %h %t %k\nAuthorizedKeysCommandUser " + HelperUser + "\n"

// TestReleaseKeepsTheUserWhomSSHDStillAsksTheCommandFor though another is the logon user
// by now, who was never proved.
func TestReleaseKeepsTheUserWhomSSHDStillAsksTheCommandFor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByCommand)
	r.AddUser("bob", testPassword)
	r.SSHDConfig(noPasswords)
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	r.pass(bound(t, key), How{})
	r.Run(t, "usermod", "--shell", "/bin/false", "bob")
	r.config.Login.User = "bob"
	r.pass(bound(t, key), How{Now: true})
	r.wantKey(key, true)
	r.release(false)
	r.wantKey(key, true)
	r.wantNothingLeft()
}

// TestReleaseKeepsACommandThatSomebodyHasRewrittenUntilTheFileIsProved: sshd still takes
// the key by it, or did until then.
func TestReleaseKeepsACommandThatSomebodyHasRewrittenUntilTheFileIsProved(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByCommand)
	r.SSHDConfig(noPasswords)
	r.StartSSHD()
	files, key := r.sshdFiles(), testmachine.NewKey(t, "ed25519")
	const match, command = "Match User " + testUser, "\tAuthorizedKeysCommand "
	for _, c := range []struct {
		from, to string
		forgets  bool
	}{
		{match, match + ",bob", false},
		{match, "Match Group " + testUser, false},
		{match, "Match Group " + testUser, true},
		{match + "\n", "", false},
		{command, "\t#AuthorizedKeysCommand ", false},
	} {
		r.pass(bound(t, key), How{Now: true})
		written := strings.Replace(r.ReadFile(dropIn), c.from, c.to, 1)
		r.WriteFile(dropIn, written, 0o644)
		if !strings.Contains(c.to, "#") { // which sshd refuses to load
			r.hangUp()
		}
		if c.forgets {
			r.remove(StateDir + "/" + stateFile)
		}
		r.wantKey(key, true)
		r.Run(t, "chmod", "0777", "/home/"+testUser)
		_, err := r.agent().Release(context.Background(), ReleaseHow{})
		r.wantNotKept(key, err, "chmod")
		if !r.logsIn(key) {
			t.Errorf("%q made %q: the key is out", c.from, c.to)
		}
		r.Run(t, "chmod", "0755", "/home/"+testUser)
		r.release(false)
		r.wantKey(key, true)
		if diff := cmp.Diff(files, r.sshdFiles()); diff != "" || r.exists(index.Bound) {
			t.Errorf("%q made %q: sshd's files (-before +after):\n%s", c.from, c.to, diff)
		}
	}
}
