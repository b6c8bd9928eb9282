package e2e

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// bind binds a new key and applies it.
func (b *booted) bind() testmachine.Key {
	b.t.Helper()
	key := testmachine.NewKey(b.t, "ed25519")
	b.endpoint.Bind("e2e", key.Line)
	b.run("latchkey", "--config", testConfig, "apply")
	return key
}

// wantClosed checks that the key logs in and no password does.
func (b *booted) wantClosed(key testmachine.Key) {
	b.t.Helper()
	if got := b.offers(); got != "publickey" {
		b.t.Errorf("sshd offers %s, want publickey alone", got)
	}
	b.wantLogon(key)
}

func TestSystemdReloadsItsServiceAndSessionsSurvive(t *testing.T) {
	b := boot(t, nil)
	if got := b.offers(); got != "publickey,password" {
		t.Fatalf("before binding sshd offers %s", got)
	}
	first := b.bind()
	b.wantClosed(first)
	if log := b.run("journalctl", "-u", "ssh", "-o", "cat"); !strings.Contains(log, "Reloaded ssh.service") {
		t.Errorf("systemd did not reload ssh.service:\n%s", log)
	}
	said, end := b.session(first)
	pid := b.run("systemctl", "show", "-P", "MainPID", "ssh.service")

	b.endpoint.Unbind()
	b.run("latchkey", "--config", testConfig, "apply")
	if got := b.offers(); got != "publickey,password" {
		t.Errorf("after unbinding sshd offers %s", got)
	}
	if rest := end(); rest != "heard you\n" || said != "begun\n" {
		t.Errorf("the session said %q and after the reload %q", said, rest)
	}
	if now := b.run("systemctl", "show", "-P", "MainPID", "ssh.service"); now != pid {
		t.Errorf("sshd was restarted: process %s, then %s", pid, now)
	}
}

// session begins a session; end lets it finish and is what it said then.
func (b *booted) session(key testmachine.Key) (said string, end func() string) {
	b.t.Helper()
	session := b.ssh([]string{"-i", key.PEM}, "echo begun; read word; echo heard $word")
	input, err := session.StdinPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	output, err := session.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := session.Start(); err != nil {
		b.t.Fatal(err)
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
func bySocket(t *testing.T, accept bool) func(*testmachine.Machine) {
	t.Helper()
	return func(m *testmachine.Machine) {
		t.Helper()
		m.WriteFile("/etc/systemd/system/ssh.socket", fmt.Sprintf(
			"[Socket]\nListenStream=127.0.0.1:%d\nAccept=%v\n[Install]\nWantedBy=sockets.target\n", m.Port, accept), 0o644)
		m.WriteFile("/etc/systemd/system/ssh@.service",
			"[Service]\nExecStart=-/usr/sbin/sshd -i\nStandardInput=socket\nKillMode=process\n", 0o644)
		m.WriteFile("/etc/tmpfiles.d/sshd.conf", "d /run/sshd 0755 root root\n", 0o644) // no unit of many may own it
		m.Run(t, "systemctl", "disable", "ssh.service")
		m.Run(t, "systemctl", "enable", "ssh.socket")
	}
}

func TestUnderSocketActivationTheNextConnectionMeetsThePolicy(t *testing.T) {
	for _, test := range []struct {
		name    string
		accept  bool
		running bool // the service has been started by a connection before
		reloads bool
	}{
		{"one sshd, not started yet", false, false, false},
		{"one sshd, started", false, true, true},
		{"one for each connection", true, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := boot(t, bySocket(t, test.accept))
			if test.running {
				if got := b.offers(); got != "publickey,password" {
					t.Fatalf("before binding sshd offers %s", got)
				}
			}
			key := b.bind()
			b.wantClosed(key)
			log := b.run("journalctl", "-o", "cat")
			if got := strings.Contains(log, "Reloaded ssh.service"); got != test.reloads {
				t.Errorf("systemd reloaded ssh.service: %v, want %v", got, test.reloads)
			}
			if strings.Contains(log, "Failed to start") && strings.Contains(log, "OpenBSD Secure Shell") {
				t.Errorf("systemd could not do what it was asked for:\n%s", log)
			}
		})
	}
}

// TestBeforeSshdHasStartedABindingIsAppliedForWhenItDoes: early in the boot
// neither sshd nor its run folder is there.
func TestBeforeSshdHasStartedABindingIsAppliedForWhenItDoes(t *testing.T) {
	b := boot(t, func(m *testmachine.Machine) { m.Run(t, "systemctl", "disable", "ssh.service") })
	b.run("rm", "-rf", "/run/sshd")
	key := b.bind()
	b.run("systemctl", "start", "ssh.service")
	b.wantClosed(key)
}
