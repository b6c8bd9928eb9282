package target

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// dialTarget logs in to a server that lets anybody in.
func dialTarget(t *testing.T, s *Server) *ssh.Client {
	t.Helper()
	client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("alice"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// until polls for what is to come.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// peers are the two ends of a forwarding: the client's channel, and the target's connection.
func peers(t *testing.T, client *ssh.Client, network, address string) (channel, peer streamConn) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := client.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); _ = accepted.Close() })
	return conn.(streamConn), accepted.(streamConn)
}

func TestASideThatIsDoneIsToldToTheOtherWhichGoesOn(t *testing.T) {
	client := dialTarget(t, Start(t))
	for _, network := range []struct{ name, address string }{
		{"tcp", "127.0.0.1:0"},
		{"unix", filepath.Join(t.TempDir(), "socket")},
	} {
		for _, clientFirst := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, client first: %v", network.name, clientFirst), func(t *testing.T) {
				first, second := peers(t, client, network.name, network.address)
				if !clientFirst {
					first, second = second, first
				}
				say(t, first, "question")
				if got := hear(t, second); got != "question" {
					t.Errorf("heard %q", got)
				}
				say(t, second, "answer")
				if got := hear(t, first); got != "answer" {
					t.Errorf("heard %q", got)
				}
			})
		}
	}
}

func say(t *testing.T, to streamConn, text string) {
	t.Helper()
	if _, err := io.WriteString(to, text); err != nil {
		t.Fatal(err)
	}
	if err := to.CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// hear reads until the other side is done.
func hear(t *testing.T, from io.Reader) string {
	t.Helper()
	text, err := io.ReadAll(from)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

func TestWhatTheClientSentBeforeItClosedReachesTheTarget(t *testing.T) {
	channel, peer := peers(t, dialTarget(t, Start(t)), "tcp", "127.0.0.1:0")
	sent := bytes.Repeat([]byte("all of it "), 50_000)
	got := make(chan []byte)
	go func() {
		all, _ := io.ReadAll(peer)
		got <- all
	}()
	if _, err := channel.Write(sent); err != nil {
		t.Fatal(err)
	}
	_ = channel.Close()
	if all := <-got; !bytes.Equal(all, sent) {
		t.Errorf("%d bytes of %d", len(all), len(sent))
	}
}

func TestATargetThatIsGoneEndsItsChannelAlone(t *testing.T) {
	client := dialTarget(t, Start(t))
	channel, peer := peers(t, client, "tcp", "127.0.0.1:0")
	other, otherPeer := peers(t, client, "tcp", "127.0.0.1:0")
	_ = peer.(*net.TCPConn).SetLinger(0)
	_ = peer.Close()
	if _, err := io.Copy(io.Discard, channel); err != nil {
		t.Error(err)
	}
	until(t, "the channel is closed", func() bool {
		_, err := channel.Write(make([]byte, 1<<16))
		return err != nil
	})
	say(t, other, "still here")
	if got := hear(t, otherPeer); got != "still here" {
		t.Errorf("heard %q", got)
	}
}

func TestATargetThatReadsNoMoreMayStillSpeak(t *testing.T) {
	channel, peer := peers(t, dialTarget(t, Start(t)), "unix", filepath.Join(t.TempDir(), "socket"))
	if err := peer.(*net.UnixConn).CloseRead(); err != nil {
		t.Fatal(err)
	}
	const beyondTheWindow = 8 << 20
	if n, err := channel.Write(make([]byte, beyondTheWindow)); err != nil {
		t.Errorf("%d bytes: %v", n, err)
	}
	say(t, peer, "enough")
	if got := hear(t, channel); got != "enough" {
		t.Errorf("heard %q", got)
	}
}

func TestAClientThatClosesEndsASilentTarget(t *testing.T) {
	channel, peer := peers(t, dialTarget(t, Start(t)), "tcp", "127.0.0.1:0")
	_ = channel.Close()
	until(t, "the target's connection is closed", func() bool {
		_, err := peer.Write([]byte("is anybody there?"))
		return err != nil
	})
}

func TestASlowReaderHoldsNoOtherChannelAndNotClose(t *testing.T) {
	s := Start(t)
	client := dialTarget(t, s)
	stuck, _ := peers(t, client, "tcp", "127.0.0.1:0") // whose peer reads nothing
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(stuck, neverending{})
		ended <- err
	}()
	channel, peer := peers(t, client, "tcp", "127.0.0.1:0")
	say(t, channel, strings.Repeat("passes by ", 100_000))
	if got := hear(t, peer); len(got) != 1_000_000 {
		t.Errorf("%d bytes", len(got))
	}
	select {
	case err := <-ended:
		t.Errorf("the peer that reads nothing took everything: %v", err)
	default:
	}
	closes(t, s)
	<-ended
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

type neverending struct{}

func (neverending) Read(p []byte) (int, error) { return len(p), nil }

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

func TestEveryProvedLineHasToPermitTheEnd(t *testing.T) {
	config, err := LoadConfig("/", "none")
	if err != nil {
		t.Fatal(err)
	}
	s := Start(t)
	p, err := s.policyFor(config, (&connection{}).asked)
	if err != nil {
		t.Fatal(err)
	}
	ends := func(hosts ...string) *authkeys.Options {
		o := &authkeys.Options{PortForwarding: true}
		for _, host := range hosts {
			o.PermitOpen = append(o.PermitOpen, authkeys.HostPort{Host: host, Port: 1024})
		}
		o.PermitListen = o.PermitOpen
		return o
	}
	for _, test := range []struct {
		name  string
		lines []*authkeys.Options
		want  bool
	}{
		{"no line", nil, true},
		{"one without ends", []*authkeys.Options{ends()}, true},
		{"both", []*authkeys.Options{ends("a", "b"), ends("b")}, true},
		{"only the first", []*authkeys.Options{ends("b"), ends("a")}, false},
		{"only the second", []*authkeys.Options{ends("a"), ends("b")}, false},
		{"one of them, the other has none", []*authkeys.Options{ends(), ends("b")}, true},
		{"one without forwarding", []*authkeys.Options{{}, ends("b")}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := &login{policy: p, proof: proof{lines: test.lines}}
			if err := l.mayOpen("b", 1024); (err == nil) != test.want {
				t.Errorf("open: %v", err)
			}
			if err := l.mayListen("b", 1024); (err == nil) != test.want {
				t.Errorf("listen: %v", err)
			}
		})
	}
}

func TestAPortBeyond65535IsNone(t *testing.T) {
	client := dialTarget(t, Start(t))
	for _, port := range []string{"65536", "70000", "2147483648", "4294967295"} {
		if got := listenTCPAt(t, client, "127.0.0.1", port); got != "refused" {
			t.Errorf("%s: %s", port, got)
		}
	}
}

func TestALeadingAtSignIsAFileAndNoAbstractSocket(t *testing.T) {
	name := "@latchkey-" + filepath.Base(t.TempDir()) + fmt.Sprint(os.Getpid())
	echo(t, "unix", name)
	client := dialTarget(t, Start(t))
	if got := openChannel(client, "direct-streamlocal@openssh.com", ssh.Marshal(directStreamLocal{Path: name})); got != "2 open failed" {
		t.Error(got)
	}
}

func TestEveryForwardingIsTold(t *testing.T) {
	key := newKey(t)
	s := Start(t, WithAuthorizedKeys(`permitopen="127.0.0.1:1",permitlisten="localhost:*" `+key.Line))
	client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("alice", ssh.PublicKeys(key.Signer)))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	openTCP(t, client, "127.0.0.1", "1")
	openTCP(t, client, "localhost", "1")
	openChannel(client, "direct-streamlocal@openssh.com", ssh.Marshal(directStreamLocal{Path: "/nothing"}))
	openChannel(client, "x11", nil)
	port := freePort(t)
	listenTCPAt(t, client, "localhost", port)
	listenTCPAt(t, client, "127.0.0.1", port)
	var got []string
	for _, e := range s.Events() {
		if (e.Kind == Forward || e.Kind == Request) && e.Request != "forwarded-tcpip" {
			got = append(got, strings.Join([]string{string(e.Kind), e.User, e.Request, e.Target, string(e.Verdict), e.Reason}, "|"))
		}
	}
	want := []string{
		"forward|alice|direct-tcpip|127.0.0.1:1|failed|dial tcp 127.0.0.1:1: connect: connection refused",
		"forward|alice|direct-tcpip|localhost:1|failed|not listed in permitopen of the key's line",
		"forward|alice|direct-streamlocal@openssh.com|/nothing|failed|not listed in permitopen of the key's line",
		"request|alice|x11||failed|no such channel here",
		"forward|alice|tcpip-forward|localhost:" + port + "|accepted|",
		"forward|alice|cancel-tcpip-forward|localhost:" + port + "|accepted|",
		"forward|alice|tcpip-forward|127.0.0.1:" + port + "|failed|not listed in permitlisten of the key's line",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
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

// sshCommand is OpenSSH's own client.
func sshCommand(t *testing.T, s *Server, key testmachine.Key, options ...string) *exec.Cmd {
	t.Helper()
	known := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(known, []byte(s.KnownHosts()), 0o600); err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(testmachine.RequireProgram(t, "ssh"), append([]string{
		"-F", "none", "-p", port, "-i", key.PEM, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ExitOnForwardFailure=yes",
		"-o", "UserKnownHostsFile=" + known, "-o", "GlobalKnownHostsFile=none", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
	}, append(options, "alice@"+host)...)...)
}

func TestOpenSSHsClientForwards(t *testing.T) {
	key := newKey(t)
	s := Start(t, WithAuthorizedKeys(key.Line))
	dir := t.TempDir()
	tcp, socket := echo(t, "tcp", "127.0.0.1:0").Addr().String(), echo(t, "unix", filepath.Join(dir, "echo")).Addr().String()
	local, remote, port := filepath.Join(dir, "local"), filepath.Join(dir, "remote"), "127.0.0.1:"+freePort(t)
	for _, test := range []struct {
		name, option, value, network, address string
	}{
		{"local to TCP", "-L", local + "1:" + tcp, "unix", local + "1"},
		{"local to a socket", "-L", local + "2:" + socket, "unix", local + "2"},
		{"remote from TCP", "-R", port + ":" + tcp, "tcp", port},
		{"remote from a socket", "-R", remote + ":" + socket, "unix", remote},
		{"dynamic", "-D", "127.0.0.1:" + freePort(t), "socks", tcp},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := sshCommand(t, s, key, "-N", test.option, test.value)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
			var conn net.Conn
			until(t, "the client listens", func() (up bool) {
				var err error
				if conn, err = net.Dial(test.network, test.address); test.network == "socks" {
					conn, err = dialSOCKS(test.value, test.address)
				}
				return err == nil
			})
			defer conn.Close()
			say(t, conn.(streamConn), "through")
			if got := hear(t, conn); got != "through" {
				t.Errorf("heard %q", got)
			}
		})
	}
	t.Run("standard input", func(t *testing.T) {
		cmd := sshCommand(t, s, key, "-W", tcp)
		cmd.Stdin = strings.NewReader("through")
		if out, err := cmd.Output(); err != nil || string(out) != "through" {
			t.Errorf("%q, %v", out, err)
		}
	})
}

// dialSOCKS connects through a SOCKS proxy, version 4.
func dialSOCKS(proxy, address string) (net.Conn, error) {
	to, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", proxy)
	if err != nil {
		return nil, err
	}
	request := append([]byte{4, 1, byte(to.Port >> 8), byte(to.Port)}, to.IP.To4()...)
	var reply [8]byte
	if _, err = conn.Write(append(request, 0)); err == nil {
		_, err = io.ReadFull(conn, reply[:])
	}
	if err == nil && reply[1] != 90 {
		err = fmt.Errorf("the proxy says %d", reply[1])
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func TestASessionGoesOnAfterNoMoreSessions(t *testing.T) {
	client := dialTarget(t, Start(t))
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if got := requesting("no-more-sessions@openssh.com")(client); got != "true" {
		t.Error(got)
	}
	if out, err := session.Output("echo served"); err != nil || string(out) != "served\n" {
		t.Errorf("%q, %v", out, err)
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
