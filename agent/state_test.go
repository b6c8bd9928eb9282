package agent

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/sshd"
)

func TestStateComesBackAsItWasSaved(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	binding := bound(t, testmachine.NewKey(t, "ed25519"))
	binding.At = binding.At.UTC().Round(0)
	want := State{
		Version: stateVersion, InstanceID: testInstance, Hardware: "h1", BootID: "b1", InForce: &binding, Unfinished: true,
		Applied:   &Applied{Binding: binding, User: testUser, PasswordClosed: true, Faults: []sshd.Cause{{ID: "x"}}},
		Proven:    &Proven{KeysPlace{testUser, "/k"}, []string{"SHA256:x"}, "b1", false},
		Elsewhere: []KeysPlace{{"root", "/root/k"}},
		Failure:   &sshd.Cause{ID: "disk-full"},
	}
	if err := want.save(root); err != nil {
		t.Fatal(err)
	}
	got, err := loadState(root, "h1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("state (-saved +loaded):\n%s", diff)
	}
	info, err := os.Stat(filepath.Join(root, StateDir, stateFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("state file: %v, %v; want mode 0600", info.Mode(), err)
	}
}

func TestStateOfAnotherMachineIsForgotten(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, then, now string
		known           bool
	}{
		{"same machine", "h1", "h1", true},
		{"copy of the disk on another machine", "h1", "h2", false},
		{"firmware tells nothing now", "h1", "", true},
		{"firmware told nothing then", "", "h1", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			saved := State{Version: stateVersion, Hardware: test.then, InstanceID: testInstance}
			if err := saved.save(root); err != nil {
				t.Fatal(err)
			}
			got, err := loadState(root, test.now)
			if err != nil || (got.InstanceID != "") != test.known {
				t.Errorf("instance %q, %v; want it known: %v", got.InstanceID, err, test.known)
			}
			if test.now == "" && got.Hardware != test.then {
				t.Errorf("machine %q, want it still to be %q", got.Hardware, test.then)
			}
		})
	}
}

func TestStateThatCannotBeUnderstoodIsAsNone(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty": "", "cut off": `{"version": 1, "instance_id": "i-te`, "no JSON": "\x00\x00\x00", "of a later release": `{"version": 2, "instance_id": "i-test1"}`,
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if err := (State{}).save(root); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, StateDir, stateFile), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := loadState(root, "h1")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(State{Version: stateVersion, Hardware: "h1"}, got); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStateThatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, StateDir, stateFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := loadState(root, ""); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want one that says the state cannot be read", err)
	}
}
