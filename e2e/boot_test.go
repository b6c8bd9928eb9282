package e2e

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// secret is the password of root and of ecsUser.
const (
	ecsUser = "ecs-user"
	secret  = "correct horse"
)

// bootTimeout bounds a boot and all else that is waited for. A boot takes about
// a second, and apply.boot_wait longer where the endpoint does not answer.
const bootTimeout = 40 * time.Second

// instance is a Debian on a network of its own. Its disk outlives a restart and
// a power cut. Tests that have one do not run in parallel: the systems would
// share one control group.
type instance struct {
	*testmachine.Machine
	t        *testing.T
	network  *network
	endpoint *endpoint

	host    int           // the process id of what runs the instance
	leader  string        // that of its PID 1, seen from outside
	ended   chan struct{} // closed when all of it is gone, nil before the first start
	console *bytes.Buffer // of the boot that runs, or ran last
}

// newInstance returns an instance that is switched off, with an endpoint that
// is on. root and ecs-user have a password that sshd takes, as cloud images have
// it; latchkey is not installed.
func newInstance(t *testing.T) *instance {
	t.Helper()
	testmachine.RequireProgram(t, "systemd-nspawn")
	i := &instance{Machine: testmachine.NewDebian(t, "bookworm"), t: t, network: newNetwork(t)}
	i.endpoint = newEndpoint(t, i.network)
	i.Host, i.Port = instanceAddress, 22
	i.WriteFile("/etc/ssh/sshd_config", "PermitRootLogin yes\n"+testmachine.DefaultSSHDConfig, 0o644)
	i.AddUser("root", secret)
	i.AddUser(ecsUser, secret)
	t.Cleanup(i.switchOff)
	return i
}

// boot returns an instance that runs and whose image had latchkey in it. before
// may change its files, and what the endpoint says, while it is off.
func boot(t *testing.T, before func(*instance)) *instance {
	t.Helper()
	i := newInstance(t)
	i.installInImage(deb(t, currentVersion))
	if before != nil {
		before(i)
	}
	i.start()
	return i
}

// start switches the instance on and waits until all that boots has started.
func (i *instance) start() {
	i.t.Helper()
	i.switchOn()
	i.awaitStarted()
}

// switchOn switches the instance on and returns as soon as it has a systemd.
func (i *instance) switchOn() {
	i.t.Helper()
	for _, made := range []string{"/dev/pts", "/dev", "/proc"} { // systemd-nspawn makes its own
		if err := unix.Unmount(i.Path(made), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			i.t.Fatalf("unmount %s: %v", made, err)
		}
	}
	i.console = new(bytes.Buffer)
	cmd := at(i.network.instance, nspawn(i.Root))
	cmd.Stdout, cmd.Stderr = i.console, i.console
	cmd.WaitDelay = time.Second
	var err error
	if i.host, i.ended, err = startOnThread(cmd); err != nil {
		i.t.Fatal(err)
	}
	i.await("there is a systemd", func() bool {
		i.leader = payload(strconv.Itoa(i.host))
		return i.leader != "" || i.isOff()
	})
	if i.isOff() {
		i.t.Fatalf("systemd-nspawn ended at once\n%s", i.console)
	}
}

// awaitStarted waits until the boot is over, and fails the test if a unit has
// failed in it.
func (i *instance) awaitStarted() {
	i.t.Helper()
	var state string
	i.await("the boot is over", func() bool {
		out, _ := i.inside("systemctl", "is-system-running").Output() // it fails for all but "running"
		state = strings.TrimSpace(string(out))
		return state == "running" || state == "degraded" || i.isOff()
	})
	if state != "running" {
		i.t.Fatalf("the boot ended %q", state)
	}
}

// restart shuts the instance down and switches it on again: another boot.
func (i *instance) restart() {
	i.t.Helper()
	i.shutDown()
	i.start()
}

// shutDown shuts the instance down in good order.
func (i *instance) shutDown() {
	i.t.Helper()
	_ = i.inside("systemctl", "poweroff").Run() // ended by the end of all
	i.await("the instance is off", i.isOff)
}

// powerCut ends every process of the instance at once.
func (i *instance) powerCut() {
	if i.isOff() {
		return
	}
	victim := i.host
	if leader, err := strconv.Atoi(payload(strconv.Itoa(i.host))); err == nil {
		victim = leader
	}
	_ = unix.Kill(victim, unix.SIGKILL) // gone already is as good
	<-i.ended
}

// switchOff ends the instance with its test, and shows what there is to see if
// that has failed.
func (i *instance) switchOff() {
	if i.t.Failed() {
		i.showEvidence()
	}
	i.powerCut()
	if i.t.Failed() && i.console != nil {
		i.t.Logf("console:\n%s", i.console)
	}
}

// showEvidence logs what a person would look at first.
func (i *instance) showEvidence() {
	if i.isOff() || i.leader == "" {
		return
	}
	for _, args := range [][]string{
		{"journalctl", "--no-hostname", "-o", "short-monotonic"},
		{"systemctl", "list-units", "--failed", "--no-legend"},
		{"systemctl", "status", "--no-pager", "--lines=0", "latchkeyd.service", "latchkey-network.socket", "ssh.service"},
		{"latchkey", "status"},
	} {
		out, err := i.inside(args...).CombinedOutput()
		i.t.Logf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (i *instance) isOff() bool {
	if i.ended == nil {
		return true
	}
	select {
	case <-i.ended:
		return true
	default:
		return false
	}
}
