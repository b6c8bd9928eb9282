package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/metadata"
)

// withoutPasswords is a configuration in which the key is the only way in.
const withoutPasswords = "PasswordAuthentication no\n" + testmachine.DefaultSSHDConfig

// byGroupOfADirectory puts the logon user into a group that only a directory knows, and
// is a configuration that has keys asked for by it.
func (r *rig) byGroupOfADirectory() string {
	r.WriteFile("/etc/nsswitch.conf", "passwd: files\ngroup: files systemd\nshadow: files\n", 0o644)
	for _, name := range []string{"directory", "54321"} { // nss-systemd(8)
		r.WriteFile("/etc/userdb/"+name+".group", `{"groupName": "directory", "gid": 54321, "disposition": "regular"}`, 0o644)
	}
	r.WriteFile("/etc/userdb/"+testUser+":directory.membership", "{}", 0o644)
	return testmachine.DefaultSSHDConfig + "Match Group directory\n\tAuthorizedKeysCommand /bin/echo\n\tAuthorizedKeysCommandUser nobody\n"
}

func (r *rig) spoilHelper() {
	r.Run(r.t, "cp", "-p", helperPath, helperPath+".good")
	r.WriteFile(helperPath, "#!/bin/sh\nexit 1\n", 0o755)
}

func (r *rig) mendHelper() { r.Run(r.t, "mv", helperPath+".good", helperPath) }

func (r *rig) toAnotherUser() {
	r.AddUser("other-user", testPassword)
	r.Run(r.t, "usermod", "-s", "/bin/false", "other-user")
	r.config.Login.User = "other-user"
}

// TestAFailedProofDoesNotTakeTheCommandAway: what sshd asks for keys now may be the only
// way in, so nothing takes its place that is not proved.
func TestAFailedProofDoesNotTakeTheCommandAway(t *testing.T) {
	t.Parallel()
	const command = "AuthorizedKeysCommand /bin/echo\nAuthorizedKeysCommandUser nobody\n"
	nothing := func(*rig) {}
	tests := map[string]struct {
		config      string
		spoil, mend func(r *rig)
	}{
		"to a file that sshd does not take": {withoutPasswords, func(r *rig) {
			r.config.Apply.Delivery = ByFile
			r.Run(r.t, "chmod", "0777", "/home/"+testUser)
		}, nothing},
		"to a user who cannot log in":              {withoutPasswords, (*rig).toAnotherUser, nothing},
		"to such a user, beside another's command": {command + withoutPasswords, (*rig).toAnotherUser, nothing},
		"another's command that is found after a restart": {withoutPasswords, func(r *rig) {
			r.SSHDConfig("PasswordAuthentication no\n" + r.byGroupOfADirectory())
			r.reboot()
		}, nothing},
		"the same, and sshd cannot be asked, and passwords are left alone": {withoutPasswords, func(r *rig) {
			r.config.Apply.Password = LeavePassword
			r.pass(*r.state().InForce, How{})
			r.SSHDConfig("PasswordAuthentication no\n" + r.byGroupOfADirectory())
			r.wrapSSHD(`case " $* " in *" -i "*) exit 1;; esac`)
			r.reboot()
		}, func(r *rig) { r.wrapSSHD("") }},
		"the helper fails for a moment after a restart": {withoutPasswords, func(r *rig) {
			r.spoilHelper()
			r.reboot()
		}, (*rig).mendHelper},
		"another index is bad for a moment, and passwords are left alone": {withoutPasswords, func(r *rig) {
			r.config.Apply.Password = LeavePassword
			r.pass(*r.state().InForce, How{})
			r.WriteFile(index.Users, "x", 0o644)
		}, func(r *rig) { r.remove(index.Users) }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.deliverBy(ByCommand)
			r.SSHDConfig(test.config)
			r.StartSSHD()
			key := testmachine.NewKey(t, "ed25519")
			r.pass(bound(t, key), How{})
			test.spoil(r)
			if outcome := r.pass(bound(t, key), How{}); len(outcome.Applied.Faults) == 0 {
				t.Error("the proof does not fail")
			}
			if again := r.pass(bound(t, key), How{}); len(again.Done) > 0 {
				t.Errorf("the next pass took %v, want it idle", again.verbs())
			}
			test.mend(r)
			r.wantKey(key, true)
			r.pass(unbound(), How{Now: true})
			r.wantKey(key, false)
			if r.exists(dropIn) || r.exists(index.Bound) {
				t.Error("once nothing is bound, something is left")
			}
		})
	}
}

// TestACommandThatIsNotProvedComesInThePlaceOfNoOther: nothing is known against a helper
// that says nothing.
func TestACommandThatIsNotProvedComesInThePlaceOfNoOther(t *testing.T) {
	t.Parallel()
	const silent = "#!/bin/sh\nexit 0\n"
	t.Run("latchkey's own", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.deliverBy(ByCommand)
		r.Run(t, "mv", helperPath, "/usr/local/sbin/")
		r.SSHDConfig(withoutPasswords)
		r.StartSSHD()
		key := testmachine.NewKey(t, "ed25519")
		r.pass(bound(t, key), How{})
		r.WriteFile(helperPath, silent, 0o755)
		if outcome := r.pass(bound(t, key), How{}); !outcome.Applied.hasFault("key-refused") {
			t.Errorf("faults %+v", outcome.Applied.Faults)
		}
		r.wantKey(key, true)
	})
	t.Run("an administrator's", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.deliverBy(ByCommand)
		admins := testmachine.NewKey(t, "ed25519")
		r.adminScript("/usr/local/bin/keys", admins)
		r.SSHDConfig("AuthorizedKeysCommand /usr/local/bin/keys\nAuthorizedKeysCommandUser nobody\n" + withoutPasswords)
		r.StartSSHD()
		r.WriteFile(helperPath, silent, 0o755)
		r.pass(bound(t, testmachine.NewKey(t, "ed25519")), How{})
		r.wantKey(admins, true)
	})
}

// TestACommandThatLetsNobodyInIsNotInTheWayOfAnothers: sshd would ask the broken one alone.
func TestACommandThatLetsNobodyInIsNotInTheWayOfAnothers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByCommand)
	key, admins := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ed25519")
	r.adminScript("/usr/local/bin/keys", admins)
	r.SSHDConfig("AuthorizedKeysCommand /usr/local/bin/keys\nAuthorizedKeysCommandUser nobody\n" + withoutPasswords)
	r.StartSSHD()
	r.pass(bound(t, key), How{})
	r.spoilHelper()
	r.reboot()
	r.wantKey(admins, false)
	r.pass(bound(t, key), How{})
	r.wantKey(admins, true)
	r.mendHelper()
	r.pass(bound(t, key), How{})
	r.wantKey(admins, true)
	r.wantKey(key, true)
}

// TestAnotherKeyIsTakenByTheCommandThatIsInPlace: what an administrator has sshd ask
// besides may keep a command from being taken over, but not a revoked key in.
func TestAnotherKeyIsTakenByTheCommandThatIsInPlace(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]func(r *rig) string{
		"another's is set by address": func(*rig) string { return byAddress },
		"another's program is gone": func(*rig) string {
			return "AuthorizedKeysCommand /usr/local/bin/gone\nAuthorizedKeysCommandUser nobody\n" + testmachine.DefaultSSHDConfig
		},
		"another's is for a group of a directory": (*rig).byGroupOfADirectory,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.deliverBy(ByCommand)
			r.config.Apply.When = Live
			r.StartSSHD()
			first, refused, second := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ecdsa-256"), testmachine.NewKey(t, "ed25519")
			r.pass(bound(t, first), How{})
			r.SSHDConfig("PubkeyAcceptedAlgorithms ssh-ed25519\n" + config(r))
			policy := r.ReadFile(dropIn)

			outcome := r.pass(bound(t, refused), How{})
			if !outcome.Applied.hasFault("older-key-stays") {
				t.Errorf("faults %+v, want the older key named", outcome.Applied.Faults)
			}
			r.wantKey(first, true)
			r.reboot()
			for _, key := range []testmachine.Key{second, first} { // and back
				outcome = r.pass(bound(t, key), How{})
				wantFault(t, outcome.Applied.Faults, "keys-command-chain", "")
				if retried, _ := r.agent().Pass(context.Background(), bound(t, key), How{Retry: true}); retried.Applied != nil && retried.Applied.hasFault("passwords-stay-off") {
					t.Errorf("faults %+v though the key logs in", retried.Applied.Faults)
				}
				r.wantKey(first, key == first)
				r.wantKey(second, key == second)
			}
			r.wantPassword(false)
			if diff := cmp.Diff(policy, r.ReadFile(dropIn)); diff != "" {
				t.Errorf("the policy (-before +after):\n%s", diff)
			}
			again, err := r.agent().Pass(context.Background(), bound(t, first), How{})
			if len(again.Done) > 0 || (err != nil && !errors.Is(err, errChain)) {
				t.Errorf("the next pass took %v, %v", again.verbs(), err)
			}
			r.pass(unbound(), How{})
			r.wantKey(first, false)
			r.wantPassword(true)
		})
	}
}

// TestDoctorAsksAboutTheCommandThatSSHDHas: of one that cannot be taken over, or is not
// yet, only that is wrong.
func TestDoctorAsksAboutTheCommandThatSSHDHas(t *testing.T) {
	t.Parallel()
	t.Run("another's is set by address since", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.deliverBy(ByCommand)
		r.StartSSHD()
		seen := bound(t, testmachine.NewKey(t, "ed25519"))
		r.pass(seen, How{})
		r.SSHDConfig(byAddress)
		r.wantFindings(seen, "keys-command-chain")
	})
	t.Run("before the first pass", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.deliverBy(ByCommand)
		r.SSHDConfig("AuthorizedKeysCommand /bin/echo %u\nAuthorizedKeysCommandUser nobody\n" + testmachine.DefaultSSHDConfig)
		r.StartSSHD()
		r.wantFindings(bound(t, testmachine.NewKey(t, "ed25519")), "key-index", "keys-command", "key-refused", "password")
	})
}

// wantFindings checks what fails by the doctor, the agent aside.
func (r *rig) wantFindings(seen metadata.Binding, want ...string) {
	r.t.Helper()
	names, checks := r.doctor(seen)
	var got []string
	for _, name := range names {
		if id, failed := strings.CutPrefix(name, "fail "); failed && id != "agent" {
			got = append(got, id)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Errorf("findings (-want +got):\n%s%+v", diff, checks)
	}
}
