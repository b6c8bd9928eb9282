package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// keepLoggingIn logs a user in over and over, some at a time. What it returns ends that
// and checks that none was refused. While sshd loads its configuration it may drop
// those who have just called, whose client tries again.
func (i *instance) keepLoggingIn(user string, key testmachine.Key) (stop func()) {
	const clients = 3
	var group sync.WaitGroup
	var mu sync.Mutex
	done, logons, dropped, failed := make(chan struct{}), 0, 0, []error(nil)
	once := func() {
		err := i.logOn(user, byKey(key))
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			logons++
		case neverMet(err):
			dropped++
		default:
			failed = append(failed, err)
		}
	}
	for range clients {
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					once()
				}
			}
		})
	}
	end := sync.OnceFunc(func() {
		close(done)
		group.Wait()
	})
	i.t.Cleanup(end)
	return func() {
		i.t.Helper()
		end()
		fmt.Printf("logons meanwhile: %d, dropped by an sshd that was loading its configuration: %d\n", logons, dropped)
		if len(failed) > 0 || logons < clients {
			i.t.Errorf("%d logons, of which failed: %v", logons, failed)
		}
	}
}

// neverMet tells whether a logon failed before an sshd had answered.
func neverMet(err error) bool {
	text := err.Error()
	return strings.Contains(text, "Connection refused") || strings.Contains(text, "kex_exchange_identification")
}

// stripOfHelper makes an installed package one of before there was a helper.
func (i *instance) stripOfHelper() {
	i.t.Helper()
	i.Run(i.t, "sh", "-ec", `
		rm `+helperPath+`
		userdel latchkey-keys
		rmdir `+index.Dir+`
		chmod 0700 `+agent.StateDir+`
		sed -i /keys/d /usr/lib/sysusers.d/latchkey.conf /usr/lib/tmpfiles.d/latchkey.conf
		sed -i 's|^d /var/lib/latchkey .*|d /var/lib/latchkey 0700 root root -|' /usr/lib/tmpfiles.d/latchkey.conf
		sed -i s/StateDirectoryMode=.*/StateDirectoryMode=0700/ /usr/lib/systemd/system/`+agentUnit)
}

// TestFromFileToCommandAndBackNoLogonFails, from a version that had no helper: nobody
// who logs in all the while is refused.
func TestFromFileToCommandAndBackNoLogonFails(t *testing.T) {
	own := testmachine.NewKey(t, "ed25519")
	i := newInstance(t)
	newer := deb(t, currentVersion)
	i.installInImage(deb(t, olderVersion))
	i.stripOfHelper()
	i.endpoint.loginAs(ecsUser)
	i.AuthorizedKeys(ecsUser, own.Line)
	key := i.endpoint.bindNew("first")
	i.start()
	i.wantBound(ecsUser, key)
	if got := i.stat(agent.StateDir); got != "700 root root" {
		t.Fatalf("%s is %s before the upgrade", agent.StateDir, got)
	}
	byFile, sshd := i.ReadFile(ecsKeys), i.run("sshd", "-T")
	wantUndisturbed := i.stay(i.ownKey())

	stop := i.keepLoggingIn(ecsUser, key)
	i.install(newer)
	i.wantHelperAsPackaged()
	i.switchTo(agent.ByCommand)
	if got := i.ReadFile(ecsKeys); got != own.Line+"\n" {
		t.Errorf("by command, authorized_keys holds\n%s", got)
	}
	i.wantMethods(ecsUser, "publickey")
	i.switchTo(agent.ByFile)
	stop()
	i.wantBound(ecsUser, key)
	if diff := cmp.Diff([]string{byFile, sshd}, []string{i.ReadFile(ecsKeys), i.run("sshd", "-T")}); diff != "" {
		t.Errorf("authorized_keys and sshd's configuration (-before +after):\n%s", diff)
	}
	if left := i.run("find", index.Dir, "-mindepth", "1"); left != "" {
		t.Errorf("an index is still there: %s", left)
	}
	wantUndisturbed()
}

// switchTo edits the configuration of an instance that runs, and waits until its agent
// has gone all the way.
func (i *instance) switchTo(delivery agent.Delivery) {
	i.t.Helper()
	i.deliverBy(delivery)
	byFile := delivery != agent.ByCommand
	i.await("the key is delivered by "+string(delivery), func() bool {
		status := i.status()
		_, err := os.Stat(i.Path(index.Bound))
		return (status.KeysFile != "") == byFile && (err != nil) == byFile && len(status.Elsewhere) == 0 && len(status.Faults) == 0
	})
	if got := i.status(); got.Password != "off" {
		i.t.Errorf("by %s, status says that passwords are %s", delivery, got.Password)
	}
}

// deliver has the key delivered in that way from the next pass on.
func (v *victim) deliver(delivery agent.Delivery) {
	v.t.Helper()
	v.delivery = delivery
	v.deliverBy(delivery)
}

// wantBoundByCommand checks the instance when a bind by command is over.
func (v *victim) wantBoundByCommand() {
	v.t.Helper()
	v.wantBound(ecsUser, v.key)
	v.wantByCommand()
	v.wantIn(ecsUser, byKey(v.own))
	if diff := cmp.Diff(v.ownLines, v.ReadFile(ecsKeys)); diff != "" {
		v.t.Errorf("authorized_keys (-before +after):\n%s", diff)
	}
	v.wantNoLeftovers()
}

// cutAndLook cuts the power at a moment of a pass. At a boot without any agent one of
// the ways lets in as things lie; the next boot ends as it should.
func (v *victim) cutAndLook(at moment, ways ...way) {
	v.t.Helper()
	v.cut(at, v.applying)
	mask := v.Path("/etc/systemd/system/" + agentUnit)
	if err := os.Symlink("/dev/null", mask); err != nil {
		v.t.Fatal(err)
	}
	v.start()
	letsIn := func(w way) bool { return v.logOn(ecsUser, w) == nil }
	if !slices.ContainsFunc(ways, letsIn) {
		v.t.Errorf("%v: nobody is let in", at)
	}
	if err := os.Remove(mask); err != nil {
		v.t.Fatal(err)
	}
	v.restart()
	v.wantBoundByCommand()
}

// commandCuts is how often each test of delivery by command cuts the power.
const commandCuts = 3

func TestAPowerCutAtAnyPointOfABindByCommandLetsSomebodyIn(t *testing.T) {
	v := newVictim(t)
	v.deliver(agent.ByCommand)
	v.bind()
	whole := v.follow(toItsEnd, v.applying)
	v.wantBoundByCommand()
	for _, at := range spread(commandCuts, moment{events: whole.events}) {
		v.unbind()
		v.bind()
		v.cutAndLook(at, byKey(v.key), byPassword(secret))
	}
	v.wantMidway(commandCuts - 1)
}

func TestAPowerCutAtAnyPointOfTheSwitchToTheCommandLetsTheKeyIn(t *testing.T) {
	v := newVictim(t)
	v.bind()
	v.run("latchkey", "apply")
	v.aboutToSwitch()
	whole := v.follow(toItsEnd, v.applying)
	v.wantBoundByCommand()
	for _, at := range spread(commandCuts, moment{events: whole.events}) {
		v.deliver(agent.ByFile)
		v.run("latchkey", "apply")
		v.aboutToSwitch()
		v.cutAndLook(at, byKey(v.key))
	}
	v.wantMidway(commandCuts - 1)
}

// aboutToSwitch leaves the switch from file to command to the next apply.
func (v *victim) aboutToSwitch() {
	v.t.Helper()
	v.run("systemctl", "stop", agentUnit)
	v.deliver(agent.ByCommand)
}
