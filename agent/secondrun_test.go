package agent

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/metadata"
)

// settledStates are worlds in which a pass has done what there is to do.
var settledStates = map[string]func(t *testing.T, r *rig) metadata.Binding{
	"bound": func(t *testing.T, r *rig) metadata.Binding {
		return bound(t, testmachine.NewKey(t, "ed25519"))
	},
	"never bound": func(*testing.T, *rig) metadata.Binding { return unbound() },
	"unbound, keys file readable by all": func(t *testing.T, r *rig) metadata.Binding {
		r.config.Apply.When = Live
		r.pass(bound(t, testmachine.NewKey(t, "ed25519")), How{})
		r.WriteFile(keysFile, r.ReadFile(keysFile), 0o644)
		return unbound()
	},
	"password left": func(t *testing.T, r *rig) metadata.Binding {
		r.config.Apply.Password = LeavePassword
		return bound(t, testmachine.NewKey(t, "ed25519"))
	},
	"no Include": func(t *testing.T, r *rig) metadata.Binding {
		r.SSHDConfig("UsePAM yes\nMatch User nobody\n\tX11Forwarding no")
		return bound(t, testmachine.NewKey(t, "ed25519"))
	},
	"proof failed": func(t *testing.T, r *rig) metadata.Binding {
		r.SSHDConfig("AllowUsers nobody\n" + testmachine.DefaultSSHDConfig)
		return bound(t, testmachine.NewKey(t, "ed25519"))
	},
	"new key refused, older key kept": func(t *testing.T, r *rig) metadata.Binding {
		r.config.Apply.When = Live
		r.SSHDConfig("PubkeyAcceptedAlgorithms ssh-ed25519\n" + testmachine.DefaultSSHDConfig)
		r.pass(bound(t, testmachine.NewKey(t, "ed25519")), How{})
		return bound(t, testmachine.NewKey(t, "ecdsa-256"))
	},
	"refused by an administrator since": func(t *testing.T, r *rig) metadata.Binding {
		seen := bound(t, testmachine.NewKey(t, "ed25519"))
		r.pass(seen, How{Now: true})
		r.SSHDConfig("AllowUsers nobody\n" + testmachine.DefaultSSHDConfig)
		return seen
	},
	"keys file is a folder": func(t *testing.T, r *rig) metadata.Binding {
		r.Mkdir(keysFile, 0o700)
		return bound(t, testmachine.NewKey(t, "ed25519"))
	},
	"by command": func(t *testing.T, r *rig) metadata.Binding {
		r.deliverBy(ByCommand)
		return bound(t, testmachine.NewKey(t, "ed25519"))
	},
	"by both, password left": func(t *testing.T, r *rig) metadata.Binding {
		r.deliverBy(ByBoth)
		r.config.Apply.Password = LeavePassword
		return bound(t, testmachine.NewKey(t, "ed25519"))
	},
	"by command, after an administrator's": func(t *testing.T, r *rig) metadata.Binding {
		r.deliverBy(ByCommand)
		r.SSHDConfig("AuthorizedKeysCommand /bin/echo\nAuthorizedKeysCommandUser nobody\n" + testmachine.DefaultSSHDConfig)
		return bound(t, testmachine.NewKey(t, "ed25519"))
	},
	"by a command that sshd does not run": func(t *testing.T, r *rig) metadata.Binding {
		r.deliverBy(ByCommand)
		r.WriteFile(helperPath, "#!/bin/sh\nexit 1\n", 0o755)
		return bound(t, testmachine.NewKey(t, "ed25519"))
	},
	"by a command that cannot be taken over": func(t *testing.T, r *rig) metadata.Binding {
		r.deliverBy(ByCommand)
		r.Run(t, "userdel", HelperUser)
		return bound(t, testmachine.NewKey(t, "ed25519"))
	},
	"a change waits for the restart": func(t *testing.T, r *rig) metadata.Binding {
		r.pass(bound(t, testmachine.NewKey(t, "ed25519")), How{Now: true})
		return unbound()
	},
}

func TestASecondRunOnAnUnchangedWorldWritesNothingStartsNoProcessAndReloadsNothing(t *testing.T) {
	t.Parallel()
	for name, stage := range settledStates {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			calls := r.wrapSSHD("")
			r.StartSSHD()
			seen := stage(t, r)
			_, first := r.agent().Pass(context.Background(), seen, How{})
			before, called, loaded := r.traces(instance...), len(calls()), r.pidFile()
			for range 3 {
				outcome, err := r.agent().Pass(context.Background(), seen, How{})
				if fmt.Sprint(err) != fmt.Sprint(first) {
					t.Fatalf("second run: %v, want as the first: %v", err, first)
				}
				if len(outcome.Done) > 0 {
					t.Errorf("second run took the steps %v", outcome.verbs())
				}
			}
			r.wantUntouched(before, instance...)
			if now := calls()[called:]; len(now) > 0 && first == nil { // what fails is looked at anew
				t.Errorf("second run started sshd: %q", now)
			}
			if !cmp.Equal(loaded, r.pidFile()) {
				t.Error("second run reloaded sshd")
			}
		})
	}
}
