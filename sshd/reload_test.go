package sshd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// reload reloads, and fails the test when that fails.
func (m *machine) reload() Listener {
	m.t.Helper()
	what, err := m.sshd.Reload(context.Background(), m.effective())
	if err != nil {
		m.t.Fatal(err)
	}
	return what
}

// TestAfterAReloadTheNextConnectionMeetsTheNewConfiguration: fifty times, with
// nothing between the reload and the connection.
func TestAfterAReloadTheNextConnectionMeetsTheNewConfiguration(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.StartSSHD()
	config := m.effective()
	for n := range 50 {
		closed := n%2 == 0
		m.write(Policy{Closed: closed})
		if what, err := m.sshd.Reload(context.Background(), config); err != nil || what != ListenerReloaded {
			t.Fatalf("reload %d: %s, %v", n, what, err)
		}
		answer := m.question(nil).Ask(within(t, 20*time.Second))
		if answer.Methods == nil || answer.OffersPassword() == closed {
			t.Fatalf("after reload %d: %v (%s), want the password offered: %v", n, answer.Methods, answer.Reason, !closed)
		}
	}
}

// TestAListenerWithoutAPidFileIsFoundByItsSocket: sshd need not write one, and
// what is in it may be stale.
func TestAListenerWithoutAPidFileIsFoundByItsSocket(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, config string
		stage        func(m *machine)
	}{
		{"PidFile none", "PidFile none\n", nil},
		{"no pid file", "", func(m *machine) { _ = os.Remove(m.Path("/run/sshd.pid")) }},
		{"a pid file of nobody", "", func(m *machine) { m.WriteFile("/run/sshd.pid", "4194304\n", 0o644) }},
		{"a pid file of another program", "", func(m *machine) { m.WriteFile("/run/sshd.pid", fmt.Sprintln(os.Getpid()), 0o644) }},
		{"a pid file of init", "", func(m *machine) { m.WriteFile("/run/sshd.pid", "1\n", 0o644) }},
		{"a pid file of everybody", "", func(m *machine) { m.WriteFile("/run/sshd.pid", "-1\n", 0o644) }},
		{"an empty pid file", "", func(m *machine) { m.WriteFile("/run/sshd.pid", "", 0o644) }},
		{"a pid file of nonsense", "", func(m *machine) { m.WriteFile("/run/sshd.pid", strings.Repeat("7", 1000), 0o644) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.SSHDConfig(test.config + testmachine.DefaultSSHDConfig)
			m.StartSSHD()
			if test.stage != nil {
				test.stage(m)
			}
			m.write(guarded)
			if running, err := m.sshd.Running(context.Background(), m.effective()); err != nil || running != ListenerRunning {
				t.Errorf("running: %v, %v", running, err)
			}
			if what := m.reload(); what != ListenerReloaded {
				t.Errorf("%s, want reloaded", what)
			}
			if answer := m.question(nil).Persist(within(t, 20*time.Second)); answer.Methods == nil || answer.OffersPassword() {
				t.Errorf("%v (%s), want no password offered", answer.Methods, answer.Reason)
			}
		})
	}
}

func TestWithoutAListenerThereIsNothingToReload(t *testing.T) {
	t.Parallel()
	other := newMachine(t) // that of another instance must not be mistaken for ours
	other.StartSSHD()
	m := newMachine(t)
	if pid, _ := m.sshd.listening([]int{other.Port}); pid != 0 {
		t.Errorf("process %d of another instance is taken for ours", pid)
	}
	for _, pid := range []string{"", "4194304\n", fmt.Sprintln(os.Getpid())} {
		m.WriteFile("/run/sshd.pid", pid, 0o644)
		if running, err := m.sshd.Running(context.Background(), m.effective()); err != nil || running != ListenerNotThere {
			t.Errorf("pid file %q: running %v, %v", pid, running, err)
		}
		if what := m.reload(); what != ListenerNotThere {
			t.Errorf("pid file %q: %s, want not running", pid, what)
		}
	}
}

func TestASessionSurvivesAReload(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	key := m.allow("ed25519")
	m.StartSSHD()
	session := m.OpenSSH(t, testUser, []string{"-i", key.PEM}, "echo begun; read word; echo heard $word")
	input, err := session.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := session.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewReader(output)
	if line, err := said.ReadString('\n'); err != nil || line != "begun\n" {
		t.Fatalf("the session said %q, %v", line, err)
	}
	m.write(guarded)
	m.reload()
	if _, err := io.WriteString(input, "you\n"); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(said); err != nil || string(rest) != "heard you\n" {
		t.Errorf("after the reload the session said %q, %v", rest, err)
	}
	if err := session.Wait(); err != nil {
		t.Error(err)
	}
}

// TestAReloadThatIsNotCarriedOutEnds: what has become of the listener shows when
// it is asked.
func TestAReloadThatIsNotCarriedOutEnds(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.StartSSHD()
	config := m.effective()
	stopListener(t, m)
	start := time.Now()
	if what, err := m.sshd.Reload(within(t, 300*time.Millisecond), config); err != nil || what != ListenerReloaded {
		t.Errorf("%s, %v", what, err)
	}
	if took := time.Since(start); took > pidFileWait {
		t.Errorf("it took %v", took)
	}
	_ = unix.Kill(m.SSHDPid(), unix.SIGCONT)
}

func TestProcessesThatHaveEndedAreNotSshd(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.StartSSHD()
	pid := m.SSHDPid()
	if !isSSHD(pid) || isSSHD(os.Getpid()) || isSSHD(1) {
		t.Errorf("sshd: %v, this test: %v, init: %v", isSSHD(pid), isSSHD(os.Getpid()), isSSHD(1))
	}
	if found, socket := m.sshd.listening([]int{1, m.Port}); found != pid || socket == "" {
		t.Errorf("found process %d with %q on the port, want %d", found, socket, pid)
	}
	if found, _ := m.sshd.listening([]int{1}); found != 0 {
		t.Errorf("found process %d on a port where none listens", found)
	}
	m.StopSSHD()
	if isSSHD(pid) {
		t.Error("a process that has ended is taken for sshd")
	}
}
