package sshd

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// cutting is a connection that a server cuts off when told.
type cutting struct {
	net.Conn
	afterNextWrite bool
}

func (c *cutting) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if c.afterNextWrite {
		_ = c.Conn.Close()
	}
	return n, err
}

// sshServer serves connections as an SSH server that asks for a key and
// accepts none; change makes it another.
func sshServer(t *testing.T, host ssh.Signer, change func(*ssh.ServerConfig, *cutting)) string {
	t.Helper()
	return listen(t, func(raw net.Conn) {
		conn := &cutting{Conn: raw}
		config := &ssh.ServerConfig{
			PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
				return nil, errors.New("not this key")
			},
		}
		config.AddHostKey(host)
		if change != nil {
			change(config, conn)
		}
		_, channels, requests, err := ssh.NewServerConn(conn, config)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(requests)
		for channel := range channels {
			_ = channel.Reject(ssh.Prohibited, "nobody works here")
		}
	})
}

func TestALostConnectionIsUnknownAndNeverRefused(t *testing.T) {
	t.Parallel()
	host, key := hostSigner(t, "ed25519"), asked(testmachine.NewKey(t, "ed25519"))
	version := []byte("SSH-2.0-OpenSSH_9.2\r\n")
	for _, test := range []struct {
		name    string
		address string
		methods []string // what was learnt before
		reason  string
	}{
		{name: "closed at once", address: listen(t, func(net.Conn) {}), reason: "closed before an answer"},
		{
			name:    "closed after the version",
			address: listen(t, func(conn net.Conn) { _, _ = conn.Write(version); _, _ = conn.Read(make([]byte, 16)) }),
		},
		{
			name:    "turned away in words, as for MaxStartups",
			address: listen(t, func(conn net.Conn) { _, _ = io.WriteString(conn, "Exceeded MaxStartups\r\n") }),
		},
		{
			name: "closed instead of an answer to none", reason: "closed before an answer",
			address: sshServer(t, host, func(config *ssh.ServerConfig, conn *cutting) {
				config.AuthLogCallback = func(_ ssh.ConnMetadata, method string, _ error) {
					if method == "none" {
						_ = conn.Conn.Close()
					}
				}
			}),
		},
		{
			name: "closed after the answer to none",
			address: sshServer(t, host, func(config *ssh.ServerConfig, conn *cutting) {
				config.AuthLogCallback = func(_ ssh.ConnMetadata, method string, _ error) { conn.afterNextWrite = true }
			}),
		},
		{
			name: "closed instead of an answer to the query", methods: []string{"publickey"}, reason: "closed before an answer",
			address: sshServer(t, host, func(config *ssh.ServerConfig, conn *cutting) {
				config.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
					return nil, conn.Conn.Close()
				}
			}),
		},
		{
			name: "disconnected for too many attempts", methods: []string{"publickey"}, reason: "too many authentication failures",
			address: sshServer(t, host, func(config *ssh.ServerConfig, _ *cutting) { config.MaxAuthTries = 1 }),
		},
		{
			name: "silent from the start", reason: "no answer in time",
			address: listen(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }),
		},
		{
			name: "silent after the query", methods: []string{"publickey"}, reason: "no answer in time",
			address: sshServer(t, host, func(config *ssh.ServerConfig, conn *cutting) {
				config.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
					_, err := io.Copy(io.Discard, conn.Conn)
					return nil, err
				}
			}),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := Question{Address: test.address, User: testUser, Key: key}.Ask(within(t, time.Second))
			if got.Key != Unknown || !strings.Contains(got.Reason, test.reason) {
				t.Errorf("the key is %s (%s), want unknown (%s)", got.Key, got.Reason, test.reason)
			}
			if test.name == "closed after the answer to none" {
				return // whether the methods were read before the end was seen is a race
			}
			if diff := cmp.Diff(test.methods, got.Methods); diff != "" {
				t.Errorf("methods (-want +got):\n%s", diff)
			}
		})
	}
}

func TestARefusalIsRefused(t *testing.T) {
	t.Parallel()
	address := sshServer(t, hostSigner(t, "ed25519"), nil)
	got := Question{Address: address, User: testUser, Key: asked(testmachine.NewKey(t, "ed25519"))}.Ask(within(t, 10*time.Second))
	want := Answer{Key: Refused, Methods: []string{"publickey"}, Version: "SSH-2.0-Go", Reason: "the key is not accepted"}
	got.HostKey = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

func TestAConversationEndsWithItsContext(t *testing.T) {
	t.Parallel()
	dripping := listen(t, func(conn net.Conn) { // each byte alone comes in time
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := io.WriteString(conn, "x"); err != nil {
				return
			}
		}
	})
	start := time.Now()
	got := Question{Address: dripping, User: testUser}.Ask(within(t, 200*time.Millisecond))
	if took := time.Since(start); got.Key != Unknown || took > 5*time.Second {
		t.Errorf("%s after %v, want unknown soon after 200ms", got.Key, took)
	}
}

func TestAnotherHostKeyIsUnknownAndIsToldNothingOfTheKey(t *testing.T) {
	t.Parallel()
	var attempts record
	address := sshServer(t, hostSigner(t, "ed25519"), func(config *ssh.ServerConfig, _ *cutting) {
		config.AuthLogCallback = func(_ ssh.ConnMetadata, method string, _ error) { attempts.add(method) }
		config.PublicKeyCallback = func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			attempts.add(ssh.FingerprintSHA256(key))
			return nil, nil //nolint:nilnil // accepted, without limits
		}
	})
	key := asked(testmachine.NewKey(t, "ed25519"))
	for _, kind := range []string{"ed25519", "ecdsa-256", "rsa-2048"} {
		pin := hostSigner(t, kind).PublicKey().Marshal()
		got := Question{Address: address, User: testUser, Key: key, HostKey: pin}.Ask(within(t, 10*time.Second))
		if got.Key != Unknown || got.Methods != nil {
			t.Errorf("pinned %s: %+v, want unknown", kind, got)
		}
	}
	if seen := attempts.all(); len(seen) > 0 {
		t.Errorf("the other process was asked %v, want nothing", seen)
	}
}

func TestThePinnedHostKeyIsTheOneThatHasToAnswer(t *testing.T) {
	t.Parallel()
	signers := []ssh.Signer{hostSigner(t, "ed25519"), hostSigner(t, "ecdsa-256"), hostSigner(t, "rsa-2048")}
	signers = append(signers, hostCertificate(t, signers[2]))
	for _, signer := range signers {
		host := signer.PublicKey()
		t.Run(host.Type(), func(t *testing.T) {
			t.Parallel()
			address := sshServer(t, signers[0], func(config *ssh.ServerConfig, _ *cutting) {
				config.AddHostKey(signers[1])
				config.AddHostKey(signers[2])
				config.AddHostKey(signers[3])
			})
			got := Question{Address: address, User: testUser, HostKey: host.Marshal()}.Ask(within(t, 10*time.Second))
			if diff := cmp.Diff([]string{"publickey"}, got.Methods); diff != "" {
				t.Errorf("methods (-want +got):\n%s%s", diff, got.Reason)
			}
			if !slices.Equal(got.HostKey, host.Marshal()) {
				t.Error("another host key answered than the pinned one")
			}
		})
	}
}

// hostCertificate is the host key with a certificate (HostCertificate in
// sshd_config(5)).
func hostCertificate(t *testing.T, host ssh.Signer) ssh.Signer {
	t.Helper()
	certificate := &ssh.Certificate{Key: host.PublicKey(), CertType: ssh.HostCert, ValidBefore: ssh.CertTimeInfinity}
	authority := hostSigner(t, "ed25519")
	if err := certificate.SignCert(nonces{}, authority); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewCertSigner(certificate, host)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// nonces are all zero.
type nonces struct{}

func (nonces) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestAServerThatDoesNotListTheAlgorithmIsAskedAllTheSame: server-sig-algs may
// be missing or leave things out.
func TestAServerThatDoesNotListTheAlgorithmIsAskedAllTheSame(t *testing.T) {
	t.Parallel()
	var queried record
	address := sshServer(t, hostSigner(t, "ed25519"), func(config *ssh.ServerConfig, _ *cutting) {
		config.PublicKeyAuthAlgorithms = []string{ssh.KeyAlgoED25519}
		config.AuthLogCallback = func(_ ssh.ConnMetadata, method string, err error) {
			if method == "publickey" {
				queried.add(err.Error())
			}
		}
	})
	got := Question{Address: address, User: testUser, Key: asked(testmachine.NewKey(t, "rsa-2048"))}.Ask(within(t, 10*time.Second))
	if got.Key != Refused {
		t.Errorf("%+v, want refused", got)
	}
	for _, seen := range queried.all() {
		if !strings.Contains(seen, "rsa-sha2-512") {
			t.Errorf("the server was asked about another algorithm: %s", seen)
		}
	}
}

// TestAKeyIsJudgedByOneAlgorithm: RSA by the one that current clients sign
// with, whatever else sshd would take.
func TestAKeyIsJudgedByOneAlgorithm(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		kind, algorithms string
		want             Verdict
	}{
		{"rsa-2048", "", Accepted},
		{"rsa-2048", "rsa-sha2-512", Accepted},
		{"rsa-2048", "rsa-sha2-256", Refused},
		{"rsa-2048", "+ssh-rsa", Accepted},
		{"rsa-2048", "ssh-rsa", Refused},
		{"rsa-2048", "ssh-ed25519", Refused},
		{"ed25519", "rsa-sha2-512", Refused},
		{"ed25519", "", Accepted},
		{"ecdsa-256", "", Accepted},
		{"ecdsa-384", "ecdsa-sha2-nistp384", Accepted},
		{"ecdsa-521", "ecdsa-sha2-nistp256", Refused},
	} {
		t.Run(test.kind+" where "+test.algorithms+" counts", func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			if test.algorithms != "" {
				m.SSHDConfig("PubkeyAcceptedAlgorithms " + test.algorithms + "\n")
			}
			got, log := m.sshd.QueryInetd(within(t, 20*time.Second), DefaultConfig, testUser, asked(m.allow(test.kind)))
			if got.Key != test.want {
				t.Errorf("%s (%s), want %s\n%s", got.Key, got.Reason, test.want, strings.Join(log, "\n"))
			}
		})
	}
}

func TestAKeyOfATypeTheLibraryDoesNotKnowIsAskedAbout(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.StartSSHD()
	security := ssh.Marshal(struct {
		Type, Point, Application string
	}{"sk-ssh-ed25519@openssh.com", strings.Repeat("k", 32), "ssh:"})
	unheard := ssh.Marshal(struct{ Type, Body string }{"ssh-unheard-of@example.org", "body"})
	signer := opaqueKey{PublicKey{"sk-ssh-ed25519@openssh.com", security}}
	m.AuthorizedKeys(testUser, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer))))
	for _, test := range []struct {
		key  PublicKey
		want Verdict
	}{
		{PublicKey{"sk-ssh-ed25519@openssh.com", security}, Accepted},
		{PublicKey{"ssh-unheard-of@example.org", unheard}, Refused},
		{PublicKey{"ssh-ed25519", []byte("not a blob at all")}, Refused},
	} {
		if got := m.question(&test.key).Ask(within(t, 20*time.Second)); got.Key != test.want {
			t.Errorf("%s: %s (%s), want %s", test.key.Type, got.Key, got.Reason, test.want)
		}
	}
}

func TestABannerIsTolerated(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.WriteFile("/etc/banner", strings.Repeat("No unauthorized use. ", 400)+"\n", 0o644)
	m.SSHDConfig("Banner /etc/banner\n")
	key := m.allow("ed25519")
	m.StartSSHD()
	if got := m.question(asked(key)).Ask(within(t, 20*time.Second)); got.Key != Accepted {
		t.Errorf("%s (%s), want accepted", got.Key, got.Reason)
	}
}

func TestPublickeyNotOfferedIsRefused(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.SSHDConfig("PubkeyAuthentication no\n")
	key := m.allow("ed25519")
	m.StartSSHD()
	got := m.question(asked(key)).Ask(within(t, 20*time.Second))
	if got.Key != Refused || !strings.Contains(got.Reason, "not among the methods") || !got.OffersPassword() {
		t.Errorf("%+v, want refused, since publickey is not offered", got)
	}
}

func TestALogonWithoutAnyProofIsAnOpenDoor(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.SSHDConfig("UsePAM no\nPermitEmptyPasswords yes\n")
	m.Run(t, "passwd", "-d", testUser)
	key := m.allow("ed25519")
	m.StartSSHD()
	for _, q := range []Question{m.question(nil), m.question(asked(key))} {
		got := q.Ask(within(t, 20*time.Second))
		if got.Key != Unknown || !got.OffersPassword() {
			t.Errorf("%+v, want the key unknown and the door open", got)
		}
	}
}

// TestAQueryNeverLogsIn: neither in sshd's own words nor in the login records.
func TestAQueryNeverLogsIn(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.SSHDConfig("LogLevel VERBOSE\n")
	key := m.allow("ed25519")
	m.StartSSHD()
	before := m.loginRecords()
	if got := m.question(asked(key)).Ask(within(t, 20*time.Second)); got.Key != Accepted {
		t.Fatalf("%s (%s), want accepted", got.Key, got.Reason)
	}
	if got, _ := m.sshd.QueryInetd(within(t, 20*time.Second), DefaultConfig, testUser, asked(key)); got.Key != Accepted {
		t.Fatalf("%s (%s), want accepted", got.Key, got.Reason)
	}
	waitFor(t, "sshd has logged the end", func() bool { return strings.Contains(m.SSHDLog(), "Connection closed by authenticating user") })
	for _, told := range []string{"Accepted publickey", "session opened", "Starting session", "Failed publickey"} {
		if strings.Contains(m.SSHDLog(), told) {
			t.Errorf("sshd logged %q:\n%s", told, m.SSHDLog())
		}
	}
	if m.loginRecords() != before {
		t.Error("the login records have changed")
	}
}

func TestAUserWhoDoesNotExistIsRefused(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.StartSSHD()
	q := m.question(asked(testmachine.NewKey(t, "ed25519")))
	q.User = "nobody-at-all"
	if got := q.Ask(within(t, 20*time.Second)); got.Key != Refused {
		t.Errorf("%s (%s), want refused", got.Key, got.Reason)
	}
}
