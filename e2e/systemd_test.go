package e2e

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// bindAndApply binds a new key and has it in force without a restart.
func (i *instance) bindAndApply() testmachine.Key {
	i.t.Helper()
	key := i.endpoint.bindNew("e2e")
	i.run("latchkey", "apply")
	return key
}

func TestSystemdReloadsItsServiceAndSessionsSurvive(t *testing.T) {
	i := boot(t, nil)
	i.wantMethods("root", "publickey,password")
	key := i.bindAndApply()
	i.wantMethods("root", "publickey")
	if log := i.run("journalctl", "-u", "ssh", "-o", "cat"); !strings.Contains(log, "Reloaded ssh.service") {
		t.Errorf("systemd did not reload ssh.service:\n%s", log)
	}
	said, end := i.session(key)
	pid := i.property("ssh.service", "MainPID")

	i.endpoint.Unbind()
	i.run("latchkey", "apply")
	i.wantMethods("root", "publickey,password")
	if rest := end(); rest != "heard you\n" || said != "begun\n" {
		t.Errorf("the session said %q and after the reload %q", said, rest)
	}
	if now := i.property("ssh.service", "MainPID"); now != pid {
		t.Errorf("sshd was restarted: process %s, then %s", pid, now)
	}
}

// session begins a session of root's; end lets it finish and is what it said
// then.
func (i *instance) session(key testmachine.Key) (said string, end func() string) {
	i.t.Helper()
	return i.sessionOf("root", key)
}

func (i *instance) sessionOf(user string, key testmachine.Key) (said string, end func() string) {
	i.t.Helper()
	session := i.ssh(user, byKey(key), "echo begun; read word; echo heard $word")
	input, err := session.StdinPipe()
	if err != nil {
		i.t.Fatal(err)
	}
	output, err := session.StdoutPipe()
	if err != nil {
		i.t.Fatal(err)
	}
	if err := session.Start(); err != nil {
		i.t.Fatal(err)
	}
	lines := bufio.NewReader(output)
	said, _ = lines.ReadString('\n')
	return said, func() string {
		_, _ = io.WriteString(input, "you\n")
		rest, _ := io.ReadAll(lines)
		_ = session.Wait() // what it said tells
		return string(rest)
	}
}

// bySocket has systemd listen in sshd's place. With accept it starts an sshd
// for each connection, else one at the first.
func bySocket(accept bool) func(*instance) {
	return func(i *instance) {
		i.t.Helper()
		i.WriteFile("/etc/systemd/system/ssh.socket", fmt.Sprintf(
			"[Socket]\nListenStream=%d\nAccept=%v\n[Install]\nWantedBy=sockets.target\n", i.Port, accept), 0o644)
		i.WriteFile("/etc/systemd/system/ssh@.service",
			"[Service]\nExecStart=-/usr/sbin/sshd -i\nStandardInput=socket\nKillMode=process\n", 0o644)
		i.WriteFile("/etc/tmpfiles.d/sshd.conf", "d /run/sshd 0755 root root\n", 0o644) // no unit of many may own it
		i.Run(i.t, "systemctl", "disable", "ssh.service")
		i.Run(i.t, "systemctl", "enable", "ssh.socket")
	}
}

func TestUnderSocketActivationTheNextConnectionMeetsThePolicy(t *testing.T) {
	for _, test := range []struct {
		name    string
		accept  bool
		running bool // the service has been started by a connection before
	}{
		{"one sshd, not started yet", false, false},
		{"one sshd, started", false, true},
		{"one for each connection", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			i := boot(t, bySocket(test.accept))
			if test.running {
				i.wantMethods("root", "publickey,password")
			}
			key := i.bindAndApply()
			i.wantMethods("root", "publickey")
			i.wantIn("root", byKey(key))
			if log := i.run("journalctl", "-o", "cat"); strings.Contains(log, "Address already in use") {
				t.Errorf("sshd was made to listen where systemd does:\n%s", log)
			}
			if failed := i.run("systemctl", "--failed", "--no-legend"); failed != "" {
				t.Errorf("failed: %s", failed)
			}
			i.restart()
			i.wantBound("root", key)
			if took := i.sinceBoot("latchkeyd.service", "ActiveEnterTimestampMonotonic"); took > bootWait/2 {
				t.Errorf("with a key bound, the boot took %v: the agent waited for an sshd that waits for it", took)
			}
		})
	}
}

// TestBeforeSshdHasStartedABindingIsAppliedForWhenItDoes: early in the boot
// neither sshd nor its run folder is there.
func TestBeforeSshdHasStartedABindingIsAppliedForWhenItDoes(t *testing.T) {
	i := boot(t, func(i *instance) { i.Run(i.t, "systemctl", "disable", "ssh.service") })
	i.run("rm", "-rf", "/run/sshd")
	key := i.bindAndApply()
	i.run("systemctl", "start", "ssh.service")
	i.wantMethods("root", "publickey")
	i.wantIn("root", byKey(key))
}
