package agent

import (
	"context"
	"os"
	"testing"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// The attacks of this file were tried on an earlier build, and worked.

func TestPasswordsAreOpenedAtTheNextBootWhenTheKeysFileCannotBeReached(t *testing.T) {
	t.Parallel()
	const keysFile = "/home/" + testUser + "/.ssh/authorized_keys"
	for name, spoil := range map[string]func(*rig){
		"a folder in its place": func(r *rig) { r.Run(t, "rm", keysFile); r.Run(t, "mkdir", keysFile) },
		"the account is gone":   func(r *rig) { r.Run(t, "userdel", testUser) },
		"no keys file at all": func(r *rig) {
			r.WriteFile("/etc/ssh/sshd_config.d/10-site.conf", "AuthorizedKeysFile none\n", 0o644)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.AddUser("bob", testPassword)
			r.StartSSHD()
			key := testmachine.NewKey(t, "ed25519")
			r.pass(bound(t, key), How{})
			r.wantPassword(false)
			spoil(r)
			if _, err := r.agent().Pass(context.Background(), unknown(), How{}); err == nil {
				t.Error("a pass without a keys file went well")
			}
			if err := r.LoginPassword(t, "bob", testPassword); err == nil {
				t.Error("passwords were opened within the boot that proved the key")
			}
			r.reboot()
			if _, err := r.agent().Pass(context.Background(), unknown(), How{}); err == nil {
				t.Error("a pass without a keys file went well")
			}
			if err := r.LoginPassword(t, "bob", testPassword); err != nil {
				t.Errorf("nobody can log in after the restart: %v", err)
			}
		})
	}
}

func TestALogonUserCannotOpenPasswordsByBreakingHisOwnFiles(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	r.pass(bound(t, key), How{})
	r.Run(t, "chmod", "777", "/home/"+testUser+"/.ssh")
	r.Run(t, "chmod", "644", "/home/"+testUser+"/.ssh/authorized_keys")
	outcome := r.pass(unknown(), How{})
	if len(outcome.Applied.Faults) == 0 {
		t.Error("no fault is reported though the key does not log in")
	}
	r.wantPassword(false)
}

func TestAFileOfAllUsersIsNeverTouched(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.SSHDConfig("AuthorizedKeysFile /etc/ssh/all_keys\n" + testmachine.DefaultSSHDConfig)
	r.WriteFile("/etc/ssh/all_keys", "# everybody's\n", 0o644)
	before, err := os.Stat(r.Path("/etc/ssh/all_keys"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.agent().Pass(context.Background(), bound(t, testmachine.NewKey(t, "ed25519")), How{}); err == nil {
		t.Error("a key was bound in a file of all users")
	}
	after, err := os.Stat(r.Path("/etc/ssh/all_keys"))
	if err != nil || !os.SameFile(before, after) || after.Mode() != before.Mode() || r.ReadFile("/etc/ssh/all_keys") != "# everybody's\n" {
		t.Errorf("the file is another: %v (%v)", after, err)
	}
}

func TestAKeysFileOfRootStaysRoots(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.SSHDConfig("AuthorizedKeysFile /etc/ssh/authorized_keys/%u\n" + testmachine.DefaultSSHDConfig)
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	r.pass(bound(t, key), How{})
	r.wantKey(key, true)
	r.wantPassword(false)
	if owner := r.Run(t, "stat", "-c", "%U %a", "/etc/ssh/authorized_keys/"+testUser); owner != "root 644\n" {
		t.Errorf("owner and mode %q, want root's, readable", owner)
	}
}

func TestAMemoryThatNoEndpointCouldHaveGivenIsForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	key := testmachine.NewKey(t, "ed25519")
	r.pass(bound(t, key), How{})
	r.WriteFile(StateDir+"/"+stateFile, `{"version":1,"instance_id":"`+testInstance+`","in_force":{"state":"bound"}}`, 0o600)
	if _, err := r.agent().Doctor(context.Background(), unknown()); err != nil {
		t.Errorf("doctor: %v", err)
	}
	if outcome := r.pass(unknown(), How{}); len(outcome.Done) > 0 {
		t.Errorf("took %v, want nothing done", outcome.verbs())
	}
}
