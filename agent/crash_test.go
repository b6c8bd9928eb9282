package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/fsnotify/fsnotify"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/metadata"
)

// Every pass and release below is made by a process of its own, which is killed by
// SIGKILL: nothing is cleaned up behind it.

// writtenTo are the folders in which an applier works. Each event in one of
// them is a point at which it can be killed.
func (r *rig) writtenTo() []string {
	folders := []string{"/home/" + testUser + "/.ssh", "/etc/ssh", "/etc/ssh/sshd_config.d", StateDir, RunDir}
	if r.exists(index.Dir) {
		folders = append(folders, index.Dir)
	}
	return folders
}

// passKilledAt makes a pass in a process that is killed at the n-th event in
// the folders that it writes to. It tells whether the process was still alive.
func (r *rig) passKilledAt(n int, seen metadata.Binding) (killed bool) {
	r.t.Helper()
	return r.killedAt(n, r.errand(&seen, How{Now: true}))
}

// killedAt is passKilledAt for any errand.
func (r *rig) killedAt(n int, cmd *exec.Cmd) (killed bool) {
	r.t.Helper()
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		r.t.Fatal(err)
	}
	defer notify.Close()
	for _, folder := range r.writtenTo() {
		if err := notify.Add(r.Path(folder)); err != nil {
			r.t.Fatal(err)
		}
	}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case <-notify.Events:
			if n--; n == 0 {
				_ = cmd.Process.Kill()
			}
		case err := <-ended:
			if err != nil && !wasKilled(err) {
				r.t.Fatalf("applier: %v\n%s", err, said.String())
			}
			return err != nil
		}
	}
}

func wasKilled(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
}

// passKilledBySSHD makes a pass in a process that is killed by the n-th sshd
// that it starts.
func (r *rig) passKilledBySSHD(n int, seen metadata.Binding) (killed bool) {
	r.t.Helper()
	return r.killedBySSHD(n, r.errand(&seen, How{Now: true}))
}

// killedBySSHD is passKilledBySSHD for any errand.
func (r *rig) killedBySSHD(n int, errand *exec.Cmd) (killed bool) {
	r.t.Helper()
	r.wrapSSHD(fmt.Sprintf(`case "$*" in *-D*) ;; *)
	n=0; while read -r line; do n=$((n+1)); done </tmp/sshd-calls
	[ "$n" -ge %d ] && [ "$PPID" = "$(cat /tmp/applier)" ] && kill -9 "$PPID"
esac`, n))
	r.WriteFile("/tmp/sshd-calls", "", 0o666)
	program, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `echo $$ >"$1"; exec "$2"`, "sh", r.Path("/tmp/applier"), program)
	cmd.Env = errand.Env
	out, err := cmd.CombinedOutput()
	if err != nil && !wasKilled(err) {
		r.t.Fatalf("applier: %v\n%s", err, out)
	}
	r.wrapSSHD("")
	return err != nil
}

// change is a pass that is to be killed: from one binding to another, with
// something else between.
type change struct {
	name     string
	from, to func(t *testing.T, first, second testmachine.Key) metadata.Binding
	between  func(r *rig)
	// by is how keys are delivered before and from then on; by file where left out.
	by [2]Delivery
}

// firstKey is a binding to the first key, noKey none.
func firstKey(t *testing.T, first, _ testmachine.Key) metadata.Binding   { return bound(t, first) }
func secondKey(t *testing.T, _, second testmachine.Key) metadata.Binding { return bound(t, second) }
func noKey(*testing.T, testmachine.Key, testmachine.Key) metadata.Binding {
	return unbound()
}

// changes are killed at points of their own each, and together at all there are.
var changes = []change{
	{name: "bind", from: noKey, to: firstKey},
	{name: "rebind", from: firstKey, to: secondKey},
	{name: "unbind", from: firstKey, to: noKey},
	{name: "put back", from: firstKey, to: firstKey, between: func(r *rig) { r.remove(dropIn); r.hangUp() }},
	{name: "bind by command", from: noKey, to: firstKey, by: [2]Delivery{ByCommand, ByCommand}},
	{name: "rebind by command", from: firstKey, to: secondKey, by: [2]Delivery{ByCommand, ByCommand}},
	{name: "unbind by command", from: firstKey, to: noKey, by: [2]Delivery{ByCommand, ByCommand}},
	{name: "file to command", from: firstKey, to: firstKey, by: [2]Delivery{ByFile, ByCommand}},
	{name: "command to file", from: firstKey, to: firstKey, by: [2]Delivery{ByCommand, ByFile}},
	{name: "both to command, rebound", from: firstKey, to: secondKey, by: [2]Delivery{ByBoth, ByCommand}},
}

func TestAPassKilledAnywhereLeavesAWayInAndIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	var points atomic.Int32
	t.Cleanup(func() {
		t.Logf("killed at %d points", points.Load())
		if n := points.Load(); n < 20 && !t.Failed() {
			t.Errorf("killed at %d points, want 20 or more", n)
		}
	})
	for i, change := range changes {
		t.Run(change.name+" by file events", func(t *testing.T) {
			t.Parallel()
			points.Add(killOften(t, change, (*rig).passKilledAt, 1+i, 13))
		})
		t.Run(change.name+" by sshd calls", func(t *testing.T) {
			t.Parallel()
			points.Add(killOften(t, change, (*rig).passKilledBySSHD, 1+i%2, 2))
		})
	}
}

// killOften makes the change again and again, killed at first and then at a later point
// each time, until it comes to its end. Every third time the machine is restarted
// before the next pass. It returns how many times it was killed.
func killOften(t *testing.T, change change, kill func(*rig, int, metadata.Binding) bool, first, stride int) (times int32) {
	r := newRig(t)
	r.AuthorizedKeys(testUser)
	r.WriteFile(keysFile, oddLines, 0o600)
	r.Mkdir(RunDir, 0o755)
	if change.by[0] != "" {
		r.deliverBy(change.by[0])
		r.Mkdir(index.Dir, 0o755)
	}
	r.StartSSHD()
	one, other := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ecdsa-256")
	from, to := change.from(t, one, other), change.to(t, one, other)
	for n := first; ; n, times = n+stride, times+1 {
		r.config.Apply.Delivery = cmp.Or(change.by[0], ByFile)
		r.pass(from, How{Now: true})
		if change.between != nil {
			change.between(r)
		}
		r.config.Apply.Delivery = cmp.Or(change.by[1], ByFile)
		killed := kill(r, n, to)
		if err := soundKeysFile(r.Path(keysFile)); err != nil {
			t.Fatalf("killed at %d: %v", n, err)
		}
		wayIn := func(when string) {
			if !r.offersPassword() && !r.logsIn(one) && !r.logsIn(other) {
				t.Fatalf("killed at %d, %s: no password is offered and no key logs in", n, when)
			}
		}
		wayIn("at once")
		if times%3 == 1 {
			r.StopSSHD()
			r.StartSSHD()
			r.reboot()
			wayIn("after a restart")
		}
		r.wantEnd(to, one, other)
		if !killed {
			return times
		}
	}
}

// wantEnd makes the next pass and checks that all is as it has to be.
func (r *rig) wantEnd(to metadata.Binding, first, second testmachine.Key) {
	r.t.Helper()
	r.pass(to, How{Now: true})
	isBound := to.State == metadata.Bound
	for _, key := range []testmachine.Key{first, second} {
		wanted := isBound && to.Same(bound(r.t, key))
		if holds, _ := r.blockHolds(key); holds != (wanted && r.config.Apply.Delivery.file()) {
			r.t.Errorf("%s: the block holds %.30s: %v", to.State, key.Line, holds)
		}
		lines := lookAtIndex(r.Root, testUser, nil).lines()
		if holds := slices.Contains(lines, strings.TrimSpace(key.Line)); holds != (wanted && r.config.Apply.Delivery.command()) {
			r.t.Errorf("%s: the index holds %.30s: %v", to.State, key.Line, holds)
		}
	}
	if r.offersPassword() == isBound {
		r.t.Errorf("%s: sshd offers a password: %v", to.State, !isBound)
	}
	if isBound && !r.logsIn(first) && !r.logsIn(second) {
		r.t.Errorf("%s: the key does not log in", to.State)
	}
	if state := r.state(); state.Unfinished || !state.Applied.Binding.Same(to) || state.Applied.PasswordClosed != isBound {
		r.t.Errorf("%s: remembered %+v", to.State, state.Applied)
	}
	for _, folder := range r.writtenTo() {
		if left, _ := filepath.Glob(r.Path(folder) + "/.latchkey-*"); len(left) > 0 {
			r.t.Errorf("%s: left behind: %s", to.State, left)
		}
	}
	if again := r.pass(to, How{}); len(again.Done) > 0 {
		r.t.Errorf("%s: the pass after that took %v, want nothing left to do", to.State, again.verbs())
	}
}

func TestTheLockOfAKilledApplierIsFree(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.wrapSSHD(`case "$*" in *-T*) exec cat /tmp/never;; esac`)
	r.Run(t, "mkfifo", "/tmp/never")
	seen := bound(t, testmachine.NewKey(t, "ed25519"))
	cmd := r.errand(&seen, How{})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	held := func() bool {
		unlock, err := r.agent().tryLock("lock")
		if err == nil {
			unlock()
		}
		return errors.Is(err, ErrBusy)
	}
	poll(t, "the applier holds the lock", held)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.agent().Pass(ctx, seen, How{}); !errors.Is(err, ErrBusy) {
		t.Errorf("a second pass: %v, want ErrBusy", err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	poll(t, "the lock is free", func() bool { return !held() })
}
