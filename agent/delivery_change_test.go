package agent

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/metadata"
)

// byAddress is a configuration that has keys asked for in a way that depends on where
// a logon comes from.
const byAddress = testmachine.DefaultSSHDConfig + "Match Address 10.0.0.0/8\n\tAuthorizedKeysCommand /bin/echo\n\tAuthorizedKeysCommandUser nobody\n"

func TestPasswordsCloseAgainOnceWhatBrokeTheCommandIsMended(t *testing.T) {
	t.Parallel()
	r, key := newBoundRig(t, ByCommand)
	seen := bound(t, key)
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
			r, key := newBoundRig(t, before)
			seen := bound(t, key)
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

// TestAListenerThatHangsWhenTheFileIsHandedOverLosesNoKey: the keys are put back in time.
func TestAListenerThatHangsWhenTheFileIsHandedOverLosesNoKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByFile)
	r.withAnotherConfiguration()
	key := testmachine.NewKey(t, "ed25519")
	seen := bound(t, key)
	r.pass(seen, How{})
	r.config.Apply.Delivery = ByCommand
	listener, err := strconv.Atoi(strings.TrimSpace(r.ReadFile("/run/sshd.pid")))
	noError(t, err)
	ended := make(chan error, 1)
	go func() {
		_, err := r.agent().Pass(context.Background(), seen, How{})
		ended <- err
	}()
	poll(t, "the command is recorded", func() bool { return r.state().Applied.Index != "" })
	noError(t, syscall.Kill(listener, syscall.SIGSTOP))
	noError(t, <-ended)
	noError(t, syscall.Kill(listener, syscall.SIGCONT))
	poll(t, "the key logs in", func() bool { return r.logsIn(key) })
}

// withAnotherConfiguration has the running sshd run with another configuration file than
// the one that is proved: without what that includes, and so without the command.
func (r *rig) withAnotherConfiguration() {
	r.SSHDConfig(withoutPasswords)
	r.WriteFile("/etc/ssh/other", strings.ReplaceAll(r.ReadFile(mainFile), "Include", "#Include"), 0o644)
	r.wrapSSHD(`if [ "$1" = -D ]; then set -- -f /etc/ssh/other "$@"; fi`)
	r.StartSSHD()
}

// TestTheKeyStaysInItsFileWhereTheListenerDoesNotAskTheCommand, which only somebody's
// word, or a change, makes worth another try: nobody gets in during that.
func TestTheKeyStaysInItsFileWhereTheListenerDoesNotAskTheCommand(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByFile)
	r.withAnotherConfiguration()
	first, second := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ed25519")
	r.pass(bound(t, first), How{})
	r.wantKey(first, true)
	r.config.Apply.Delivery, r.config.Apply.When = ByCommand, Live
	for _, try := range []struct {
		key   testmachine.Key
		how   How
		takes bool // the key out of the file, to find out
	}{
		{first, How{}, true},
		{first, How{Retry: true}, false},
		{second, How{}, false},
		{second, How{Now: true}, true},
	} {
		outcome := r.pass(bound(t, try.key), try.how)
		wantFault(t, outcome.Applied.Faults, "listener-ignores-command", "from its file alone")
		if took := slices.Contains(outcome.verbs(), RemoveKeys); took != try.takes {
			t.Errorf("%+v took %v, want the key taken out of its file: %v", try.how, outcome.verbs(), try.takes)
		}
		r.wantKey(first, try.key == first)
		r.wantKey(second, try.key == second)
		if again := r.pass(bound(t, try.key), How{}); len(again.Done) > 0 {
			t.Errorf("the next pass took %v, want it idle", again.verbs())
		}
	}
	r.pass(unbound(), How{})
	r.wantKey(second, false)
}

// TestAHandOverThatIsCutOffLeavesAWayIn: where the listener does not ask the command, and
// the key is out of its file.
func TestAHandOverThatIsCutOffLeavesAWayIn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByFile)
	r.withAnotherConfiguration()
	key := testmachine.NewKey(t, "ed25519")
	seen := bound(t, key)
	r.pass(seen, How{})
	r.config.Apply.Delivery = ByCommand

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := r.agent().Pass(ctx, seen, How{})
		ended <- err
	}()
	poll(t, "the command is recorded", func() bool { return r.state().Applied.Index != "" })
	poll(t, "the key is out of its file", func() bool {
		data, err := os.ReadFile(r.Path(keysFile))
		return err != nil || !strings.Contains(string(data), "ssh-ed25519") || len(r.state().Applied.Faults) > 0
	})
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("a pass that is stopped: %v", err)
	}
	r.wantKey(key, true)

	state := r.state() // as a pass that was killed leaves it
	state.Applied.Faults = nil
	noError(t, state.save(r.Root))
	r.remove(keysFile)
	outcome := r.pass(seen, How{})
	wantFault(t, outcome.Applied.Faults, "listener-ignores-command", "from its file alone")
	r.wantKey(key, true)
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

func TestABlockThatNothingExplainsGoesWhereKeysAreDeliveredByCommand(t *testing.T) {
	t.Parallel()
	r, key := newBoundRig(t, ByFile)
	r.config.Apply.Delivery = ByCommand
	r.remove(StateDir + "/" + stateFile)
	r.pass(unbound(), How{})
	r.wantKey(key, false)
	r.wantPassword(true)
}

// TestPasswordsAreOpenedWhereNeitherWayIsLeft: the listener does not ask the command, and
// while the file is handed over it becomes one that sshd does not read.
func TestPasswordsAreOpenedWhereNeitherWayIsLeft(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByFile)
	r.WriteFile("/etc/ssh/other", "Match User "+testUser+"\n\tAuthorizedKeysCommand none\nMatch all\nInclude "+mainFile+"\n", 0o644)
	r.wrapSSHD(`if [ "$1" = -D ]; then set -- -f /etc/ssh/other "$@"; fi`)
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	seen := bound(t, key)
	r.pass(seen, How{})
	r.wantPassword(false)
	r.config.Apply.Delivery = ByCommand
	outcome := r.passWhileHandingOver(seen, func() { r.Run(t, "chmod", "0777", "/home/"+testUser) })
	wantFault(t, outcome.Applied.Faults, "listener-refused", "the running sshd")
	r.wantKey(key, false)
	r.wantPassword(true)
}

// passWhileHandingOver makes a pass that hands a file over, and does something meanwhile.
func (r *rig) passWhileHandingOver(seen metadata.Binding, meanwhile func()) *Outcome {
	r.t.Helper()
	ended := make(chan *Outcome, 1)
	go func() {
		outcome, err := r.agent().Pass(context.Background(), seen, How{})
		if err != nil {
			r.t.Errorf("pass: %v", err)
		}
		ended <- outcome
	}()
	poll(r.t, "the command is recorded", func() bool { return r.state().Applied.Index != "" })
	meanwhile()
	return <-ended
}

func TestWhileTheFileIsHandedOverNothingIsUnfinished(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByFile)
	r.StartSSHD()
	seen := bound(t, testmachine.NewKey(t, "ed25519"))
	r.pass(seen, How{})
	r.config.Apply.Delivery = ByCommand
	r.passWhileHandingOver(seen, func() {
		if state := r.state(); state.Unfinished || !r.exists(keysFile) || len(state.Elsewhere) != 1 {
			t.Errorf("unfinished %v, elsewhere %v; want all done but for the file", state.Unfinished, state.Elsewhere)
		} else if len(state.Proven.at(indexPlace(testUser))) > 0 {
			t.Error("a listener that takes the key for the file alone would count as one that asks the command")
		}
		report, err := r.agent().Report(seen)
		noError(t, err)
		if diff := cmp.Diff([]KeysPlace{{testUser, keysFile}}, report.Elsewhere); diff != "" || len(report.Faults) > 0 {
			t.Errorf("the report has the faults %v, and of the file (-want +got):\n%s", report.Faults, diff)
		}
	})
	if state := r.state(); len(state.Elsewhere) > 0 {
		t.Errorf("in the end there is something elsewhere: %v", state.Elsewhere)
	}
}

// TestWhoeverIsJustLoggingInWhenTheFileIsHandedOverGetsIn: the sshd that they talk to knows
// no command, so it has to find the key in the file. They take three seconds.
func TestWhoeverIsJustLoggingInWhenTheFileIsHandedOverGetsIn(t *testing.T) {
	t.Parallel()
	r, key := newBoundRig(t, ByFile)
	seen := bound(t, key)
	r.config.Apply.Delivery = ByCommand
	connected, recorded, gotIn := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		gotIn <- r.Login(t, testUser, lateSigner{key.Signer, sync.OnceFunc(func() {
			close(connected)
			<-recorded
			<-time.After(3 * time.Second)
		})})
	}()
	<-connected
	r.passWhileHandingOver(seen, func() {
		close(recorded)
		if err := <-gotIn; err != nil {
			t.Errorf("whoever had begun before: %v", err)
		}
	})
	if _, inFile := r.blockHolds(key); inFile > 0 {
		t.Error("the key is still in the file")
	}
	r.wantKey(key, true)
}

// lateSigner is a key that a client thinks about, once, after it has met sshd and before it
// offers it.
type lateSigner struct {
	ssh.Signer
	think func()
}

func (s lateSigner) PublicKey() ssh.PublicKey {
	s.think()
	return s.Signer.PublicKey()
}

// TestAnotherHelperInItsPlaceIsAskedAnew: its owner and mode are what they were, and so are
// the index and sshd's configuration.
func TestAnotherHelperInItsPlaceIsAskedAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByCommand)
	r.StartSSHD()
	seen := bound(t, testmachine.NewKey(t, "ed25519"))
	r.pass(seen, How{})
	r.wantPassword(false)
	r.WriteFile(helperPath, "#!/bin/sh\nexit 1\n", 0o755)
	if outcome := r.pass(seen, How{}); !outcome.Applied.hasFault("keys-command-failed") {
		t.Errorf("faults %+v, want the helper named", outcome.Applied.Faults)
	}
}
