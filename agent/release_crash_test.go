package agent

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// noPasswords is a configuration of sshd's own under which nothing but a key lets in.
const noPasswords = "PasswordAuthentication no\nKbdInteractiveAuthentication no\n" + testmachine.DefaultSSHDConfig

// releases are those that are to be killed. Each begins at a point of its own, so that
// together they are killed at most of those there are.
var releases = []struct {
	name   string
	by     Delivery
	how    ReleaseHow
	config string // sshd's own; the usual one where left out
}{
	{name: "by file", by: ByFile},
	{name: "by file, passwords off before", by: ByFile, config: noPasswords},
	{name: "by file, key removed", by: ByFile, how: ReleaseHow{RemoveKeys: true}},
	{name: "by file, forced, key removed", by: ByFile, how: ReleaseHow{RemoveKeys: true, Force: true}},
	{name: "by command", by: ByCommand},
	{name: "by command, passwords off before", by: ByCommand, config: noPasswords},
	{name: "by command, forced, passwords off before", by: ByCommand, how: ReleaseHow{Force: true}, config: noPasswords},
	{name: "by command, key removed", by: ByCommand, how: ReleaseHow{RemoveKeys: true}},
	{name: "by both, forced", by: ByBoth, how: ReleaseHow{Force: true}},
	{name: "by both, key removed", by: ByBoth, how: ReleaseHow{RemoveKeys: true}},
	{name: "by both, passwords off before", by: ByBoth, config: noPasswords},
}

// TestAReleaseKilledAnywhereLeavesAWayInAndIsFinished by the next one, or by the agent,
// should it be started again.
func TestAReleaseKilledAnywhereLeavesAWayInAndIsFinished(t *testing.T) {
	t.Parallel()
	var points atomic.Int32
	t.Cleanup(func() {
		t.Logf("killed at %d points", points.Load())
		if n := points.Load(); n < 25 && !t.Failed() {
			t.Errorf("killed at %d points, want 25 or more", n)
		}
	})
	for i, c := range releases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := newKilledRelease(t, c.by, c.how, c.config)
			for _, by := range []struct {
				kill          func(*rig, int, *exec.Cmd) bool
				first, stride int
			}{
				{(*rig).killedAt, 1 + 2*i, 24},
				{(*rig).killedBySSHD, 1 + i%6, 6},
			} {
				for n := by.first; k.once(n, by.kill); n += by.stride {
					points.Add(1)
				}
			}
		})
	}
}

// killedRelease is a machine that is bound, and released by a process that is killed,
// again and again.
type killedRelease struct {
	*rig
	how   ReleaseHow
	key   testmachine.Key
	files map[string]string // sshd's, before
	open  bool              // sshd's own configuration has passwords on
	times int
}

func newKilledRelease(t *testing.T, by Delivery, how ReleaseHow, config string) *killedRelease {
	t.Helper()
	r := newRig(t)
	r.AuthorizedKeys(testUser)
	r.Mkdir(RunDir, 0o755)
	if by != ByFile {
		r.deliverBy(by)
		r.Mkdir(index.Dir, 0o755)
	}
	if config != "" {
		r.SSHDConfig(config)
	}
	r.StartSSHD()
	return &killedRelease{rig: r, how: how, key: testmachine.NewKey(t, "ed25519"), files: r.sshdFiles(), open: r.offersPassword()}
}

// once has the key bound and the instance given back by a process that is killed at n,
// checks what is left, and has the next process finish it: a release, every other time
// after a restart of the machine, or every third time the agent. It tells whether the
// process was still alive at n.
func (k *killedRelease) once(n int, kill func(*rig, int, *exec.Cmd) bool) (killed bool) {
	k.t.Helper()
	k.WriteFile(keysFile, oddLines, 0o600)
	k.pass(bound(k.t, k.key), How{Now: true})
	killed = kill(k.rig, n, send(k.t, errand{Root: k.Root, Config: k.config, Release: &k.how}))
	k.wantSoundKeysFile(n)
	k.wantWayIn(n, "at once")
	if k.times%2 == 1 {
		k.StopSSHD()
		k.StartSSHD()
		k.reboot()
		k.wantWayIn(n, "after a restart")
	}
	if k.times%3 == 2 {
		k.wantEnd(bound(k.t, k.key), k.key, k.key)
	}
	k.times++
	if _, err := k.agent().Release(k.t.Context(), k.how); err != nil {
		k.t.Fatalf("killed at %d, and the next: %v", n, err)
	}
	k.wantReleased(n)
	return killed
}

// wantSoundKeysFile checks that the lines of the user's own are as they were, with the
// key in front of them at most.
func (k *killedRelease) wantSoundKeysFile(n int) {
	k.t.Helper()
	data := k.ReadFile(keysFile)
	foreign, err := authkeys.Parse([]byte(data)).WithManaged(nil)
	own := strings.TrimPrefix(string(foreign), strings.TrimSpace(k.key.Line)+"\n")
	info, _ := os.Stat(k.Path(keysFile))
	if err != nil || own != oddLines || info.Mode() != 0o600 {
		k.t.Fatalf("killed at %d: the keys file (%v) is not whole: %v\n%q", n, info.Mode(), err, data)
	}
}

// wantWayIn checks that somebody gets in: by password, or by the key. A release that is
// to remove the key from a machine with passwords off is not made here.
func (k *killedRelease) wantWayIn(n int, when string) {
	k.t.Helper()
	if !k.offersPassword() && !k.logsIn(k.key) {
		k.t.Fatalf("killed at %d, %s: no password is offered and the key does not log in", n, when)
	}
}

// wantReleased checks that nothing of latchkey's is left but the key, if it was to stay.
func (k *killedRelease) wantReleased(n int) {
	k.t.Helper()
	if k.logsIn(k.key) == k.how.RemoveKeys || k.offersPassword() != k.open {
		k.t.Errorf("killed at %d, finished: key logs in %v, passwords on %v", n, !k.how.RemoveKeys, !k.open)
	}
	if diff := cmp.Diff(k.files, k.sshdFiles()); diff != "" {
		k.t.Errorf("killed at %d: sshd's files (-before +after):\n%s", n, diff)
	}
	want := oddLines
	if !k.how.RemoveKeys {
		want = strings.TrimSpace(k.key.Line) + "\n" + oddLines
	}
	if diff := cmp.Diff(want, k.ReadFile(keysFile)); diff != "" {
		k.t.Errorf("killed at %d: the keys file (-want +got):\n%s", n, diff)
	}
	left := []string{}
	for _, folder := range k.writtenTo() {
		found, _ := filepath.Glob(k.Path(folder) + "/.latchkey-*")
		left = append(left, found...)
	}
	for _, name := range []string{index.Bound, StateDir + "/" + stateFile} {
		if k.exists(name) {
			left = append(left, name)
		}
	}
	if len(left) > 0 {
		k.t.Error(fmt.Sprintf("killed at %d, left behind:", n), left)
	}
}
