package sshd

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// prove asks the three questions about a policy that is not in force.
func (m *machine) prove(p Policy, keys ...testmachine.Key) *Proof {
	m.t.Helper()
	candidate, err := m.sshd.Prepare(m.files(), p)
	if err != nil {
		m.t.Fatal(err)
	}
	subject := Subject{User: testUser, UID: 1000, Home: "/home/" + testUser, KeysFile: "/home/" + testUser + "/.ssh/authorized_keys"}
	for _, key := range keys {
		subject.Keys = append(subject.Keys, *asked(key))
	}
	return m.sshd.Prove(context.Background(), candidate, subject)
}

// verdicts are what a proof comes down to.
type verdicts struct{ Key, Logon, Password Verdict }

func (p *Proof) verdicts() verdicts { return verdicts{p.Key, p.Logon, p.Password} }

func TestAProofIsOfTheConfigurationAsItWouldBe(t *testing.T) {
	t.Parallel()
	for _, suite := range []string{"", "bullseye", "trixie"} {
		t.Run("release "+suite, func(t *testing.T) {
			t.Parallel()
			m := newMachineOf(t, suite)
			key := m.allow("ed25519")
			m.StartSSHD()
			open, closed := m.prove(Policy{}, key), m.prove(Policy{Closed: true, Guard: true}, key)
			if diff := cmp.Diff(verdicts{Accepted, Accepted, Accepted}, open.verdicts()); diff != "" || len(open.Causes) > 0 {
				t.Errorf("open (-want +got):\n%s%v", diff, open.Causes)
			}
			if diff := cmp.Diff(verdicts{Accepted, Accepted, Refused}, closed.verdicts()); diff != "" || !closed.Closes() {
				t.Errorf("closed (-want +got):\n%s%v", diff, closed.Causes)
			}
			if diff := cmp.Diff([]string{"publickey"}, closed.Methods); diff != "" {
				t.Errorf("methods (-want +got):\n%s", diff)
			}
			if err := m.LoginPassword(t, testUser, "correct horse"); err != nil {
				t.Errorf("a proof closed the running sshd: %v", err)
			}
		})
	}
}

// TestNoHostKeysProveNothing: at first boot they may not have been made yet.
func TestNoHostKeysProveNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	key := m.allow("ed25519")
	removeHostKeys(t, m)
	proof := m.prove(Policy{Closed: true, Guard: true}, key)
	if diff := cmp.Diff(verdicts{Unknown, Unknown, Unknown}, proof.verdicts()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if proof.Closes() || !proof.Undecided() {
		t.Errorf("closes: %v, undecided: %v; want it undecided", proof.Closes(), proof.Undecided())
	}
	var said strings.Builder
	for _, cause := range proof.Causes {
		said.WriteString(cause.Detail + "\n")
	}
	if !strings.Contains(said.String(), "no hostkeys available") {
		t.Errorf("the causes do not name it:\n%s", said.String())
	}
}

func TestEveryKeyHasToBeAccepted(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	first, second, third := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ecdsa-256"), testmachine.NewKey(t, "rsa-2048")
	m.AuthorizedKeys(testUser, first.Line, second.Line)
	if proof := m.prove(Policy{Closed: true}, first, second); !proof.Closes() {
		t.Errorf("two keys that are allowed: %+v", proof)
	}
	if proof := m.prove(Policy{Closed: true}, first, third); proof.Key != Refused || proof.Closes() {
		t.Errorf("one that is not: %+v, want refused", proof)
	}
	if proof := m.prove(Policy{Closed: true}); proof.Key != Unknown || proof.Closes() {
		t.Errorf("no key at all: %+v, want unknown", proof)
	}
}

// TestWhatIsOpenFromOutsideAloneIsOpen: the method list of a conversation from
// this instance does not show it.
func TestWhatIsOpenFromOutsideAloneIsOpen(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	key := m.allow("ed25519")
	m.SSHDConfig("KbdInteractiveAuthentication no\nPasswordAuthentication no\nMatch Address !127.0.0.0/8,*\n\tPasswordAuthentication yes\n")
	if proof := m.prove(Policy{}, key); proof.Password != Accepted {
		t.Errorf("password %s, want accepted", proof.Password)
	}
	if proof := m.prove(Policy{Closed: true}, key); proof.Closes() {
		t.Error("closes without the guard")
	}
	if proof := m.prove(Policy{Closed: true, Guard: true}, key); !proof.Closes() {
		t.Errorf("does not close with the guard: %v", proof.Causes)
	}
}
