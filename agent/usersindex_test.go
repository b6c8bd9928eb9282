package agent

import (
	"os"
	"strings"
	"testing"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// buildUsersIndex publishes an administrator's index with that key for git.
func (r *rig) buildUsersIndex(key testmachine.Key) {
	r.t.Helper()
	if err := os.MkdirAll(r.Path(index.Dir), 0o755); err != nil {
		r.t.Fatal(err)
	}
	dir, err := os.OpenRoot(r.Path(index.Dir))
	if err != nil {
		r.t.Fatal(err)
	}
	defer dir.Close()
	if err := indexer.Write(dir, "users.index", indexer.User{Name: "git", Lines: []string{strings.TrimSpace(key.Line)}}); err != nil {
		r.t.Fatal(err)
	}
}

// spoiltUsersIndex are ways in which an administrator's index makes the helper refuse
// every key.
var spoiltUsersIndex = map[string]func(r *rig){
	"writable by all":        func(r *rig) { r.Run(r.t, "chmod", "0666", index.Users) },
	"readable by root alone": func(r *rig) { r.Run(r.t, "chmod", "0600", index.Users) },
	"somebody else's":        func(r *rig) { r.Run(r.t, "chown", testUser+":", index.Users) },
	"damaged":                func(r *rig) { r.WriteFile(index.Users, strings.Repeat("x", 4096), 0o644) },
	"a link": func(r *rig) {
		r.Run(r.t, "mv", index.Users, index.Users+".moved")
		r.Run(r.t, "ln", "-s", index.Users+".moved", index.Users)
	},
}

// TestASpoiltIndexOfAnAdministratorsKeepsPasswordsOn: the helper refuses the bound key
// for it.
func TestASpoiltIndexOfAnAdministratorsKeepsPasswordsOn(t *testing.T) {
	t.Parallel()
	for name, spoil := range spoiltUsersIndex {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.deliverBy(ByCommand)
			r.StartSSHD()
			key := testmachine.NewKey(t, "ed25519")
			seen := bound(t, key)
			r.buildUsersIndex(key)
			spoil(r)
			before := r.traces(index.Dir)
			outcome := r.pass(seen, How{})
			if outcome.Applied.PasswordClosed || !outcome.Applied.hasFault(usersIndexCheck) {
				t.Errorf("closed %v with %+v, want passwords on, and the index named", outcome.Applied.PasswordClosed, outcome.Applied.Faults)
			}
			after := r.traces(index.Dir)
			if before[index.Users] != after[index.Users] {
				t.Errorf("it was changed from %v to %v", before[index.Users], after[index.Users])
			}
			r.answerAsAgent(seen)
			if names, checks := r.doctor(seen); !strings.Contains(strings.Join(names, ","), "fail "+usersIndexCheck) {
				t.Errorf("doctor: %v, want it to name the index: %+v", names, checks)
			}
			r.buildUsersIndex(key)
			if outcome := r.pass(seen, How{}); !outcome.Applied.PasswordClosed {
				t.Errorf("built again, passwords stay on: %+v", outcome.Applied.Faults)
			}
			if names, _ := r.doctor(seen); !strings.Contains(strings.Join(names, ","), "pass "+usersIndexCheck) {
				t.Errorf("doctor: %v", names)
			}
		})
	}
}

// TestAnIndexOfAnAdministratorsThatIsSpoiltLaterIsNoticed while the agent runs, and
// reported. What somebody else has done does not open passwords.
func TestAnIndexOfAnAdministratorsThatIsSpoiltLaterIsNoticed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	key := testmachine.NewKey(t, "ed25519")
	r.commandDaemon(key)
	r.buildUsersIndex(key)
	for name, spoil := range spoiltUsersIndex {
		spoil(r)
		poll(t, name+": status names it", func() bool { return r.status().hasFault(usersIndexCheck) })
		if report := r.status(); !report.hasFault("passwords-stay-off") || r.offersPassword() {
			t.Errorf("%s: faults %+v, passwords offered: %v", name, report.Faults, r.offersPassword())
		}
		r.buildUsersIndex(key)
		poll(t, name+": all is well again", func() bool { return len(r.status().Faults) == 0 })
	}
	r.wantKey(key, true)
}

// TestWhatFailedWhileTheWorldChangedIsProvedAgain: what was wrong then may be gone, with
// the world as it was before.
func TestWhatFailedWhileTheWorldChangedIsProvedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByCommand)
	key := testmachine.NewKey(t, "ed25519")
	seen := bound(t, key)
	r.buildUsersIndex(key)
	r.WriteFile("/tmp/spoil", "", 0o644)
	r.wrapSSHD("case \"$*\" in *-i*) [ ! -e /tmp/spoil ] || chmod 0666 " + index.Users + ";; esac")
	if outcome := r.pass(seen, How{}); outcome.Applied.PasswordClosed {
		t.Fatal("passwords are off, though the helper refused the key")
	}
	r.remove("/tmp/spoil")
	r.Run(t, "chmod", "0644", index.Users)
	if outcome := r.pass(seen, How{}); !outcome.Applied.PasswordClosed {
		t.Errorf("passwords stay on: %+v", outcome.Applied.Faults)
	}
}

// commandDaemon has a daemon deliver the key by command, and passwords off.
func (r *rig) commandDaemon(key testmachine.Key) {
	r.t.Helper()
	r.deliverBy(ByCommand)
	r.StartSSHD()
	e := newEndpoint(r.t, key)
	r.config.Metadata.Endpoint = e.URL
	r.writeConfig("[apply]\ndelivery = \"command\"\n")
	r.daemon(e)
	r.wantPassword(false)
}
