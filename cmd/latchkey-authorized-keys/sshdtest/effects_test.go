package sshdtest

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// refused, in and bare are what most logons come to: nobody was let in; all that a
// line can forbid is allowed; nothing of it is.
const (
	refused = "refused"
	in      = "in"
	bare    = "in" + nothing
	nothing = " -pty -x11 -agent -rc -open1 -open2 -listen1 -listen2"
)

// doors are what a logon may be allowed to reach: two ports that answer, and two on
// which sshd can be asked to listen.
type doors struct {
	open, listen [2]string
	listening    sync.Mutex // one client at a time can have the ports
}

func newDoors(t *testing.T) *doors {
	t.Helper()
	d := new(doors)
	for i := range d.open {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		_, d.open[i], _ = net.SplitHostPort(l.Addr().String())
		d.listen[i] = reservePort(t)
	}
	return d
}

// reservePort is a port that the kernel gives nobody else while the test runs, and on
// which sshd, as it sets SO_REUSEADDR, can listen.
func reservePort(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	bound, nameErr := unix.Getsockname(fd)
	if err := errors.Join(err, nameErr); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(bound.(*unix.SockaddrInet4).Port)
}

// observe logs in and does all that a line of authorized_keys can forbid or change. The
// outcome is what a command has printed, and " -name" for each thing denied.
func (r *rig) observe(t *testing.T, d *doors, name string, key ssh.Signer) string {
	t.Helper()
	client, err := r.dial(name, key)
	switch {
	case err != nil && isRefusal(err):
		return refused
	case err != nil:
		t.Fatalf("log in as %s: %v", name, err)
	}
	defer client.Close()
	out, ranRC := strings.CutPrefix(printed(t, client), "rc\n")
	outcome := strings.TrimSuffix(out, "\n")
	deny := func(what string, denied bool) {
		if denied {
			outcome += " -" + what
		}
	}
	pty, x11, agent := ofSession(t, client)
	deny("pty", !pty)
	deny("x11", !x11)
	deny("agent", !agent)
	deny("rc", !ranRC)
	deny("open1", !d.opens(t, client, 0))
	deny("open2", !d.opens(t, client, 1))
	deny("listen1", !d.listens(client, 0))
	deny("listen2", !d.listens(client, 1))
	return outcome
}

// printed is what the greeting command prints, or the one that is forced instead.
func printed(t *testing.T, client *ssh.Client) string {
	t.Helper()
	session := newSession(t, client)
	defer session.Close()
	out, err := session.CombinedOutput("echo in $LK_ONE $LK_TWO $ELSE")
	if err != nil {
		return string(out) + err.Error()
	}
	return string(out)
}

// ofSession asks for what a session can be given besides a command.
func ofSession(t *testing.T, client *ssh.Client) (pty, x11, agent bool) {
	t.Helper()
	session := newSession(t, client)
	defer session.Close()
	asks := func(request string, payload []byte) bool {
		granted, err := session.SendRequest(request, true, payload)
		if err != nil {
			t.Fatalf("%s: %v", request, err)
		}
		return granted
	}
	pty = session.RequestPty("xterm", 24, 80, nil) == nil
	x11 = asks("x11-req", ssh.Marshal(struct {
		Single           bool
		Protocol, Cookie string
		Screen           uint32
	}{false, "MIT-MAGIC-COOKIE-1", strings.Repeat("0", 32), 0}))
	agent = asks("auth-agent-req@openssh.com", nil)
	return pty, x11, agent
}

func newSession(t *testing.T, client *ssh.Client) *ssh.Session {
	t.Helper()
	session, err := client.NewSession()
	if err != nil {
		t.Fatalf("open session: %v", err)
	}
	return session
}

// opens tells whether sshd connects to a port for the client.
func (d *doors) opens(t *testing.T, client *ssh.Client, i int) bool {
	t.Helper()
	conn, err := client.Dial("tcp", "127.0.0.1:"+d.open[i])
	if err == nil {
		_ = conn.Close()
		return true
	}
	var failed *ssh.OpenChannelError
	if !errors.As(err, &failed) || failed.Reason != ssh.Prohibited {
		t.Fatalf("open port: %v", err)
	}
	return false
}

// listens tells whether sshd listens on a port for the client.
func (d *doors) listens(client *ssh.Client, i int) bool {
	d.listening.Lock()
	defer d.listening.Unlock()
	for range 3 { // on a busy machine somebody's connection may have the port for a moment
		if l, err := client.Listen("tcp", "127.0.0.1:"+d.listen[i]); err == nil {
			return l.Close() == nil // sshd answers once it has let the port go
		}
	}
	return false
}
