package testmachine

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultSSHDConfig is what Debian installs, without its comments.
const DefaultSSHDConfig = `Include /etc/ssh/sshd_config.d/*.conf
KbdInteractiveAuthentication no
UsePAM yes
X11Forwarding yes
PrintMotd no
AcceptEnv LANG LC_*
Subsystem sftp /usr/lib/openssh/sftp-server
`

// startTimeout bounds the start of a server that takes some 20 ms.
const startTimeout = 15 * time.Second

// SSHDConfig replaces /etc/ssh/sshd_config. Two lines, the machine's port and
// address, are put before the text; a running sshd does not see the change
// before it is reloaded.
func (m *Machine) SSHDConfig(text string) {
	m.t.Helper()
	address := fmt.Sprintf("Port %d\nListenAddress %s\n", m.Port, m.Host)
	m.WriteFile("/etc/ssh/sshd_config", address+text, 0o644)
}

// Address is where the machine's sshd listens.
func (m *Machine) Address() string {
	return net.JoinHostPort(m.Host, strconv.Itoa(m.Port))
}

// StartSSHD starts the machine's sshd and waits until it answers. Its log is
// shown if the test fails. It is stopped with the test.
func (m *Machine) StartSSHD() {
	m.t.Helper()
	if m.listener != nil {
		m.t.Fatal("testmachine: sshd is running already")
	}
	cmd := m.Chroot("/usr/sbin/sshd", "-D", "-e")
	l, err := startListener(cmd)
	if err != nil {
		m.t.Fatalf("start sshd: %v", err)
	}
	m.listener = l
	m.t.Cleanup(func() {
		if m.t.Failed() {
			m.t.Logf("log of sshd:\n%s", l.log.String())
		}
	})
	if err := l.awaitAnswer(m.Address()); err != nil {
		m.t.Fatalf("start sshd: %v\n%s", err, l.log.String())
	}
}

// StopSSHD ends the machine's sshd and waits for that. Sessions that are open
// stay, as they do on a real machine. It does nothing when none is running.
func (m *Machine) StopSSHD() {
	if m.listener == nil {
		return
	}
	m.listener.stop()
	m.listener = nil
}

// SSHDPid is the process id of the running sshd, or 0. The machine's
// /run/sshd.pid holds the same number.
func (m *Machine) SSHDPid() int {
	if m.listener == nil {
		return 0
	}
	return m.listener.pid
}

// SSHDLog is what the sshd started last, while it runs, has logged so far.
func (m *Machine) SSHDLog() string {
	if m.listener == nil {
		return ""
	}
	return m.listener.log.String()
}

// listener is a running sshd.
type listener struct {
	pid   int
	log   logBuffer
	ended chan struct{} // closed when the process is gone
}

// startListener runs the command on a thread kept for it: the kernel ends a
// child with Pdeathsig when the thread that forked it goes, not the process,
// and Go lets threads go when a goroutine ends with its thread locked.
func startListener(cmd *exec.Cmd) (*listener, error) {
	l := &listener{ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &l.log, &l.log
	// Sessions hold the log open; do not wait for them once sshd is gone.
	cmd.WaitDelay = 100 * time.Millisecond
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(l.ended)
		err := cmd.Start()
		if err == nil {
			l.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
		}
	}()
	return l, <-started
}

// awaitAnswer returns when the server has sent the first bytes of its version.
func (l *listener) awaitAnswer(address string) error {
	deadline := time.Now().Add(startTimeout)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		err := readVersion(address, deadline)
		if err == nil {
			return nil
		}
		select {
		case <-l.ended:
			return errors.New("it ended at once")
		case now := <-tick.C:
			if now.After(deadline) {
				return fmt.Errorf("no answer in %v: %w", startTimeout, err)
			}
		}
	}
}

func readVersion(address string, deadline time.Time) error {
	conn, err := net.DialTimeout("tcp", address, time.Until(deadline))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, len("SSH-2.0-")))
	return err
}

func (l *listener) stop() {
	_ = syscall.Kill(l.pid, syscall.SIGTERM)
	select {
	case <-l.ended:
	case <-time.After(5 * time.Second):
		_ = syscall.Kill(l.pid, syscall.SIGKILL)
		<-l.ended
	}
}

// logBuffer is written by the process and read by the test.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// reservePort returns a port of 127.0.0.1 that nobody else is given while the
// test runs. The socket that holds it is bound but never listens, and both it
// and sshd set SO_REUSEADDR: Linux then lets sshd listen there, and passes
// the port over when it chooses one for others.
func reservePort(t testing.TB) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("reserve a port: %v", err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	if err != nil {
		t.Fatalf("reserve a port: %v", err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatalf("reserve a port: %v", err)
	}
	return bound.(*unix.SockaddrInet4).Port
}
