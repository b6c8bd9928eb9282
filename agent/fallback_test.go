package agent

import (
	"context"
	"slices"
	"testing"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/sshd"
)

func (a *Applied) hasFault(id string) bool {
	return slices.ContainsFunc(a.Faults, func(c sshd.Cause) bool { return c.ID == id })
}

// TestTheOlderKeyStaysUntilTheNewOneIsProved: however often the pass is made
// again, and whatever keeps the new key from being proved.
func TestTheOlderKeyStaysUntilTheNewOneIsProved(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ stage, mend func(r *rig) }{
		"the new one is refused": {
			func(r *rig) { r.reconfigure("PubkeyAcceptedAlgorithms ssh-ed25519\n") },
			func(r *rig) { r.reconfigure("") },
		},
		"sshd dies when it is asked": {
			func(r *rig) { r.wrapSSHD(`case "$*" in *-i*) kill -9 $$;; esac`) },
			func(r *rig) { r.wrapSSHD("") },
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.wrapSSHD("")
			r.StartSSHD()
			first, second := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ecdsa-256")
			r.pass(bound(t, first), How{})
			test.stage(r)
			for _, how := range []How{{Now: true}, {Now: true}, {Retry: true}, {}} {
				outcome := r.pass(bound(t, second), how)
				if !outcome.Applied.PasswordClosed || !outcome.Applied.hasFault("older-key-stays") {
					t.Errorf("%+v: applied %+v, want passwords closed and the older key named", how, outcome.Applied)
				}
				r.wantKey(first, true)
			}
			r.wantPassword(false)
			test.mend(r)
			r.pass(bound(t, second), How{Now: true})
			r.wantKey(first, false)
			r.wantKey(second, true)
			r.wantPassword(false)
		})
	}
}

func TestWhereThePasswordIsLeftAnOlderKeyStaysToo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.config.Apply.Password = LeavePassword
	r.SSHDConfig("PasswordAuthentication no\nPubkeyAcceptedAlgorithms ssh-ed25519\n" + testmachine.DefaultSSHDConfig)
	r.StartSSHD()
	first, second := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ecdsa-256")
	r.pass(bound(t, first), How{})
	for range 2 {
		r.pass(bound(t, second), How{Now: true})
		r.wantKey(first, true)
	}
	r.pass(unbound(), How{Now: true})
	r.wantKey(first, false)
}

// TestWhatACopyOfTheDiskHadProvedCountsForNothing: a copy of the disk starts
// anew, with passwords closed by a proof that was another machine's.
func TestWhatACopyOfTheDiskHadProvedCountsForNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.WriteFile("/sys/class/dmi/id/product_uuid", "one\n", 0o400)
	r.wrapSSHD("")
	r.StartSSHD()
	first, second := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ed25519")
	r.pass(bound(t, first), How{})
	r.WriteFile("/sys/class/dmi/id/product_uuid", "two\n", 0o400)
	r.wrapSSHD(`case "$*" in *-i*) kill -9 $$;; esac`)
	outcome := r.pass(bound(t, second), How{})
	if outcome.Applied.PasswordClosed || !r.offersPassword() {
		t.Errorf("applied %+v, want passwords open", outcome.Applied)
	}
}

// TestSSHDLoadsWhatItsFilesSayAlsoWhenTheProofFails: the files are open, by
// whomever, and the running sshd is not.
func TestSSHDLoadsWhatItsFilesSayAlsoWhenTheProofFails(t *testing.T) {
	t.Parallel()
	tests := map[string]func(r *rig){
		"a pass was cut off after it had opened the files": func(r *rig) {
			r.remove(dropIn)
			state := r.state()
			state.Unfinished, state.Proven = true, nil
			if err := state.save(r.Root); err != nil {
				t.Fatal(err)
			}
		},
		"somebody deleted the drop-in": func(r *rig) { r.remove(dropIn) },
	}
	for name, stage := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.StartSSHD()
			key := testmachine.NewKey(t, "ed25519")
			r.pass(bound(t, key), How{})
			stage(r)
			r.SSHDConfig("AllowUsers nobody\n" + testmachine.DefaultSSHDConfig)
			if r.offersPassword() {
				t.Fatal("sshd has read its files again by itself")
			}
			outcome := r.pass(bound(t, key), How{})
			if outcome.Applied.PasswordClosed || !r.offersPassword() {
				t.Errorf("applied %+v, sshd offers a password: %v; want it open", outcome.Applied, r.offersPassword())
			}
		})
	}
}

func TestToLeaveThePasswordTakesNoProof(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	r.pass(bound(t, key), How{})
	r.config.Apply.Password = LeavePassword
	r.SSHDConfig("AllowUsers nobody\n" + testmachine.DefaultSSHDConfig)
	r.pass(bound(t, key), How{})
	if r.exists(dropIn) || !r.offersPassword() {
		t.Error("passwords are still closed")
	}
}

func TestTheKeyLeavesThePlaceWhereItDoesNotBelongAnyMore(t *testing.T) {
	t.Parallel()
	const other, otherFile = "other-user", "/home/other-user/.ssh/authorized_keys"
	tests := map[string]struct {
		move func(r *rig)
		user string
	}{
		"another logon user": {func(r *rig) { r.config.Login.User = other }, other},
		"another keys file":  {func(r *rig) { r.SSHDConfig("AuthorizedKeysFile .ssh/elsewhere\n" + testmachine.DefaultSSHDConfig) }, testUser},
		"the former user is gone": {func(r *rig) {
			r.Run(r.t, "userdel", "--remove", testUser)
			r.config.Login.User = other
		}, other},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.AddUser(other, testPassword)
			r.AuthorizedKeys(testUser, "# mine")
			r.StartSSHD()
			key := testmachine.NewKey(t, "ed25519")
			r.pass(bound(t, key), How{})
			test.move(r)
			r.hangUp()
			outcome := r.pass(bound(t, key), How{})
			if !outcome.Applied.PasswordClosed || len(outcome.Applied.Faults) > 0 {
				t.Errorf("applied %+v, want passwords closed", outcome.Applied)
			}
			if err := r.Login(t, test.user, key.Signer); err != nil {
				t.Errorf("the key does not log in as %s: %v", test.user, err)
			}
			if r.exists(keysFile) && r.ReadFile(keysFile) != "# mine\n" {
				t.Errorf("the old file still has more than its own lines:\n%s", r.ReadFile(keysFile))
			}
			if again := r.pass(bound(t, key), How{}); len(again.Done) > 0 {
				t.Errorf("the next pass took %v, want nothing left to do", again.verbs())
			}
			r.pass(unbound(), How{Now: true})
			if r.exists(otherFile) && r.ReadFile(otherFile) != "" {
				t.Error("after unbinding the new file still has the block")
			}
		})
	}
}

func TestAKeyThatCannotBeTakenAwayIsRememberedAndReported(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.AddUser("other-user", testPassword)
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	r.pass(bound(t, key), How{})
	r.asUser("mv .ssh/authorized_keys .ssh/kept; mkfifo .ssh/authorized_keys")
	r.config.Login.User = "other-user"
	for range 2 {
		if outcome := r.pass(bound(t, key), How{}); !outcome.Applied.hasFault("keys-left-behind") || !outcome.Applied.PasswordClosed {
			t.Errorf("applied %+v, want passwords closed and the place named", outcome.Applied)
		}
	}
	r.asUser("mv .ssh/kept .ssh/authorized_keys")
	if outcome := r.pass(bound(t, key), How{Retry: true}); len(outcome.Applied.Faults) > 0 {
		t.Errorf("faults %+v, want none", outcome.Applied.Faults)
	}
	if _, n := r.blockHolds(key); n != 0 {
		t.Errorf("%d keys are still in the old file", n)
	}
}

func TestAListenerThatCannotBeAskedIsAFaultAndClosesNothing(t *testing.T) {
	t.Parallel()
	spoil := func(r *rig) {
		r.SSHDConfig("PidFile /run/latchkey-test\n" + testmachine.DefaultSSHDConfig)
		r.Mkdir("/run/latchkey-test", 0o755) // no file that a pid can be read from
	}
	t.Run("passwords on", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.StartSSHD()
		spoil(r)
		outcome, err := r.agent().Pass(context.Background(), bound(t, testmachine.NewKey(t, "ed25519")), How{})
		if err == nil && outcome.Applied.PasswordClosed || !r.offersPassword() {
			t.Errorf("pass: %v, applied %+v; want passwords on", err, outcome.Applied)
		}
	})
	t.Run("passwords off before", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.StartSSHD()
		key := testmachine.NewKey(t, "ed25519")
		r.pass(bound(t, key), How{})
		spoil(r)
		if outcome := r.pass(bound(t, key), How{}); !outcome.Applied.hasFault("listener-unknown") {
			t.Errorf("applied %+v, want the fault listener-unknown", outcome.Applied)
		}
		r.wantKey(key, true)
	})
}

// TestPasswordsOpenedForTheListenerAreNotClosedByARetry: it runs with an option that no
// file of its configuration tells of, so that each proof says that the key logs in.
func TestPasswordsOpenedForTheListenerAreNotClosedByARetry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.wrapSSHD(`if [ "$1" = -D ] && [ -e /tmp/refuse ]; then set -- -o PubkeyAuthentication=no "$@"; fi`)
	r.StartSSHD()
	seen := bound(t, testmachine.NewKey(t, "ed25519"))
	r.pass(seen, How{})
	r.StopSSHD()
	r.WriteFile("/tmp/refuse", "", 0o644)
	r.SSHDConfig("# something else\n" + testmachine.DefaultSSHDConfig)
	r.StartSSHD()
	for _, how := range []How{{Now: true}, {Retry: true}, {Retry: true}} {
		outcome := r.pass(seen, how)
		wantFault(t, outcome.Applied.Faults, "listener-refused", "the running sshd")
		r.wantPassword(true)
	}
}
