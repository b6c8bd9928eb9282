package agent

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// byAddress is a configuration that has keys asked for in a way that depends on where
// a logon comes from.
const byAddress = testmachine.DefaultSSHDConfig + "Match Address 10.0.0.0/8\n\tAuthorizedKeysCommand /bin/echo\n\tAuthorizedKeysCommandUser nobody\n"

func TestPasswordsCloseAgainOnceWhatBrokeTheCommandIsMended(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByCommand)
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	seen := bound(t, key)
	r.pass(seen, How{})
	r.Run(t, "chmod", "0777", helperPath)
	if _, err := r.agent().Pass(context.Background(), seen, How{Now: true}); !errors.Is(err, errHelperUnsafe) {
		t.Fatalf("pass: %v, want %v", err, errHelperUnsafe)
	}
	r.wantPassword(true)
	r.Run(t, "chmod", "0755", helperPath)
	if p, err := r.agent().Plan(context.Background(), seen); err != nil || p.Empty() {
		t.Errorf("plan %+v, %v; want passwords off again", p, err)
	}
	r.pass(seen, How{})
	r.wantKey(key, true)
	r.wantPassword(false)
}

func TestADeliveryThatCannotBeHadChangesNothingWhereTheKeyLogsIn(t *testing.T) {
	t.Parallel()
	for _, before := range []Delivery{ByFile, ByCommand} {
		t.Run("by "+string(before)+" before", func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.deliverBy(before)
			r.StartSSHD()
			key := testmachine.NewKey(t, "ed25519")
			seen := bound(t, key)
			r.pass(seen, How{})
			r.config.Apply.Delivery = ByCommand
			r.SSHDConfig(byAddress)
			files := r.sshdFiles()
			for _, how := range []How{{}, {Now: true}} {
				if _, err := r.agent().Pass(context.Background(), seen, how); !errors.Is(err, errChain) {
					t.Errorf("pass: %v, want %v", err, errChain)
				}
			}
			if p, err := r.agent().Plan(context.Background(), seen); !errors.Is(err, errChain) {
				t.Errorf("plan %+v, %v, want %v", p, err, errChain)
			}
			if diff := cmp.Diff(files, r.sshdFiles()); diff != "" {
				t.Errorf("sshd's files (-before +after):\n%s", diff)
			}
			r.wantKey(key, true)
			r.wantPassword(false)
			r.config.Apply.Delivery = ByFile
			r.pass(seen, How{Now: true})
			r.wantKey(key, true)
			r.wantPassword(false)
		})
	}
}

// TestAPlanThatOnlyOpensPasswordsSaysWhy: in a new boot, nothing proves the key.
func TestAPlanThatOnlyOpensPasswordsSaysWhy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByCommand)
	seen := bound(t, testmachine.NewKey(t, "ed25519"))
	r.pass(seen, How{})
	r.reboot()
	r.Run(t, "chmod", "0777", helperPath)
	p, err := r.agent().Plan(context.Background(), seen)
	if err != nil || !p.has(OpenPassword) || p.Blocked == nil || p.Blocked.ID != "keys-command-unsafe" {
		t.Errorf("plan %+v, %v; want passwords opened, and why", p, err)
	}
}

// TestTheKeyStaysInItsFileWhereTheListenerDoesNotAskTheCommand: it runs with another
// configuration file than the one that was proved.
func TestTheKeyStaysInItsFileWhereTheListenerDoesNotAskTheCommand(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByFile)
	r.SSHDConfig("PasswordAuthentication no\n" + testmachine.DefaultSSHDConfig)
	r.WriteFile("/etc/ssh/other", strings.ReplaceAll(r.ReadFile(mainFile), "Include", "#Include"), 0o644)
	r.wrapSSHD(`if [ "$1" = -D ]; then set -- -f /etc/ssh/other "$@"; fi`)
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	seen := bound(t, key)
	r.pass(seen, How{})
	r.wantKey(key, true)
	r.config.Apply.Delivery = ByCommand
	for _, how := range []How{{}, {Now: true}} {
		outcome := r.pass(seen, how)
		wantFault(t, outcome.Applied.Faults, "listener-refused", "the running sshd")
		r.wantKey(key, true)
	}
}

func TestAnIndexThatNothingExplainsGoesWhereKeysAreDeliveredByFile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByCommand)
	r.SSHDConfig("AuthorizedKeysCommand " + helperPath + helperTokens + "\nAuthorizedKeysCommandUser " + HelperUser + "\n" + testmachine.DefaultSSHDConfig)
	r.StartSSHD()
	first, second := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ed25519")
	r.pass(bound(t, first), How{})
	old := r.ReadFile(index.Bound)
	r.config.Apply.Delivery = ByFile
	r.remove(StateDir + "/" + stateFile)
	r.pass(bound(t, second), How{Now: true})
	r.wantKey(first, false)
	r.wantKey(second, true)
	r.WriteFile(index.Bound, old, 0o644)
	r.pass(bound(t, second), How{})
	r.wantKey(first, false)
	r.pass(unbound(), How{Now: true})
	r.WriteFile(index.Bound, old, 0o644)
	r.pass(unbound(), How{})
	r.wantKey(first, false)
}

func TestWhileTheFileIsHandedOverNothingIsUnfinished(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByFile)
	r.StartSSHD()
	seen := bound(t, testmachine.NewKey(t, "ed25519"))
	r.pass(seen, How{})
	r.config.Apply.Delivery = ByCommand
	ended := make(chan error, 1)
	go func() {
		_, err := r.agent().Pass(context.Background(), seen, How{})
		ended <- err
	}()
	poll(t, "the command is recorded", func() bool { return r.state().Applied.Index != "" })
	if state := r.state(); state.Unfinished || !r.exists(keysFile) || len(state.Elsewhere) != 1 {
		t.Errorf("unfinished %v, elsewhere %v; want all done but for the file", state.Unfinished, state.Elsewhere)
	}
	report, err := r.agent().Report(seen)
	noError(t, err)
	if diff := cmp.Diff([]KeysPlace{{testUser, keysFile}}, report.Elsewhere); diff != "" || len(report.Faults) > 0 {
		t.Errorf("the report has the faults %v, and of the file (-want +got):\n%s", report.Faults, diff)
	}
	noError(t, <-ended)
	if state := r.state(); len(state.Elsewhere) > 0 {
		t.Errorf("in the end there is something elsewhere: %v", state.Elsewhere)
	}
}
