package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/sshd"
)

func TestBindingTurnsPasswordsOffAndUnbindingTurnsThemOnAgain(t *testing.T) {
	r := newRig(t)
	r.StartSSHD()
	before := r.Run(t, "/usr/sbin/sshd", "-T")
	key := testmachine.NewKey(t, "ed25519")
	r.wantPassword(true)

	outcome := r.pass(bound(t, key), How{})
	want := []Verb{WriteKeys, Prove, ClosePassword, Reload, AskListener, Record}
	if diff := cmp.Diff(want, outcome.verbs()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if !outcome.Applied.PasswordClosed || outcome.Applied.Proof.Listener != sshd.Accepted {
		t.Errorf("applied %+v, want passwords closed and the listener asked", outcome.Applied)
	}
	r.wantKey(key, true)
	r.wantPassword(false)

	outcome = r.pass(unbound(), How{Now: true})
	want = []Verb{OpenPassword, Reload, RemoveKeys, Record}
	if diff := cmp.Diff(want, outcome.verbs()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	r.wantKey(key, false)
	r.wantPassword(true)
	if diff := cmp.Diff(before, r.Run(t, "/usr/sbin/sshd", "-T")); diff != "" {
		t.Errorf("effective configuration is not what it was (-before +after):\n%s", diff)
	}
}

func TestAnotherBindingReplacesTheFirst(t *testing.T) {
	r := newRig(t)
	r.StartSSHD()
	first, second := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "rsa-2048")
	r.pass(bound(t, first), How{})
	r.reboot()
	r.pass(bound(t, second), How{})
	r.wantKey(first, false)
	r.wantKey(second, true)
	r.wantPassword(false)
}

func TestAtBootALaterBindingWaitsForTheRestart(t *testing.T) {
	r := newRig(t)
	first, second := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ecdsa-256")
	r.pass(bound(t, first), How{})
	outcome := r.pass(bound(t, second), How{})
	if len(outcome.Done) > 0 || outcome.Pending == nil || !outcome.Pending.Same(bound(t, second)) {
		t.Fatalf("took %v, pending %v; want nothing done and the second key pending", outcome.verbs(), outcome.Pending)
	}
	r.reboot()
	outcome = r.pass(bound(t, second), How{})
	if outcome.Pending != nil || !outcome.Applied.Binding.Same(bound(t, second)) {
		t.Errorf("after the restart pending %v, applied %v; want the second key applied", outcome.Pending, outcome.Applied.Binding)
	}
}
