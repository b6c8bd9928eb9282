package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

func TestLoadConfigRefusesTheLimitsThatSSHDRefuses(t *testing.T) {
	m := testmachine.New(t)
	for _, test := range []struct {
		line string
		want bool
	}{
		{"MaxStartups 5", true},
		{"MaxStartups 10:30:60", true},
		{"MaxStartups 10:100:10", true},
		{"MaxStartups 0", false},
		{"MaxStartups -1", false},
		{"MaxStartups a", false},
		{"MaxStartups 5 6", false},
		{"MaxStartups 10:30", false},
		{"MaxStartups 10:0:20", false},
		{"MaxStartups 10:101:20", false},
		{"MaxStartups 10:30:5", false},
		{"MaxStartups 0:30:10", false},
		{"PerSourceMaxStartups none", true},
		{"PerSourceMaxStartups 0", true},
		{"PerSourceMaxStartups x", false},
		{"PerSourceNetBlockSize 24", true},
		{"PerSourceNetBlockSize 24:64", true},
		{"PerSourceNetBlockSize 0:0", true},
		{"PerSourceNetBlockSize 33", false},
		{"PerSourceNetBlockSize 24:129", false},
		{"PerSourceNetBlockSize none", false},
		{"LoginGraceTime 1h30m", true},
		{"LoginGraceTime 0", true},
		{"LoginGraceTime 5M", true},
		{"LoginGraceTime none", false},
		{"LoginGraceTime -5", false},
		{"LoginGraceTime 1x", false},
		{"LoginGraceTime 1s 2s", false},
		{"ClientAliveInterval 1w2d", true},
		{"ClientAliveInterval 1.5", false},
		{"ClientAliveCountMax 0", true},
		{"ClientAliveCountMax x", false},
		{"UnusedConnectionTimeout none", true},
		{"UnusedConnectionTimeout 5m", true},
		{"UnusedConnectionTimeout x", false},
		{"Ciphers aes128-ctr,chacha20-poly1305@openssh.com", true},
		{"Ciphers aes128-ctr,foo", false},
		{"Ciphers aes*", false},
		{"Ciphers +*", false},
		{"Ciphers -*-cbc", true},
		{"KexAlgorithms ^curve25519-sha256", true},
		{"KexAlgorithms foo", false},
		{"KexAlgorithms +foo", false},
		{"KexAlgorithms -foo", true},
		{"MACs hmac-sha2-256,umac-64@openssh.com", true},
		{"MACs hmac-foo", false},
		{"HostKeyAlgorithms ssh-ed25519*", true},
		{"HostKeyAlgorithms foo", false},
	} {
		t.Run(test.line, func(t *testing.T) {
			m.SSHDConfig(test.line + "\n")
			out, real := m.Chroot("sshd", "-t").CombinedOutput()
			_, ours := LoadConfig(m.Root, configFile)
			if (real == nil) != test.want || (ours == nil) != test.want {
				t.Errorf("sshd: %v %s\nours: %v", real, out, ours)
			}
		})
	}
}

func TestALongTimeIsReadAsSSHDReadsIt(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "90": 90 * time.Second, "1h30m": 90 * time.Minute, "1m30": 90 * time.Second, "2W": 14 * 24 * time.Hour,
	} {
		if got, err := parseTime(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "1x", "m", "1 m", "99999999999", "4000w"} {
		if got, err := parseTime(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestRandomEarlyDropRisesFromItsRateToCertainty(t *testing.T) {
	for _, test := range []struct {
		spec     string
		starting int
		want     int
	}{
		{"10:30:60", 9, 0},
		{"10:30:60", 10, 30},
		{"10:30:60", 35, 65},
		{"10:30:60", 59, 98},
		{"10:30:60", 60, 100},
		{"10:100:60", 10, 100},
		{"5", 4, 0},
		{"5", 5, 100},
	} {
		m, err := parseMaxStartups(test.spec)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.dropsPercent(test.starting); got != test.want {
			t.Errorf("%s with %d on their way: %d %%, want %d %%", test.spec, test.starting, got, test.want)
		}
	}
}

func TestRandomEarlyDropDropsAsManyAsItSays(t *testing.T) {
	var s startups
	l := limits{startups: maxStartups{begin: 1, rate: 50, full: 1_000_000}, perSource: -1}
	source := netip.MustParsePrefix("192.0.2.1/32")
	if err := s.enter(l, source); err != nil {
		t.Fatal(err)
	}
	dropped := 0
	for range 10_000 {
		if s.enter(l, source) != nil {
			dropped++
			continue
		}
		s.leave(source)
	}
	if dropped < 4_700 || dropped > 5_300 { // six standard deviations
		t.Errorf("%d of 10,000 were dropped, where 50 %% should be", dropped)
	}
	s.leave(source)
	if s.all != 0 || len(s.source) != 0 {
		t.Errorf("counted when all are gone: %d, %v", s.all, s.source)
	}
}

func TestASourceIsABlockOfAddresses(t *testing.T) {
	block, err := parseNetBlock("24:64")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"192.0.2.77": "192.0.2.0/24", "::ffff:192.0.2.9": "192.0.2.0/24", "2001:db8::1:2:3": "2001:db8::/64", "fe80::1%lo": "fe80::/64",
	} {
		addr := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(text), 1))
		if got := block.sourceOf(addr).String(); got != want {
			t.Errorf("%s is counted as %s, want %s", text, got, want)
		}
	}
	if block.sourceOf(&net.UnixAddr{}).IsValid() {
		t.Error("a socket without address has a source")
	}
}

// hold opens connections that do not log in, and waits until each has been taken.
func hold(t *testing.T, addr string, n int) {
	t.Helper()
	for range n {
		conn := dial(t, addr)
		if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
}

// dial opens a connection that is closed with the test, and fails when nothing comes for long.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// heard is all that a server says to a client that says nothing, until it closes the connection.
func heard(t *testing.T, addr string) string {
	t.Helper()
	said, err := io.ReadAll(dial(t, addr))
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("not closed: %v", err)
	}
	return string(said)
}

func TestBothDropConnectionsBeyondTheLimitWithTheSameNotice(t *testing.T) {
	w := newTwins(t, "")
	for _, config := range []string{"MaxStartups 2", "MaxStartups 2:100:10", "PerSourceMaxStartups 2", "PerSourceMaxStartups 2\nPerSourceNetBlockSize 8"} {
		t.Run(config, func(t *testing.T) {
			w.reconfigure(t, config+"\n")
			got := w.agree(t, func(t *testing.T, at twin) string {
				hold(t, at.addr, 2)
				return heard(t, at.addr)
			})
			if got != "Exceeded MaxStartups\r\n" {
				t.Errorf("the third connection hears %q", got)
			}
		})
	}
}

func TestALoginMakesRoomForTheNext(t *testing.T) {
	s := Start(t, WithSettings("MaxStartups 1", "PerSourceMaxStartups 1"))
	for range 3 {
		client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("alice"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
	}
	hold(t, s.Addr().String(), 1)
	if got := heard(t, s.Addr().String()); got != dropNotice {
		t.Errorf("the second that does not log in hears %q", got)
	}
	if got := eventOf(t, s, Refused).Reason; got != errMaxStartups.Error() {
		t.Errorf("reason: %s", got)
	}
}

// eventOf waits for the first event of a kind.
func eventOf(t *testing.T, s *Server, kind Kind) Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	e, err := s.WaitFor(ctx, func(e Event) bool { return e.Kind == kind })
	if err != nil {
		t.Fatalf("no event %s: %v", kind, err)
	}
	return e
}

func TestBothCutWhoDoesNotLogInWithinLoginGraceTime(t *testing.T) {
	t.Parallel()
	w := newTwins(t, "LoginGraceTime 1\n")
	got := w.agree(t, func(t *testing.T, at twin) string {
		began := time.Now()
		heard(t, at.addr)
		return fmt.Sprint("cut after a second: ", time.Since(began) >= time.Second)
	})
	if got != "cut after a second: true" {
		t.Error(got)
	}
	if got := eventOf(t, w.ours, Disconnected).Reason; got != "LoginGraceTime: nobody has logged in within 1s" {
		t.Errorf("reason: %s", got)
	}
}

func TestBothEndTheConnectionAfterMaxAuthTries(t *testing.T) {
	w := newTwins(t, "MaxAuthTries 3\n")
	got := w.agree(t, func(_ *testing.T, at twin) string {
		tries := 0
		_, err := at.login(ssh.RetryableAuthMethod(ssh.PasswordCallback(func() (string, error) {
			tries++
			return "wrong", nil
		}), 10))
		return fmt.Sprintf("%d tries, disconnected: %v", tries, strings.Contains(strings.ToLower(err.Error()), "too many authentication failures"))
	})
	if got != "3 tries, disconnected: true" {
		t.Error(got)
	}
	if got := eventOf(t, w.ours, Disconnected).Reason; !strings.Contains(got, "too many authentication failures") {
		t.Errorf("reason: %s", got)
	}
}

// deaf logs in and then answers nothing.
func deaf(t *testing.T, at twin) ssh.Conn {
	t.Helper()
	conn, _, _, err := ssh.NewClientConn(dial(t, at.addr), at.addr, &ssh.ClientConfig{
		User: "alice", Auth: []ssh.AuthMethod{ssh.Password("tulip")},
		HostKeyCallback: ssh.FixedHostKey(at.hostKey), HostKeyAlgorithms: []string{at.hostKey.Type()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestBothCutAClientThatGivesNoSignOfLife(t *testing.T) {
	t.Parallel()
	w := newTwins(t, "ClientAliveInterval 1\nClientAliveCountMax 1\n", alice())
	got := w.agree(t, func(t *testing.T, at twin) string {
		began := time.Now()
		_ = deaf(t, at).Wait()
		return fmt.Sprint("cut after two intervals: ", time.Since(began) >= 2*time.Second)
	})
	if got != "cut after two intervals: true" {
		t.Error(got)
	}
	if got := eventOf(t, w.ours, Disconnected).Reason; !strings.HasPrefix(got, "ClientAliveCountMax: no sign of the client for 2") {
		t.Errorf("reason: %s", got)
	}
}

func TestBothKeepAClientThatAnswers(t *testing.T) {
	t.Parallel()
	w := newTwins(t, "ClientAliveInterval 1\nClientAliveCountMax 1\n", alice())
	got := w.agree(t, func(t *testing.T, at twin) string {
		client, err := at.login(ssh.Password("tulip"))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		session, err := client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		out, err := session.Output("sleep 2.5; echo there")
		return fmt.Sprintf("%q %v", out, err)
	})
	if got != `"there\n" <nil>` {
		t.Error(got)
	}
}

func TestBothCutAConnectionWithoutChannels(t *testing.T) {
	t.Parallel()
	w := newTwins(t, "UnusedConnectionTimeout 1\n", alice())
	got := w.agree(t, func(t *testing.T, at twin) string {
		client, err := at.login(ssh.Password("tulip"))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		out, status := run(t, client, "sleep 1.5; echo used")
		_ = client.Wait() // unused from here on
		return fmt.Sprintf("%q %d, then cut", out, status)
	})
	if got != `"used\n" 0, then cut` {
		t.Error(got)
	}
	if got := eventOf(t, w.ours, Disconnected).Reason; got != "UnusedConnectionTimeout: no channel was open for 1s" {
		t.Errorf("reason: %s", got)
	}
}

func TestAnIdleConnectionIsCut(t *testing.T) {
	s := Start(t, WithIdleTimeout(50*time.Millisecond))
	client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("alice"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_ = client.Wait()
	if got := eventOf(t, s, Disconnected).Reason; got != "idle: nothing was sent or received for 50ms" {
		t.Errorf("reason: %s", got)
	}
}

func TestTheReasonTellsWhoEndedTheConnection(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(t *testing.T, s *Server)
		want string
	}{
		{"left before its version", func(t *testing.T, s *Server) { _ = dial(t, s.Addr().String()).Close() }, "the client left"},
		{"left after the login", func(t *testing.T, s *Server) {
			client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("alice"))
			if err != nil {
				t.Fatal(err)
			}
			_ = client.Close()
		}, "the client left"},
		{"speaks something else", func(t *testing.T, s *Server) {
			_, _ = io.WriteString(dial(t, s.Addr().String()), "SSH-2.0-x\r\n\x00\x00\x00\x01garbage")
		}, "small"},
		{"the server closes", func(t *testing.T, s *Server) {
			hold(t, s.Addr().String(), 1)
			_ = s.Close()
		}, "the server was closed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := Start(t)
			test.do(t, s)
			if got := eventOf(t, s, Disconnected).Reason; !strings.Contains(got, test.want) {
				t.Errorf("reason: %s", got)
			}
		})
	}
}

func TestADelayIsDoubledUntilItIsLongerThanWhatPassed(t *testing.T) {
	for _, test := range []struct{ least, passed, want time.Duration }{
		{5, 0, 5},
		{5, 3, 2},
		{5, 6, 4},
		{5, 21, 19},
		{5, 6000, 0}, // more than sshd ever waits for
	} {
		got := remainingDelay(test.least*time.Millisecond, test.passed*time.Millisecond)
		if got != test.want*time.Millisecond {
			t.Errorf("%d ms after %d ms: %v, want %d ms", test.least, test.passed, got, test.want)
		}
	}
}

func TestEveryRefusalButThatOfNoneTakesItsTime(t *testing.T) {
	const least = 300 * time.Millisecond
	s := Start(t, alice(), WithFailureDelay(least))
	for _, test := range []struct {
		name, user string
		method     ssh.AuthMethod
		delayed    bool
	}{
		{"only none", "alice", nil, false},
		{"wrong password", "alice", ssh.Password("wrong"), true},
		{"unknown user", "bob", ssh.Password("wrong"), true},
		{"a method that is off", "alice", ssh.PublicKeys(newKey(t).Signer), false}, // the client does not even try
		{"right password", "alice", ssh.Password("tulip"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := s.ClientConfig(test.user, test.method)
			if test.method == nil {
				config.Auth = nil
			}
			began := time.Now()
			if client, err := ssh.Dial("tcp", s.Addr().String(), config); err == nil {
				_ = client.Close()
			}
			if took := time.Since(began); (took >= least) != test.delayed {
				t.Errorf("took %v", took)
			}
		})
	}
}

// scarce is a listener on a machine that is out of files at first.
type scarce struct {
	net.Listener
	failures int
	asked    *int
}

func (l *scarce) Accept() (net.Conn, error) {
	*l.asked++
	if *l.asked <= l.failures {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}

func TestWithoutAFreeFileAcceptWaitsAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New()
		if err != nil {
			t.Fatal(err)
		}
		began, asked := time.Now(), 0
		err = s.Serve(&scarce{Listener: closedListener{}, failures: 3, asked: &asked})
		if !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if diff := cmp.Diff(3*acceptPause, time.Since(began)); diff != "" || asked != 4 {
			t.Errorf("asked %d times\n%s", asked, diff)
		}
	})
}

// closedListener has been closed.
type closedListener struct{ net.Listener }

func (closedListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (closedListener) Close() error              { return nil }
func (closedListener) Addr() net.Addr            { return &net.TCPAddr{} }

func TestCloseDoesNotWaitForAFileToBecomeFree(t *testing.T) {
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	began := time.Now()
	s.pause(time.Hour)
	if time.Since(began) > time.Minute {
		t.Error("the pause outlived the server")
	}
}
