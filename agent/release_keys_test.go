package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

func TestReleaseKeepsAKeyThatWasInTheIndexAsAPlainLine(t *testing.T) {
	t.Parallel()
	for _, remove := range []bool{false, true} {
		r := newRig(t)
		r.deliverBy(ByCommand)
		r.AuthorizedKeys(testUser, "# mine")
		r.StartSSHD()
		files, key := r.sshdFiles(), testmachine.NewKey(t, "ed25519")
		r.pass(bound(t, key), How{})
		r.release(remove)
		r.wantKey(key, !remove)
		r.wantPassword(true)
		want := map[bool]string{false: strings.TrimSpace(key.Line) + "\n# mine\n", true: "# mine\n"}[remove]
		if diff := cmp.Diff(want, r.ReadFile(keysFile)); diff != "" {
			t.Errorf("keys file (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(files, r.sshdFiles()); diff != "" || r.exists(index.Bound) {
			t.Errorf("sshd's files (-before +after):\n%s", diff)
		}
	}
}

// noFileFor are machines on which the key of a command finds no file that sshd would
// take it from.
var noFileFor = map[string]struct {
	spoil func(*rig)
	says  string
	gone  bool // the account cannot be logged in to
}{
	"no keys file": {
		spoil: func(r *rig) { r.Run(r.t, "sed", "-i", "1iAuthorizedKeysFile none", mainFile); r.hangUp() },
		says:  "AuthorizedKeysFile",
	},
	"the file is a FIFO": {
		spoil: func(r *rig) { r.asUser("mkdir -m 700 .ssh; mkfifo .ssh/authorized_keys") },
		says:  "not a regular file",
	},
	"its folder is a link": {
		spoil: func(r *rig) { r.asUser("ln -s /tmp .ssh") },
		says:  "/home/" + testUser + "/.ssh",
	},
	"the home is gone": {
		spoil: func(r *rig) { r.remove("/home/" + testUser) },
		says:  "create it for its user",
	},
	"the home is writable by all": {
		spoil: func(r *rig) { r.Run(r.t, "chmod", "0777", "/home/"+testUser) },
		says:  "chmod",
	},
	"the account is gone": {
		spoil: func(r *rig) { r.Run(r.t, "userdel", testUser) },
		says:  "no such user",
		gone:  true,
	},
}

// TestReleaseOpensPasswordsAndKeepsTheCommandWhereNoFileKeepsTheKey, until it is
// forced: then nothing of ours is left.
func TestReleaseOpensPasswordsAndKeepsTheCommandWhereNoFileKeepsTheKey(t *testing.T) {
	t.Parallel()
	for name, c := range noFileFor {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, key := newBoundRig(t, ByCommand)
			c.spoil(r)
			for range 2 {
				released, err := r.agent().Release(context.Background(), ReleaseHow{})
				r.wantNotKept(key, err, c.says)
				if released.Password != "on" || !r.exists(index.Bound) || !r.exists(StateDir+"/"+stateFile) {
					t.Errorf("released %+v; index there: %v", released, r.exists(index.Bound))
				}
				if policy := r.ReadFile(dropIn); !strings.Contains(policy, helperName) || strings.Contains(policy, "PasswordAuthentication") {
					t.Errorf("the policy:\n%s", policy)
				}
			}
			if !c.gone {
				r.wantKey(key, true)
				r.wantPassword(true)
			}
			_, err := r.agent().Release(context.Background(), ReleaseHow{Force: true})
			r.wantNotKept(key, err, c.says)
			if r.exists(dropIn) || r.exists(index.Bound) || r.exists(StateDir+"/"+stateFile) {
				t.Error("something of latchkey's is left")
			}
			if !c.gone {
				r.wantKey(key, false)
				r.wantPassword(true)
			}
		})
	}
}

// wantNotKept checks that a release says of the key that it cannot be kept, and why.
func (r *rig) wantNotKept(key testmachine.Key, err error, why string) {
	r.t.Helper()
	if !errors.Is(err, ErrKeyNotKept) || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), ssh.FingerprintSHA256(key.Signer.PublicKey())) {
		r.t.Errorf("release: %v, want %v, of that key, for %q", err, ErrKeyNotKept, why)
	}
}

// TestReleaseLocksNobodyOutWherePasswordsWereOffBefore: sshd takes the key from the
// command, but would not take it from a home that others can write to.
func TestReleaseLocksNobodyOutWherePasswordsWereOffBefore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		delivery Delivery
		config   string
	}{
		"by command":               {ByCommand, ""},
		"by both":                  {ByBoth, ""},
		"others ask the index too": {ByCommand, helperForAll},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.deliverBy(c.delivery)
			r.SSHDConfig("PasswordAuthentication no\n" + c.config + testmachine.DefaultSSHDConfig)
			r.StartSSHD()
			files, key := r.sshdFiles(), testmachine.NewKey(t, "ed25519")
			r.pass(bound(t, key), How{})
			r.Run(t, "chmod", "0777", "/home/"+testUser)
			released, err := r.agent().Release(context.Background(), ReleaseHow{})
			r.wantNotKept(key, err, "chmod")
			if released.Password != "off" {
				t.Errorf("released %+v", released)
			}
			r.wantKey(key, true)
			r.Run(t, "chmod", "0755", "/home/"+testUser)
			r.release(false)
			r.wantKey(key, true)
			if diff := cmp.Diff(files, r.sshdFiles()); diff != "" || r.exists(index.Bound) {
				t.Errorf("sshd's files (-before +after):\n%s", diff)
			}
		})
	}
}

// TestAKeyThatAReleaseHasPutIntoAFileInVainGoesWithItsUnbinding, since it is known to
// be there.
func TestAKeyThatAReleaseHasPutIntoAFileInVainGoesWithItsUnbinding(t *testing.T) {
	t.Parallel()
	r, key := newBoundRig(t, ByCommand)
	r.Run(t, "chmod", "0777", "/home/"+testUser)
	_, err := r.agent().Release(context.Background(), ReleaseHow{})
	r.wantNotKept(key, err, "chmod")
	if _, keys := r.blockHolds(key); keys != 1 {
		t.Errorf("the block has %d keys", keys)
	}
	r.pass(unbound(), How{Now: true})
	if holds, _ := r.blockHolds(key); holds {
		t.Error("the block is still there")
	}
	r.Run(t, "chmod", "0755", "/home/"+testUser)
	r.wantKey(key, false)
}

// TestAForcedReleaseLeavesTheKeyToAnSSHDThatCannotBeTold: it takes no passwords, and
// the helper may be gone a moment later.
func TestAForcedReleaseLeavesTheKeyToAnSSHDThatCannotBeTold(t *testing.T) {
	t.Parallel()
	r, key := newBoundRig(t, ByCommand)
	const bad = "/etc/ssh/sshd_config.d/90-bad.conf"
	r.WriteFile(bad, "Nonsense yes\n", 0o644)
	if _, err := r.agent().Release(context.Background(), ReleaseHow{}); err == nil || !strings.Contains(err.Error(), bad) {
		t.Errorf("release: %v, want %s named", err, bad)
	}
	r.wantKey(key, true)
	_, err := r.agent().Release(context.Background(), ReleaseHow{Force: true})
	r.wantNotKept(key, err, bad)
	if said := strings.Count(err.Error(), "Nonsense"); said != 1 {
		t.Errorf("sshd's complaint is said %d times, want once: %v", said, err)
	}
	if r.exists(dropIn) {
		t.Error("the drop-in is still there")
	}
	r.remove(helperPath)
	r.wantKey(key, true)
	r.remove(bad)
	r.release(false)
	r.wantKey(key, true)
	r.wantPassword(true)
	if r.exists(index.Bound) || r.exists(StateDir+"/"+stateFile) {
		t.Error("something of latchkey's is left")
	}
}

// TestReleaseIsNotHeldUpByAKeyThatTheCommandDoesNotLetInEither: nothing is lost.
func TestReleaseIsNotHeldUpByAKeyThatTheCommandDoesNotLetInEither(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByCommand)
	key := testmachine.NewKey(t, "ed25519")
	r.pass(bound(t, key), How{})
	r.SSHDConfig("PubkeyAcceptedAlgorithms ecdsa-sha2-nistp256\n" + testmachine.DefaultSSHDConfig)
	r.release(false)
	if !strings.Contains(r.ReadFile(keysFile), strings.TrimSpace(key.Line)) {
		t.Error("the key is in no file")
	}
}

// TestReleaseNamesTheLinesOfOthersThatAskTheHelper, and no others.
func TestReleaseNamesTheLinesOfOthersThatAskTheHelper(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deliverBy(ByCommand)
	r.SSHDConfig("AuthorizedKeysCommand " + helperPath + " %u %U %h %t %k\nAuthorizedKeysCommandUser " + HelperUser + "\n" +
		testmachine.DefaultSSHDConfig + "Match User git\n\tAuthorizedKeysCommand /bin/echo " + helperName + "s\n")
	r.WriteFile("/etc/ssh/sshd_config.d/50-git.conf", "Match Group git\n\tAuthorizedKeysCommand "+helperPath+" --index=/srv/git.index %u\n", 0o644)
	r.pass(bound(t, testmachine.NewKey(t, "ed25519")), How{})
	released := r.release(false)
	above, _, _ := strings.Cut(r.ReadFile(mainFile), "AuthorizedKeysCommand")
	want := []string{fmt.Sprintf("%s:%d", mainFile, strings.Count(above, "\n")+1), "/etc/ssh/sshd_config.d/50-git.conf:2"}
	if diff := cmp.Diff(want, released.HelperLines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
