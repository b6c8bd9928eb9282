package agent

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/metadata"
)

const (
	testUser     = "ecs-user"
	testPassword = "correct horse"
	testInstance = "i-test1"
)

// rig is an agent on a throw-away machine with a real sshd.
type rig struct {
	*testmachine.Machine
	t      *testing.T
	config Config
	boots  int
}

// newRig is a machine with a logon user who has a password, and no sshd running
// yet.
func newRig(t *testing.T) *rig {
	t.Helper()
	return rigOn(t, testmachine.New(t))
}

// rigOn is newRig on a machine of the test's choice.
func rigOn(t *testing.T, m *testmachine.Machine) *rig {
	t.Helper()
	r := &rig{Machine: m, t: t, config: DefaultConfig()}
	r.config.Login.User = testUser
	r.AddUser(testUser, testPassword)
	r.reboot()
	return r
}

// agent is a new agent, as after a restart of the program.
func (r *rig) agent() *Agent { return New(Options{Root: r.Root, Config: r.config}) }

// reboot gives the machine a new boot id, as a restart does.
func (r *rig) reboot() {
	r.t.Helper()
	r.boots++
	file := fmt.Sprintf("/run/boot_id.%d", r.boots)
	r.WriteFile(file, fmt.Sprintf("%08d-0000-4000-8000-000000000000\n", r.boots), 0o644)
	if err := unix.Mount(r.Path(file), r.Path("/proc/sys/kernel/random/boot_id"), "", unix.MS_BIND, ""); err != nil {
		r.t.Fatalf("give the machine a boot id: %v", err)
	}
}

// pass makes one pass and fails the test when it fails.
func (r *rig) pass(seen metadata.Binding, how How) *Outcome {
	r.t.Helper()
	outcome, err := r.agent().Pass(context.Background(), seen, how)
	if err != nil {
		r.t.Fatalf("pass: %v", err)
	}
	return outcome
}

// bound is the endpoint's answer when keys are bound.
func bound(t *testing.T, keys ...testmachine.Key) metadata.Binding {
	t.Helper()
	b := metadata.Binding{State: metadata.Bound, InstanceID: testInstance, At: time.Now()}
	for _, key := range keys {
		parsed, err := metadata.ParseKey(key.Line)
		if err != nil {
			t.Fatal(err)
		}
		b.Keys = append(b.Keys, parsed)
	}
	return b
}

func unbound() metadata.Binding {
	return metadata.Binding{State: metadata.Unbound, InstanceID: testInstance, At: time.Now()}
}

func unknown() metadata.Binding {
	return metadata.Binding{State: metadata.Unknown, Reason: "no answer in time", At: time.Now()}
}

// wantKey checks, by a real logon, whether the key lets the user in.
func (r *rig) wantKey(key testmachine.Key, in bool) {
	r.t.Helper()
	if err := r.Login(r.t, testUser, key.Signer); (err == nil) != in {
		r.t.Errorf("logon with the key: %v, want it let in: %v", err, in)
	}
}

// wantPassword checks, by real logons with both methods, whether a password
// lets the user in, and what the server lists.
func (r *rig) wantPassword(in bool) {
	r.t.Helper()
	if err := r.LoginPassword(r.t, testUser, testPassword); (err == nil) != in {
		r.t.Errorf("logon with the password: %v, want it let in: %v", err, in)
	}
	methods := r.Methods(r.t, testUser)
	if !in && (slices.Contains(methods, "password") || slices.Contains(methods, "keyboard-interactive")) {
		r.t.Errorf("sshd offers %v, want no password method", methods)
	}
}

func (o *Outcome) verbs() []Verb {
	var verbs []Verb
	for _, done := range o.Done {
		verbs = append(verbs, done.Verb)
	}
	return verbs
}
