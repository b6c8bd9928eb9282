package target

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

func TestAClientThatClosesEndsASilentTarget(t *testing.T) {
	s := Start(t)
	channel, _ := peers(t, dialTarget(t, s), "tcp", "127.0.0.1:0")
	if n := forwarded(s); n != 1 {
		t.Errorf("%d forwarded channels", n)
	}
	_ = channel.Close()
	until(t, "the target's connection is closed", func() bool { return forwarded(s) == 0 })
}

// forwarded is how many channels the server forwards.
func forwarded(s *Server) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.forwards.mu.Lock()
		n += c.forwards.channels
		c.forwards.mu.Unlock()
	}
	return n
}

// closes closes the server, which must not wait for what others do.
func closes(t *testing.T, s *Server) {
	t.Helper()
	closed := make(chan struct{})
	go func() { _ = s.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("Close does not return")
	}
}

func TestListenersEndWithTheirConnection(t *testing.T) {
	s := Start(t)
	client := dialTarget(t, s)
	l, err := client.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	held, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if _, err := l.Accept(); err != nil {
		t.Fatal(err)
	}
	_ = client.Close()
	if _, err := held.Read(make([]byte, 1)); err == nil {
		t.Error("a forwarded connection outlives the SSH connection")
	}
	until(t, "nobody listens", func() bool {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
}

func TestForwardingLeavesNoFileOpen(t *testing.T) {
	s := Start(t)
	dir := t.TempDir()
	open := func() int {
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	before := open()
	for i := range 5 {
		client := dialTarget(t, s)
		peers(t, client, "tcp", "127.0.0.1:0")
		for _, at := range []struct{ network, address string }{
			{"tcp", "127.0.0.1:0"}, {"tcp", "[::1]:0"}, {"unix", filepath.Join(dir, fmt.Sprint("socket", i))},
		} {
			l, err := client.Listen(at.network, at.address)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := net.Dial(at.network, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Accept(); err != nil {
				t.Fatal(err)
			}
			_ = conn.Close()
		}
		_ = client.Close()
	}
	until(t, "the files are closed", func() bool { return open() <= before+10 }) // those of peers, which stay with the test
	_ = s.Close()
}

func TestListenersOfOneConnectionAreLimited(t *testing.T) {
	s := Start(t)
	client := dialTarget(t, s)
	ask := func(client *ssh.Client) bool {
		ok, _, err := client.SendRequest("tcpip-forward", true, ssh.Marshal(tcpipForward{Host: "127.0.0.1"}))
		return ok && err == nil
	}
	for i := range maxListeners {
		if !ask(client) {
			t.Fatalf("listener %d is refused", i)
		}
	}
	if ask(client) {
		t.Error("one more listener")
	}
	if !ask(dialTarget(t, s)) {
		t.Error("another connection has none")
	}
}

func TestForwardedChannelsOfOneConnectionAreLimited(t *testing.T) {
	l := echo(t, "unix", filepath.Join(t.TempDir(), "socket"))
	s := Start(t)
	client := dialTarget(t, s)
	var held []net.Conn
	for range maxForwarded {
		conn, err := client.Dial("unix", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	one := func() string {
		return openChannel(client, "direct-streamlocal@openssh.com", ssh.Marshal(directStreamLocal{Path: l.Addr().String()}))
	}
	if got := one(); got != "4 open failed" {
		t.Errorf("one more: %s", got)
	}
	_ = held[0].Close()
	until(t, "a channel is free again", func() bool { return one() == "open" })
}

func TestCloseEndsForwardings(t *testing.T) {
	s := Start(t)
	client := dialTarget(t, s)
	channel, peer := peers(t, client, "tcp", "127.0.0.1:0")
	if _, err := client.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]io.Reader{"client": channel, "target": peer} {
		if n, err := end.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
}

func TestCloseDoesNotWaitForADial(t *testing.T) {
	s := Start(t)
	client := dialTarget(t, s)
	host, port, err := net.SplitHostPort(silent(t))
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 1)
	go func() { asked <- openTCP(t, client, host, port) }()
	until(t, "the server dials", func() bool { return dialled(t, portNumber(t, port)) })
	closes(t, s)
	<-asked
}

// silent is an address that neither accepts nor refuses, since as many wait there as may.
func silent(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	err = errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0))
	if err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", bound.(*unix.SockaddrInet4).Port)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return address
}

// dialled tells whether somebody waits for an answer from the port of 127.0.0.1 (proc(5), /proc/net/tcp).
func dialled(t *testing.T, port uint32) bool {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	const synSent = "02"
	return strings.Contains(string(table), fmt.Sprintf(" 0100007F:%04X %s ", port, synSent))
}
