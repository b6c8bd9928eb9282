package sshd

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// TestWhatASoundListenerDoesToLimitLogonsIsUnknown: each of these looks like a
// refusal to a client that does not look closely.
func TestWhatASoundListenerDoesToLimitLogonsIsUnknown(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, config string
		stage        func(t *testing.T, m *machine)
		wrong        bool // ask about a key that is not allowed
		reason       string
	}{
		{name: "MaxAuthTries", config: "MaxAuthTries 1\n", wrong: true, reason: "Too many authentication failures"},
		{name: "MaxStartups", config: "MaxStartups 1:100:1\n", stage: holdConnection},
		{
			name: "LoginGraceTime", reason: "closed before an answer",
			config: "LoginGraceTime 1\nAuthorizedKeysFile none\nAuthorizedKeysCommand /usr/bin/sleep 30\nAuthorizedKeysCommandUser root\n",
		},
		{name: "stopped", stage: stopListener, reason: "no answer in time"},
		{name: "gone", stage: func(_ *testing.T, m *machine) { m.StopSSHD() }, reason: "connection refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.SSHDConfig(test.config)
			key := m.allow("ed25519")
			if test.wrong {
				key = testmachine.NewKey(t, "ed25519")
			}
			m.StartSSHD()
			if test.stage != nil {
				test.stage(t, m)
			}
			got := m.question(asked(key)).Ask(within(t, 3*time.Second))
			if got.Key != Unknown || !strings.Contains(got.Reason, test.reason) {
				t.Errorf("%s (%s), want unknown (%s)", got.Key, got.Reason, test.reason)
			}
		})
	}
}

// holdConnection leaves a connection open on which nobody logs in.
func holdConnection(t *testing.T, m *machine) {
	t.Helper()
	waitFor(t, "sshd takes a connection", func() bool { // earlier ones may not have ended
		conn, err := net.Dial("tcp", m.Address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		greeting := make([]byte, len("SSH-2.0-"))
		_, err = io.ReadFull(conn, greeting)
		return err == nil && string(greeting) == "SSH-2.0-"
	})
}

// stopListener makes sshd hang; the kernel still takes connections for it.
func stopListener(t *testing.T, m *machine) {
	t.Helper()
	pid := m.SSHDPid()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Kill(pid, unix.SIGCONT) })
}

func TestTheListenerSaysWhatItTakesAndOffers(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	key := m.allow("ed25519")
	m.StartSSHD()
	for _, test := range []struct {
		name string
		key  *PublicKey
		want Answer
	}{
		{"the key", asked(key), Answer{Key: Accepted, Methods: []string{"publickey", "password"}}},
		{"another key", asked(testmachine.NewKey(t, "ed25519")), Answer{Key: Refused, Methods: []string{"publickey", "password"}, Reason: "the key is not accepted"}},
		{"the methods", nil, Answer{Key: Unknown, Methods: []string{"publickey", "password"}}},
	} {
		got := m.question(test.key).Persist(within(t, 20*time.Second))
		if !strings.HasPrefix(got.Version, "SSH-2.0-OpenSSH") {
			t.Errorf("%s: version %q", test.name, got.Version)
		}
		test.want.Version, test.want.HostKey = got.Version, m.HostKey.Marshal()
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestAListenerThatIsJustStartingIsWaitedFor(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	key := m.allow("ed25519")
	answered := make(chan Answer, 1)
	go func() { answered <- m.question(asked(key)).Persist(within(t, 20*time.Second)) }()
	m.StartSSHD()
	if got := <-answered; got.Key != Accepted {
		t.Errorf("%s (%s), want accepted", got.Key, got.Reason)
	}
}

func TestAnRSAHostCertificateIsPinned(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.Run(t, "ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", "/etc/ssh/ssh_host_rsa_key")
	m.Run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/etc/ssh/ca")
	m.Run(t, "ssh-keygen", "-q", "-s", "/etc/ssh/ca", "-I", "host", "-h", "/etc/ssh/ssh_host_rsa_key.pub")
	m.SSHDConfig("HostKey /etc/ssh/ssh_host_rsa_key\nHostCertificate /etc/ssh/ssh_host_rsa_key-cert.pub\n")
	m.StartSSHD()
	key := m.allow("ed25519")
	seen, _ := m.sshd.QueryInetd(within(t, 20*time.Second), DefaultConfig, testUser, asked(key))
	q := m.question(asked(key))
	q.HostKey = seen.HostKey
	if got := q.Ask(within(t, 20*time.Second)); got.Key != Accepted {
		t.Errorf("%s (%s), want accepted", got.Key, got.Reason)
	}
}

// remotes are where connections came from.
func remotes(r *record) (all []netip.Addr) {
	for _, text := range r.all() {
		all = append(all, netip.MustParseAddrPort(text).Addr())
	}
	return all
}

// TestQuestionsComeFromAnAddressOfTheirOwn: penalties are by source address.
func TestQuestionsComeFromAnAddressOfTheirOwn(t *testing.T) {
	t.Parallel()
	var from record
	address := sshServer(t, hostSigner(t, "ed25519"), func(config *ssh.ServerConfig, conn *cutting) {
		from.add(conn.RemoteAddr().String())
	})
	const times = 20
	for range times {
		Question{Address: address, User: testUser}.Ask(within(t, 10*time.Second))
	}
	distinct := map[netip.Addr]bool{}
	for _, addr := range remotes(&from) {
		distinct[addr] = true
		if !addr.IsLoopback() || addr == loopback {
			t.Errorf("asked from %s", addr)
		}
	}
	if len(distinct) < times-1 { // two may be the same once in 16 million times
		t.Errorf("%d questions came from %d addresses", times, len(distinct))
	}
}

func TestWhatIsRefusedToAnAddressOfOursIsAskedFromTheUsualOne(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.SSHDConfig("AllowUsers " + testUser + "@127.0.0.1\n")
	key := m.allow("ed25519")
	m.StartSSHD()
	if got := m.question(asked(key)).Ask(within(t, 20*time.Second)); got.Key != Accepted {
		t.Errorf("%s (%s), want accepted", got.Key, got.Reason)
	}
}

// TestAsManyQuestionsAsYouLikeLockNobodyOut: OpenSSH 9.8 and later turn an
// address away that keeps on asking without logging in.
func TestAsManyQuestionsAsYouLikeLockNobodyOut(t *testing.T) {
	t.Parallel()
	m := newDebian(t, "trixie")
	key := m.allow("ed25519")
	m.StartSSHD()
	if m.effective().Get("persourcepenalties") == "no" {
		t.Fatal("this sshd has no penalties: the test shows nothing")
	}
	for n := range 12 {
		if got := m.question(asked(key)).Ask(within(t, 20*time.Second)); got.Key != Accepted {
			t.Fatalf("question %d: %s (%s), want accepted", n+1, got.Key, got.Reason)
		}
	}
	if err := m.Login(t, testUser, key.Signer); err != nil {
		t.Errorf("a good key right after: %v", err)
	}
}

// TestAPenaltyIsUnknown: the cut comes before the handshake.
func TestAPenaltyIsUnknown(t *testing.T) {
	t.Parallel()
	m := newDebian(t, "trixie")
	key := m.allow("ed25519")
	m.StartSSHD()
	for range 30 {
		got := m.question(asked(key)).askFrom(within(t, 20*time.Second), nil)
		switch got.Key {
		case Accepted:
			continue
		case Refused:
			t.Fatalf("refused (%s), want unknown", got.Reason)
		}
		if got.Methods != nil {
			t.Errorf("unknown (%s) only after %v were offered", got.Reason, got.Methods)
		}
		var auth *testmachine.AuthError
		if err := m.Login(t, testUser, key.Signer); !errors.As(err, &auth) {
			t.Errorf("logon from 127.0.0.1 in spite of the penalty: %v: the test shows nothing", err)
		}
		return
	}
	t.Error("30 questions from one address earned no penalty: the test shows nothing")
}

func TestWhereTheListenerIsReached(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		config Config
		want   string
	}{
		{"nothing said", Config{}, "127.0.0.1:22"},
		{"a port", Config{"port": {"2222"}}, "127.0.0.1:2222"},
		{"everywhere", Config{"listenaddress": {"[::]:22", "0.0.0.0:22"}}, "127.0.0.1:22"},
		{"everywhere in IPv6 alone", Config{"listenaddress": {"[::]:2200"}}, "[::1]:2200"},
		{"outside alone", Config{"listenaddress": {"192.0.2.1:22", "192.0.2.2:22"}}, "192.0.2.1:22"},
		{"loopback and outside", Config{"listenaddress": {"192.0.2.1:22", "127.0.0.1:22"}}, "127.0.0.1:22"},
		{"a routing domain", Config{"listenaddress": {"192.0.2.1:22 rdomain red"}}, "192.0.2.1:22"},
		{"an empty value", Config{"listenaddress": {""}, "port": {"22"}}, "127.0.0.1:22"},
	} {
		if got := test.config.ListenAddress(); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestPersistEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	address := listen(t, func(net.Conn) { cancel() }) // cut off, so that the next try is seconds away
	start := time.Now()
	if got := (Question{Address: address, User: testUser}).Persist(ctx); got.Key != Unknown || time.Since(start) > listenerPause/2 {
		t.Errorf("%s after %v, want unknown at once", got.Key, time.Since(start))
	}
}
