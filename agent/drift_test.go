package agent

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// boundDaemon is a machine with a daemon that has bound the key and closed
// passwords.
func boundDaemon(t *testing.T) (*rig, *endpoint, testmachine.Key) {
	t.Helper()
	r := newRig(t)
	r.AuthorizedKeys(testUser, "# the user's own")
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	e := newEndpoint(t, key)
	r.daemon(e)
	r.wantPassword(false)
	return r, e, key
}

// asUser runs a shell command as the logon user.
func (r *rig) asUser(command string) {
	r.t.Helper()
	r.Run(r.t, "su", testUser, "-c", "cd ~ && "+command)
}

func TestWhatLatchkeyOwnsIsPutBack(t *testing.T) {
	t.Parallel()
	drifts := map[string]func(r *rig){
		"the user deletes the block": func(r *rig) { r.asUser("sed -i /latchkey/,/latchkey/d .ssh/authorized_keys") },
		"the user deletes the key's line": func(r *rig) {
			r.asUser("grep -v ^ssh-ed25519 .ssh/authorized_keys >.ssh/new; mv .ssh/new .ssh/authorized_keys")
		},
		"the user deletes the file":   func(r *rig) { r.asUser("rm .ssh/authorized_keys") },
		"the user empties the file":   func(r *rig) { r.asUser(": >.ssh/authorized_keys") },
		"the user deletes the folder": func(r *rig) { r.asUser("rm -r .ssh") },
		"the user moves the folder":   func(r *rig) { r.asUser("mv .ssh old") },
		"the user makes the folder anew": func(r *rig) {
			r.asUser("rm -r .ssh; mkdir -p -m 700 .ssh; echo '# new' >.ssh/authorized_keys")
		},
		"an administrator deletes the drop-in":             func(r *rig) { r.remove(dropIn) },
		"an administrator deletes the drop-in and reloads": func(r *rig) { r.remove(dropIn); r.hangUp() },
		"an administrator edits the drop-in": func(r *rig) {
			r.WriteFile(dropIn, strings.ReplaceAll(r.ReadFile(dropIn), " no\n", " yes\n"), 0o644)
			r.hangUp()
		},
		"an administrator empties the drop-in": func(r *rig) { r.WriteFile(dropIn, "", 0o644) },
	}
	r, _, key := boundDaemon(t)
	policy := r.ReadFile(dropIn)
	for name, drift := range drifts {
		first := r.state().Applied.At
		drift(r)
		poll(t, name+": it is put back and proved", func() bool {
			text, _ := os.ReadFile(r.Path(dropIn))
			holds, n := r.blockHolds(key)
			state := r.state()
			return holds && n == 1 && string(text) == policy && state.Applied.At.After(first) && !state.Unfinished
		})
		if !r.logsIn(key) {
			t.Errorf("%s: the key does not log in", name)
		}
		r.wantPassword(false)
		if applied := r.state().Applied; len(applied.Faults) > 0 || applied.Proof.Key != "accepted" {
			t.Errorf("%s: recorded %+v, want a good proof", name, applied)
		}
	}
}

func TestAFolderThatWasMadeAnewIsFollowed(t *testing.T) {
	t.Parallel()
	r, _, key := boundDaemon(t)
	for range 3 {
		r.asUser("rm -r .ssh; mkdir -p -m 700 .ssh")
		poll(t, "the key is put back", func() bool { holds, _ := r.blockHolds(key); return holds })
	}
	r.asUser(": >.ssh/authorized_keys")
	poll(t, "the key is put back in the last one", func() bool { holds, _ := r.blockHolds(key); return holds })
}

// TestAFileSystemMountedOverTheHomeIsFollowed: one on a network may come after
// the key was written, into what it hides.
func TestAFileSystemMountedOverTheHomeIsFollowed(t *testing.T) {
	t.Parallel()
	r, _, key := boundDaemon(t)
	home := r.Path("/home/" + testUser)
	if err := unix.Mount("tmpfs", home, "tmpfs", 0, "mode=755,uid="+r.uid()); err != nil {
		t.Fatal(err)
	}
	poll(t, "the key is in the home that is seen now", func() bool { holds, _ := r.blockHolds(key); return holds })
	poll(t, "it is proved there", func() bool { return len(r.status().Faults) == 0 })
	r.wantKey(key, true)
}

func TestWhatLatchkeyDoesNotOwnIsNeverTouched(t *testing.T) {
	t.Parallel()
	r, _, key := boundDaemon(t)
	own := "# the user's own\nssh-rsa bad line\r\n"
	r.WriteFile("/etc/ssh/sshd_config.d/99-admin.conf", "LogLevel VERBOSE\n", 0o600)
	r.WriteFile("/home/"+testUser+"/.ssh/config", "Host *\n", 0o644)
	r.WriteFile("/home/"+testUser+"/.ssh/authorized_keys2", "# old\n", 0o644)
	r.asUser("printf 'ssh-rsa bad line\\r\\n' >>.ssh/authorized_keys; sed -i /latchkey/,/latchkey/d .ssh/authorized_keys")
	before := r.traces("/etc/ssh", "/etc/pam.d", "/home/"+testUser+"/.ssh/config", "/home/"+testUser+"/.ssh/authorized_keys2")
	poll(t, "the key is put back", func() bool { holds, _ := r.blockHolds(key); return holds })
	if diff := cmp.Diff(own, r.foreign()); diff != "" {
		t.Errorf("foreign lines (-want +got):\n%s", diff)
	}
	r.wantUntouched(before, "/etc/ssh", "/etc/pam.d", "/home/"+testUser+"/.ssh/config", "/home/"+testUser+"/.ssh/authorized_keys2")
}

func TestAnAdministratorsChangeThatRefusesTheKeyIsReportedAndNotActedOn(t *testing.T) {
	t.Parallel()
	r, _, key := boundDaemon(t)
	policy, loaded := r.ReadFile(dropIn), r.pidFile()
	for _, lines := range []string{"AllowUsers nobody\n", "AllowUsers nobody root\n", "DenyUsers " + testUser + "\n"} {
		before := r.state().Applied.At
		r.SSHDConfig(lines + testmachine.DefaultSSHDConfig)
		poll(t, "the change is noticed", func() bool { return r.state().Applied.At.After(before) })
		report := r.status()
		if !report.hasFault("allow-users") && !report.hasFault("deny-users") {
			t.Errorf("%s: status has the faults %+v, want the cause", lines, report.Faults)
		}
		if report.Password != "off" || r.ReadFile(dropIn) != policy {
			t.Errorf("%s: passwords %s; want them left as they were", lines, report.Password)
		}
	}
	if !cmp.Equal(loaded, r.pidFile()) {
		t.Error("sshd was reloaded")
	}
	r.SSHDConfig(testmachine.DefaultSSHDConfig)
	poll(t, "the fault is gone with its cause", func() bool { return len(r.status().Faults) == 0 })
	r.wantKey(key, true)
	r.wantPassword(false)
}

func TestAChangedConfigurationIsTakenOverAndABrokenOneIsNot(t *testing.T) {
	t.Parallel()
	r, _, key := boundDaemon(t)
	r.writeConfig("[apply]\npasword = \"leave\"\n")
	poll(t, "status names the broken line", func() bool {
		for _, fault := range r.status().Faults {
			if fault.ID == "configuration" && strings.Contains(fault.Detail, "latchkey.toml:6:") {
				return true
			}
		}
		return false
	})
	r.wantPassword(false)

	r.writeConfig("[apply]\npassword = \"leave\"\n")
	poll(t, "passwords are on again", func() bool { return !r.exists(dropIn) && !r.state().Unfinished })
	r.wantPassword(true)
	r.wantKey(key, true)
	poll(t, "status is content", func() bool { return len(r.status().Faults) == 0 })

	r.writeConfig("")
	r.WriteFile(DefaultConfigPath+".d/50.toml", "[apply]\nwhen = \"live\"\n", 0o644)
	poll(t, "passwords are off again", func() bool { return r.exists(dropIn) && !r.state().Unfinished })
	poll(t, "the drop-in is read", func() bool { return r.status().When == Live })
}

// TestAStormOfEventsSettles counts passes by the reads of the endpoint: a live
// daemon makes one before each.
func TestAStormOfEventsSettles(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.AuthorizedKeys(testUser)
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	e := newEndpoint(t, key)
	r.config.Metadata.Endpoint = e.URL
	r.writeConfig("[apply]\nwhen = \"live\"\npoll = \"1h\"\n")
	r.daemon(e)
	poll(t, "what the first pass wrote has settled", func() bool { return e.visited() >= 2 })

	const long = 4 * time.Second
	before, start := e.visited(), time.Now()
	for i := 0; time.Since(start) < long; i++ {
		now := time.Now()
		if err := os.Chtimes(r.Path(keysFile), now, now); err != nil {
			t.Fatal(err)
		}
		r.WriteFile("/home/"+testUser+"/.ssh/noise", "x", 0o600)
		r.WriteFile("/etc/ssh/noise", "x", 0o600)
		r.WriteFile("/home/"+testUser+"/elsewhere", "x", 0o600)
	}
	if passes := e.visited() - before; passes > 5 {
		t.Errorf("%d passes in %v of events, want at most one a second", passes, long)
	}
	r.asUser(": >.ssh/authorized_keys")
	poll(t, "what matters is still seen", func() bool { holds, _ := r.blockHolds(key); return holds })
}

func TestAWatchedFolderThatIsReplacedByOneOfTheSameNumberIsWatchedAnew(t *testing.T) {
	t.Parallel()
	w, err := newWatch()
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	name := t.TempDir() + "/folder"
	for range 20 { // where numbers are used again, some of these are
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
		w.blind = false
		if err := w.addPath(name, nil); err != nil {
			t.Fatal(err)
		}
		if !w.blind {
			t.Fatal("the new folder was taken for the old one")
		}
		if err := unix.Rmdir(name); err != nil {
			t.Fatal(err)
		}
		for len(w.folders) > 0 {
			select {
			case event := <-w.notify.Events:
				w.matters(event)
			case <-time.After(10 * time.Second):
				t.Fatal("no news of the folder's end")
			}
		}
	}
}
