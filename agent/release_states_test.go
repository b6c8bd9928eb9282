package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// wantNothingLeft checks that the instance remembers nothing of latchkey.
func (r *rig) wantNothingLeft() {
	r.t.Helper()
	for _, name := range []string{dropIn, index.Bound, StateDir + "/" + stateFile} {
		if r.exists(name) {
			r.t.Errorf("%s is still there", name)
		}
	}
}

// TestAnInterruptedReleaseGoesNoFurther, forced or not: sshd was not told to open
// passwords, so the key is the only way in.
func TestAnInterruptedReleaseGoesNoFurther(t *testing.T) {
	t.Parallel()
	for _, by := range []Delivery{ByFile, ByCommand} {
		for _, how := range []ReleaseHow{{}, {Force: true}, {RemoveKeys: true}, {Force: true, RemoveKeys: true}} {
			t.Run(fmt.Sprintf("%s %+v", by, how), func(t *testing.T) {
				t.Parallel()
				r, key := newBoundRig(t, by)
				r.Run(t, "mkfifo", "/tmp/never")
				r.wrapSSHD(`case "$*" in *-T*) >/tmp/asked; exec cat /tmp/never;; esac`)
				ctx, interrupt := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() {
					_, err := r.agent().Release(ctx, how)
					ended <- err
				}()
				poll(t, "sshd is asked", func() bool { return r.exists("/tmp/asked") })
				interrupt()
				if err := <-ended; !errors.Is(err, context.Canceled) {
					t.Errorf("release: %v, want %v", err, context.Canceled)
				}
				r.wrapSSHD("")
				r.wantKey(key, true)
				r.release(how.RemoveKeys)
				r.wantKey(key, !how.RemoveKeys)
				r.wantPassword(true)
				r.wantNothingLeft()
			})
		}
	}
}

// TestReleaseKeepsTheLastKeyThatWasProvedWherePasswordsAreOff: sshd does not take the
// one that is bound by now, and so nobody would get in.
func TestReleaseKeepsTheLastKeyThatWasProvedWherePasswordsAreOff(t *testing.T) {
	t.Parallel()
	for _, by := range []Delivery{ByFile, ByCommand, ByBoth} {
		t.Run(string(by), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.deliverBy(by)
			r.SSHDConfig("PubkeyAcceptedAlgorithms ssh-ed25519\n" + noPasswords)
			r.StartSSHD()
			first, second := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ecdsa-256")
			r.pass(bound(t, first), How{})
			r.pass(bound(t, second), How{Now: true})
			r.wantKey(first, true)
			r.release(false)
			r.wantKey(first, true)
			for _, key := range []testmachine.Key{first, second} {
				if blob := strings.Fields(key.Line)[1]; !strings.Contains(r.ReadFile(keysFile), blob) {
					t.Errorf("the keys file lacks %.40s", key.Line)
				}
			}
			r.wantNothingLeft()
		})
	}
}

// TestReleaseNeedsNoRoomToOpenPasswords: what it could not write down is but done again.
func TestReleaseNeedsNoRoomToOpenPasswords(t *testing.T) {
	t.Parallel()
	for _, remove := range []bool{false, true} {
		r := newRig(t)
		r.StartSSHD()
		key := testmachine.NewKey(t, "ed25519")
		r.pass(bound(t, key), How{})
		r.fillState()
		r.release(remove)
		r.wantKey(key, !remove)
		r.wantPassword(true)
		r.wantNothingLeft()
	}
}

// fillState makes the disk of the state one without room for another.
func (r *rig) fillState() {
	r.t.Helper()
	name := StateDir + "/" + stateFile
	text := r.ReadFile(name)
	if err := unix.Mount("tmpfs", r.Path(StateDir), "tmpfs", 0, "size=8k,mode=711"); err != nil {
		r.t.Fatal(err)
	}
	r.WriteFile(name, text, 0o600)
	_ = os.WriteFile(r.Path(StateDir+"/ballast"), make([]byte, 4096), 0o600)
}

// TestAReleaseWithoutRoomForTheKeyKeepsWhatLetsItIn, and can be made again.
func TestAReleaseWithoutRoomForTheKeyKeepsWhatLetsItIn(t *testing.T) {
	t.Parallel()
	for _, by := range []Delivery{ByFile, ByCommand} {
		t.Run(string(by), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.deliverBy(by)
			r.SSHDConfig(noPasswords)
			r.AuthorizedKeys(testUser, "# mine")
			r.StartSSHD()
			key := testmachine.NewKey(t, "ed25519")
			r.pass(bound(t, key), How{})
			ssh := r.Path("/home/" + testUser + "/.ssh")
			text := r.ReadFile(keysFile)
			r.mountOver("/home/"+testUser+"/.ssh", "full")
			if err := os.Remove(ssh + "/ballast"); err != nil {
				t.Fatal(err)
			}
			r.AuthorizedKeys(testUser, strings.TrimSuffix(text, "\n"))
			if _, err := r.agent().Release(context.Background(), ReleaseHow{}); err == nil || !strings.Contains(err.Error(), "no space left") {
				t.Errorf("release: %v, want it to say that there is no space left", err)
			}
			r.wantKey(key, true)
			if err := unix.Mount("", ssh, "", unix.MS_REMOUNT, "size=64k,nr_inodes=16"); err != nil {
				t.Fatal(err)
			}
			r.release(false)
			r.wantKey(key, true)
			r.wantNothingLeft()
		})
	}
}

// TestReleaseIsNotHeldUpWhereThereIsNoSSHD: the command lets nobody in there either.
func TestReleaseIsNotHeldUpWhereThereIsNoSSHD(t *testing.T) {
	t.Parallel()
	for _, by := range []Delivery{ByFile, ByCommand, ByBoth} {
		r := newRig(t)
		r.deliverBy(by)
		key := testmachine.NewKey(t, "ed25519")
		r.pass(bound(t, key), How{})
		r.remove("/usr/sbin/sshd")
		if released := r.release(false); released.Password != "unknown" {
			t.Errorf("%s: released %+v, want passwords unknown", by, released)
		}
		if got, want := r.ReadFile(keysFile), strings.TrimSpace(key.Line)+"\n"; got != want {
			t.Errorf("%s: the keys file holds %q, want %q", by, got, want)
		}
		r.wantNothingLeft()
	}
}

// TestReleaseLeavesAnAdministratorsCommandAsItWas, of which ours had taken the place.
func TestReleaseLeavesAnAdministratorsCommandAsItWas(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByCommand)
	key, admins := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ed25519")
	r.adminScript("/usr/local/bin/keys", admins)
	r.SSHDConfig("AuthorizedKeysCommand /usr/local/bin/keys %u\nAuthorizedKeysCommandUser nobody\n" + noPasswords)
	r.StartSSHD()
	files, command := r.sshdFiles(), r.commandOf(testUser)
	r.pass(bound(t, key), How{})
	r.release(false)
	r.wantKey(key, true)
	r.wantKey(admins, true)
	if diff := cmp.Diff(files, r.sshdFiles()); diff != "" {
		t.Errorf("sshd's files (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(command, r.commandOf(testUser)); diff != "" {
		t.Errorf("command (-before +after):\n%s", diff)
	}
	r.remove(helperPath)
	r.wantKey(key, true)
	r.wantKey(admins, true)
}

// TestReleaseDoesWithoutALogonUserWhoIsGone: the keys file has gone along.
func TestReleaseDoesWithoutALogonUserWhoIsGone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	r.pass(bound(t, testmachine.NewKey(t, "ed25519")), How{})
	r.Run(t, "userdel", "--remove", testUser)
	if released := r.release(false); !released.Opened || released.Password != "on" || len(released.Files) > 0 {
		t.Errorf("released %+v", released)
	}
	r.wantNothingLeft()
}

// TestAnAgentThatIsStartedAgainBindsWhatAReleaseHadOpened: it was not finished.
func TestAnAgentThatIsStartedAgainBindsWhatAReleaseHadOpened(t *testing.T) {
	t.Parallel()
	for _, by := range []Delivery{ByCommand, ByBoth} {
		t.Run(string(by), func(t *testing.T) {
			t.Parallel()
			r, key := newBoundRig(t, by)
			seen := bound(t, key)
			r.Run(t, "chmod", "0777", "/home/"+testUser)
			_, err := r.agent().Release(context.Background(), ReleaseHow{})
			r.wantNotKept(key, err, "chmod")
			r.wantPassword(true)
			r.Run(t, "chmod", "0755", "/home/"+testUser)
			r.pass(seen, How{})
			r.wantKey(key, true)
			r.wantPassword(false)
		})
	}
}
