package target

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/authkeys"
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
	const beyondTheWindow = 4 << 20
	if n, err := channel.Write(make([]byte, beyondTheWindow)); err != nil {
		t.Errorf("%d bytes: %v", n, err)
	}
	say(t, peer, "enough")
	if got := hear(t, channel); got != "enough" {
		t.Errorf("heard %q", got)
	}
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

type neverending struct{}

func (neverending) Read(p []byte) (int, error) { return len(p), nil }

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
