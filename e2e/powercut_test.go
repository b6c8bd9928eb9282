package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// midwayCuts is in how many places, at least, a test is to have cut the power
// before a pass was over. A cut that came too late proves nothing.
const midwayCuts = 10

// Where a pass writes to what outlives a power cut.
const (
	ecsKeys   = "/home/" + ecsUser + "/.ssh/authorized_keys"
	stateFile = agent.StateDir + "/state.json"
)

var writtenFolders = []string{filepath.Dir(ecsKeys), "/etc/ssh", "/etc/ssh/sshd_config.d", agent.StateDir, index.Dir}

// victim is an instance whose power is cut again and again.
type victim struct {
	*instance
	own      testmachine.Key // ecs-user's
	ownLines string          // what ecs-user had in authorized_keys before the first bind
	unbound  string          // sshd's configuration with no key bound
	key      testmachine.Key // the one that is bound, or was bound last
	delivery agent.Delivery  // how it is to be delivered
	files    []string        // what writtenFolders hold when no pass was cut off
	midway   int             // how often a pass was cut off before it was over
}

// newVictim returns an instance that runs, unbound, with ecs-user as the logon
// user.
func newVictim(t *testing.T) *victim {
	t.Helper()
	own := testmachine.NewKey(t, "ed25519")
	v := &victim{own: own, delivery: agent.ByFile, ownLines: "# mine\r\n\n\tnot a key at all\n" + own.Line + "\n# no newline"}
	v.instance = boot(t, func(i *instance) {
		i.endpoint.loginAs(ecsUser)
		i.AuthorizedKeys(ecsUser)
		i.WriteFile(ecsKeys, v.ownLines, 0o600)
	})
	v.unbound = v.run("sshd", "-T")
	return v
}

// moment is a point of a pass.
type moment struct {
	events int           // the pass has changed so many things
	after  time.Duration // or, if events is 0, it has run for so long
}

func (m moment) String() string {
	if m.events == 0 {
		return fmt.Sprintf("after %v", m.after.Round(time.Millisecond))
	}
	return fmt.Sprintf("at event %d", m.events)
}

// toItsEnd does not come before a pass is over.
var toItsEnd = moment{events: 1 << 20}

// spread are n moments over all of a pass that makes so many events, or takes so
// long. The first is at its begin; its end is none.
func spread(n int, whole moment) []moment {
	var moments []moment
	for at := range n {
		m := moment{after: whole.after * time.Duration(at) / time.Duration(n)}
		if whole.events > 0 {
			m = moment{events: 1 + (whole.events-1)*at/n}
		}
		moments = append(moments, m)
	}
	return moments
}

// follow begins a pass and returns at a moment of it, or when begin's function
// says that it is over. It returns the moment at which that was.
func (v *victim) follow(until moment, begin func() (over func() bool)) moment {
	v.t.Helper()
	watcher := v.watchFolders()
	defer watcher.Close()
	started := time.Now()
	over := begin()
	timer := time.NewTimer(bootTimeout)
	if until.events == 0 {
		timer.Reset(until.after)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var now moment
	for {
		select {
		case <-watcher.Events:
			now.events++
		case <-timer.C:
			return now
		case <-tick.C:
			if over() {
				now.after = time.Since(started)
				return now
			}
		}
		if until.events > 0 && now.events == until.events {
			return now
		}
	}
}

// watchFolders returns what tells of every change where a pass writes.
func (v *victim) watchFolders() *fsnotify.Watcher {
	v.t.Helper()
	watcher, err := fsnotify.NewWatcher()
	for _, folder := range writtenFolders {
		if err == nil {
			err = watcher.Add(v.Path(folder))
		}
	}
	if err != nil {
		v.t.Fatal(err)
	}
	return watcher
}

// halting delays what changes a file, once it has: a pass goes through ten changes
// in a millisecond, and the power would always be gone too late.
var halting = []string{
	"strace", "-f", "-o", "/dev/null", "-e", "trace=fchmod,fchown,fsync,renameat2,unlinkat",
	"-e", "inject=fchmod,fchown,fsync,renameat2,unlinkat:delay_exit=20000",
}

// applying has `latchkey apply` run.
func (v *victim) applying() (over func() bool) {
	v.t.Helper()
	cmd := v.inside(slices.Concat(halting, []string{"latchkey", "apply"})...)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Run() }()
	return func() bool { return len(ended) > 0 }
}

// booting switches the instance on.
func (v *victim) booting() (over func() bool) {
	v.t.Helper()
	v.switchOn()
	return v.isRecorded
}

// isRecorded tells whether a pass for what the endpoint says is over: to record
// that is its last step. The state on the disk is read whether the instance is
// on or off.
func (v *victim) isRecorded() bool {
	v.t.Helper()
	var state agent.State
	text, err := os.ReadFile(v.Path(stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err := errors.Join(err, json.Unmarshal(text, &state)); err != nil {
		v.t.Fatalf("read the state: %v", err)
	}
	if state.Applied == nil || state.Unfinished {
		return false
	}
	bound := state.Applied.Binding.Keys
	if v.endpoint.Instance().PublicKey == "" {
		return len(bound) == 0
	}
	if (state.Applied.KeysFile != "") != (v.delivery == agent.ByFile) {
		return false
	}
	return len(bound) == 1 && bound[0].Fingerprint() == ssh.FingerprintSHA256(v.key.Signer.PublicKey())
}

// cutAndBoot cuts the power at a moment of a pass and has the next boot.
func (v *victim) cutAndBoot(at moment, begin func() (over func() bool)) {
	v.t.Helper()
	v.cut(at, begin)
	v.start()
}

// cut cuts the power at a moment of a pass.
func (v *victim) cut(at moment, begin func() (over func() bool)) {
	v.t.Helper()
	v.follow(at, begin)
	v.powerCut()
	cutOff := !v.isRecorded()
	if cutOff {
		v.midway++
	}
	v.t.Logf("power cut %v; in the middle of the pass: %v", at, cutOff)
	if keys := v.ReadFile(ecsKeys); !strings.HasSuffix(keys, v.ownLines) {
		v.t.Errorf("%v: the cut left this in authorized_keys:\n%s", at, keys)
	}
}

// wantBoundAgain checks the instance after a boot with the key bound.
func (v *victim) wantBoundAgain() {
	v.t.Helper()
	v.wantBound(ecsUser, v.key)
	keys := v.ReadFile(ecsKeys)
	if !strings.HasSuffix(keys, "\n"+v.ownLines) || strings.Count(keys, v.key.Line) != 1 || strings.Count(keys, "ssh-ed25519") != 2 {
		v.t.Errorf("authorized_keys is to hold the bound key and then the user's own lines:\n%s", keys)
	}
	v.wantNoLeftovers()
}

// wantUnboundAgain checks the instance after a boot with no key bound.
func (v *victim) wantUnboundAgain() {
	v.t.Helper()
	v.wantIn(ecsUser, byPassword(secret), byKey(v.own))
	v.wantOut(ecsUser, byKey(v.key))
	if diff := cmp.Diff(v.ownLines, v.ReadFile(ecsKeys)); diff != "" {
		v.t.Errorf("authorized_keys (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(v.unbound, v.run("sshd", "-T")); diff != "" {
		v.t.Errorf("sshd -T (-before +after):\n%s", diff)
	}
	if got := v.status(); got.Password != "on" || got.Pending != nil || len(got.Faults) > 0 {
		v.t.Errorf("status: password %s, pending %+v, faults %+v", got.Password, got.Pending, got.Faults)
	}
	v.wantNoLeftovers()
}

// wantNoLeftovers checks that no temporary file has stayed.
func (v *victim) wantNoLeftovers() {
	v.t.Helper()
	var names []string
	for _, folder := range writtenFolders {
		entries, err := os.ReadDir(v.Path(folder))
		if err != nil {
			v.t.Fatal(err)
		}
		for _, entry := range entries {
			names = append(names, filepath.Join(folder, entry.Name()))
		}
	}
	if v.files == nil {
		v.files = names
	}
	if diff := cmp.Diff(v.files, names); diff != "" {
		v.t.Errorf("files (-of a pass that was not cut off +now):\n%s", diff)
	}
}

func (v *victim) bind() {
	v.t.Helper()
	v.key = v.endpoint.bindNew("e2e")
}

func (v *victim) unbind() {
	v.t.Helper()
	v.endpoint.Unbind()
	v.run("latchkey", "apply")
}

func (v *victim) wantMidway(want int) {
	v.t.Helper()
	if v.midway < want {
		v.t.Errorf("the power was cut in the middle of a pass %d times, want %d at least", v.midway, want)
	}
}

func TestAPowerCutAtAnyPointOfApplyIsMendedByTheNextBoot(t *testing.T) {
	v := newVictim(t)
	v.bind()
	whole := v.follow(toItsEnd, v.applying)
	v.wantBoundAgain()
	moments := slices.Concat(spread(12, moment{events: whole.events}), spread(3, moment{after: whole.after}))
	for _, at := range moments {
		v.unbind()
		v.bind()
		v.cutAndBoot(at, v.applying)
		v.wantBoundAgain()
	}
	v.wantMidway(midwayCuts)
}

func TestAPowerCutAtAnyPointOfTheBindAtBootIsMendedByTheNextBoot(t *testing.T) {
	v := newVictim(t)
	v.shutDown()
	v.bind()
	whole := v.follow(toItsEnd, v.booting)
	v.awaitStarted()
	v.wantBoundAgain()
	for _, at := range spread(12, moment{events: whole.events}) {
		v.unbind()
		v.powerCut()
		v.bind()
		v.cutAndBoot(at, v.booting)
		v.wantBoundAgain()
	}
	v.wantMidway(midwayCuts)
}

func TestAPowerCutAtAnyPointOfAnUnbindIsMendedByTheNextBoot(t *testing.T) {
	v := newVictim(t)
	v.bind()
	v.run("latchkey", "apply")
	v.endpoint.Unbind()
	whole := v.follow(toItsEnd, v.applying)
	v.wantUnboundAgain()
	for _, at := range spread(8, moment{events: whole.events}) {
		v.bind()
		v.run("latchkey", "apply")
		v.endpoint.Unbind()
		v.cutAndBoot(at, v.applying)
		v.wantUnboundAgain()
	}
	v.wantMidway(midwayCuts / 2)
}
