package agent

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// release gives the machine back and fails the test when that fails.
func (r *rig) release(removeKeys bool) *Released {
	r.t.Helper()
	released, err := r.agent().Release(context.Background(), ReleaseHow{RemoveKeys: removeKeys})
	if err != nil {
		r.t.Fatalf("release: %v", err)
	}
	return released
}

// TestReleaseGivesTheInstanceBack: sshd's files and its effective configuration
// are what they were, and the key stays or goes as was asked.
func TestReleaseGivesTheInstanceBack(t *testing.T) {
	t.Parallel()
	for _, remove := range []bool{false, true} {
		for _, c := range doorCases[:8] {
			t.Run(c.name+map[bool]string{true: ", key removed"}[remove], func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				c.stage(r)
				r.WriteFile("/home/"+testUser+"/.bashrc", "", 0o644)
				r.StartSSHD()
				files, says := r.sshdFiles(), r.sshdSays()
				key := testmachine.NewKey(t, "ed25519")
				r.pass(bound(t, key), How{})
				r.wantPassword(false)

				released := r.release(remove)
				if !released.Opened || released.Password != "on" || released.Listener != sshd.ListenerReloaded || len(released.Files) != 1 {
					t.Errorf("released %+v", released)
				}
				if diff := cmp.Diff(files, r.sshdFiles()); diff != "" {
					t.Errorf("sshd's files (-before +after):\n%s", diff)
				}
				if diff := cmp.Diff(says, r.sshdSays()); diff != "" {
					t.Errorf("effective configuration (-before +after):\n%s", diff)
				}
				r.wantKey(key, !remove)
				r.wantPassword(true)
				if r.exists(StateDir + "/" + stateFile) {
					t.Error("the state is still remembered")
				}
			})
		}
	}
}

func TestAReleasedKeyIsAPlainLineAmongTheUsersOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	own, key := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ed25519")
	before := "# mine\r\nfrom=\"10.0.0.0/8\" " + own.Line + "\n\nnot a key"
	r.Run(t, "install", "-d", "-o", testUser, "-m", "700", "/home/"+testUser+"/.ssh")
	r.WriteFile(keyFile, before, 0o600)
	r.Run(t, "chown", testUser+":", keyFile)
	r.pass(bound(t, key), How{})
	r.release(false)
	got, err := os.ReadFile(r.Path(keyFile))
	if want := key.Line + "\n" + before; err != nil || string(got) != want {
		t.Errorf("%q, %v\nwant %q", got, err, want)
	}
	if again := r.release(true); again.Opened || len(again.Files) > 0 {
		t.Errorf("a second release did %+v; the key is the user's by now", again)
	}
}

// TestReleaseKeepsNoKeyThatIsNotBound: one that was to stay until another is
// proved is not bound any more, nor is one left in another user's file.
func TestReleaseKeepsNoKeyThatIsNotBound(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	first, second := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ecdsa-256")
	r.pass(bound(t, first), How{})
	r.reconfigure("PubkeyAcceptedAlgorithms ssh-ed25519\n")
	r.pass(bound(t, second), How{Now: true})
	r.wantKey(first, true)
	released := r.release(false)
	r.wantKey(first, false)
	if len(released.Files) != 1 || len(released.Files[0].Kept) != 1 || len(released.Files[0].Removed) != 1 {
		t.Errorf("released %+v, want one key kept and one removed", released.Files)
	}
}

func TestReleaseIsRefusedWhileAnAgentRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	key := testmachine.NewKey(t, "ed25519")
	stop := r.daemon(newEndpoint(t, key))
	before := r.traces("/etc/ssh", "/home/"+testUser)
	if _, err := r.agent().Release(context.Background(), ReleaseHow{RemoveKeys: true}); !errors.Is(err, ErrRunning) {
		t.Errorf("release: %v, want ErrRunning", err)
	}
	r.wantUntouched(before, "/etc/ssh", "/home/"+testUser)
	_ = stop()
	r.release(true)
}

// TestReleaseWorksWithoutState: whoever lost /var/lib can still give the
// instance back.
func TestReleaseWorksWithoutState(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	r.pass(bound(t, key), How{})
	r.remove(StateDir)
	if released := r.release(false); len(released.Files) != 1 {
		t.Errorf("released %+v", released)
	}
	r.wantKey(key, true)
	r.wantPassword(true)
	if data, _ := os.ReadFile(r.Path(keyFile)); strings.Contains(string(data), "latchkey") {
		t.Errorf("marks are left:\n%s", data)
	}
}

// TestReleaseTouchesNoKeyUntilPasswordsAreOpen: the key is the only way in as
// long as the running sshd takes no passwords, whatever keeps it from being told.
func TestReleaseTouchesNoKeyUntilPasswordsAreOpen(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ spoil, mend func(*rig) }{
		"sshd's configuration is refused": {
			func(r *rig) { r.WriteFile("/etc/ssh/sshd_config.d/90-bad.conf", "Nonsense yes\n", 0o644) },
			func(r *rig) { r.remove("/etc/ssh/sshd_config.d/90-bad.conf") },
		},
		"its folder cannot be written to": {
			func(r *rig) { r.mountReadOnly("/etc/ssh/sshd_config.d") },
			func(r *rig) { r.unmount("/etc/ssh/sshd_config.d") },
		},
		"its main file is gone": {
			func(r *rig) { r.Run(r.t, "mv", "/etc/ssh/sshd_config", "/etc/ssh/away") },
			func(r *rig) { r.Run(r.t, "mv", "/etc/ssh/away", "/etc/ssh/sshd_config") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.StartSSHD()
			key := testmachine.NewKey(t, "ed25519")
			r.pass(bound(t, key), How{})
			test.spoil(r)
			for range 2 {
				if _, err := r.agent().Release(context.Background(), ReleaseHow{RemoveKeys: true}); err == nil {
					t.Error("release: no error")
				}
				r.wantKey(key, true)
			}
			test.mend(r)
			r.release(true)
			r.wantKey(key, false)
			r.wantPassword(true)
		})
	}
}

// TestAReleaseThatWasCutOffIsFinishedByTheNext: sshd may not have been told.
func TestAReleaseThatWasCutOffIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	r.pass(bound(t, key), How{})
	r.remove(sshd.DropIn) // as far as the first one came
	r.wantPassword(false)
	r.release(true)
	r.wantKey(key, false)
	r.wantPassword(true)
}

func TestReleaseKeepsAKeyWhoseUnbindingFailed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	r.pass(bound(t, key), How{})
	r.mountReadOnly("/etc/ssh/sshd_config.d")
	if _, err := r.agent().Pass(context.Background(), unbound(), How{Now: true}); err == nil {
		t.Fatal("the unbinding did not fail")
	}
	if _, err := r.agent().Release(context.Background(), ReleaseHow{}); err == nil {
		t.Error("release: no error")
	}
	r.wantKey(key, true)
}

// mountReadOnly makes a folder one that nobody can write to.
func (r *rig) mountReadOnly(folder string) {
	r.t.Helper()
	path := r.Path(folder)
	err := errors.Join(
		unix.Mount(path, path, "", unix.MS_BIND, ""),
		unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
}

func (r *rig) unmount(folder string) {
	r.t.Helper()
	if err := unix.Unmount(r.Path(folder), unix.MNT_DETACH); err != nil {
		r.t.Fatal(err)
	}
}

// TestReleaseWithoutSSHDStillTakesEverythingAway: the package may go after
// sshd's has gone, or while its configuration is broken.
func TestReleaseWithoutSSHDStillTakesEverythingAway(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*rig){
		"no configuration":         func(r *rig) { r.Run(r.t, "rm", "/etc/ssh/sshd_config") },
		"no program":               func(r *rig) { r.Run(r.t, "rm", "/usr/sbin/sshd") },
		"configuration is refused": func(r *rig) { r.WriteFile("/etc/ssh/sshd_config.d/90-bad.conf", "Nonsense yes\n", 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			key := testmachine.NewKey(t, "ed25519")
			r.pass(bound(t, key), How{})
			spoil(r)
			_, err := r.agent().Release(context.Background(), ReleaseHow{RemoveKeys: true})
			if r.exists(sshd.DropIn) {
				t.Errorf("the drop-in is still there (%v)", err)
			}
			if holds, keys := r.blockHolds(key); holds || keys > 0 {
				t.Errorf("the key is still there (%v)", err)
			}
			if left := r.exists(StateDir + "/" + stateFile); left != (err != nil) {
				t.Errorf("%v, and the state is there: %v", err, left)
			}
		})
	}
}
