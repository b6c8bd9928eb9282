package sshd

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// TestACommandThatOnlySshdKnowsOfIsNotCutOff: the groups that we see are those of
// /etc/group, sshd sees those of a directory server too.
func TestACommandThatOnlySshdKnowsOfIsNotCutOff(t *testing.T) {
	t.Parallel()
	grouped := "Match Group sudo\n" + admins("\t")
	for _, suite := range []string{"", "bullseye", "trixie"} {
		t.Run("release "+suite, func(t *testing.T) {
			t.Parallel()
			key := testmachine.NewKey(t, "ed25519")
			m := newAsked(t, suite, key)
			m.Run(t, "usermod", "-aG", "sudo", testUser)
			for name, test := range map[string]struct {
				config string
				groups []string
				policy Policy
				want   string // in the cause; "": there is none
			}{
				"set for a group we do not see": {grouped, nil, Policy{Keys: asking}, `sshd asks "/usr/bin/admins-own  %u \"a b\"" as "daemon" for`},
				"set for a group we see":        {grouped, []string{"sudo"}, Policy{Keys: asking}, ""},
				"not set for such a group":      {admins("") + "Match Group sudo\n\tAuthorizedKeysCommand None\n", nil, Policy{Keys: asking}, "sshd asks no command for"},
				"another user for such a group": {admins("") + "Match Group sudo\n\tAuthorizedKeysCommandUser bin\n", nil, Policy{Keys: asking}, `as "bin"`},
				"with a comment":                {"AuthorizedKeysCommand /bin/echo %u # all\nAuthorizedKeysCommandUser \"daemon\"\n", nil, Policy{Keys: asking}, ""},
				"without a user":                {"Match User " + testUser + "\n\tAuthorizedKeysCommand /bin/echo\n", nil, Policy{Keys: asking}, ""},
				"no command of ours":            {grouped, nil, Policy{}, ""},
			} {
				m.SSHDConfig(testmachine.DefaultSSHDConfig + test.config)
				candidate, err := m.sshd.Prepare(m.files(), test.policy)
				if err != nil {
					t.Fatal(err)
				}
				proof := m.sshd.Prove(context.Background(), candidate, Subject{
					User: testUser, UID: 1000, Groups: test.groups, Command: test.policy.Keys, Keys: []PublicKey{*asked(key)},
				})
				at := slices.IndexFunc(proof.Causes, func(c Cause) bool { return c.ID == "keys-command-chain" })
				if (at >= 0) != (test.want != "") || at >= 0 && !strings.Contains(proof.Causes[at].Detail, test.want) {
					t.Errorf("%s: %+v, want a cause that says %q", name, proof.Causes, test.want)
				}
				if want := test.policy.Keys != (KeysCommand{}) && test.want == ""; proof.KeyWorks() != want {
					t.Errorf("%s: the key works: %v, want %v: %+v", name, proof.KeyWorks(), want, proof.Causes)
				}
			}
		})
	}
}
