package target

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

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
