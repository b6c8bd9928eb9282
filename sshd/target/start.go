package target

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// TB is what [Start] needs of a test; *testing.T, *testing.B and *testing.F have it.
type TB interface {
	Helper()
	Failed() bool
	Cleanup(func())
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Start starts a server on a free port of 127.0.0.1, which is closed when the test ends. A test that fails shows what
// happened at the server.
func Start(t TB, opts ...Option) *Server {
	t.Helper()
	s, err := New(opts...)
	if err != nil {
		t.Fatalf("start an SSH server: %v", err)
	}
	if _, err := s.Listen("127.0.0.1:0"); err != nil {
		t.Fatalf("start an SSH server: %v", err)
	}
	t.Cleanup(func() {
		closeFor(t, s, closeNotice)
		if !t.Failed() {
			return
		}
		for _, e := range s.Events() {
			t.Logf("ssh server: %s", e)
		}
	})
	return s
}

// closeNotice is how long the end of a server may take before its test is told what it waits for.
const closeNotice = 5 * time.Second

// closeFor closes s, and tells a test that waits for it whose handlers do not return.
func closeFor(t TB, s *Server, notice time.Duration) {
	t.Helper()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = s.Close()
	}()
	for timer := time.NewTimer(notice); ; {
		select {
		case <-closed:
			timer.Stop()
			return
		case <-timer.C:
			if left := s.unfinished(); len(left) > 0 {
				t.Logf("the SSH server waits for handlers that do not return although their context has ended: %s", strings.Join(left, "; "))
			}
		}
	}
}

// unfinished are the sessions whose handlers still run.
func (s *Server) unfinished() []string {
	s.mu.Lock()
	conns := slices.Collect(maps.Keys(s.conns))
	s.mu.Unlock()
	var left []string
	for _, c := range conns {
		c.mu.Lock()
		for of := range c.programs {
			left = append(left, fmt.Sprintf("%s's %s %q", of.User, of.Request, cmp.Or(of.Command, of.Subsystem)))
		}
		c.mu.Unlock()
	}
	slices.Sort(left)
	return left
}

// Listen listens on a TCP address, host:port, and serves what connects until [Server.Close]. Should that come to an end before, an
// [Event] of kind [ListenerFailed] tells why.
func (s *Server) Listen(address string) (net.Addr, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	if !s.track(func() { s.listeners = append(s.listeners, l) }) {
		_ = l.Close()
		return nil, ErrClosed
	}
	go func() { _ = s.accept(l) }()
	return l.Addr(), nil
}

// KnownHosts is a line for known_hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT) for each listener, the first one first, and each host
// key of the server; nothing where there is no listener.
func (s *Server) KnownHosts() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines strings.Builder
	for _, l := range s.listeners {
		for _, key := range s.ssh.HostSigners {
			fmt.Fprintln(&lines, knownhosts.Line([]string{l.Addr().String()}, key.PublicKey()))
		}
	}
	return lines.String()
}

// ClientConfig is a client's configuration for x/crypto/ssh: it logs in as user by the methods given, or, where none is
// given, by [Server.ClientKey] or the user's own password, and takes no other host key than the server's.
func (s *Server) ClientConfig(user string, methods ...ssh.AuthMethod) *ssh.ClientConfig {
	if len(methods) == 0 {
		methods = s.ownMethods(user)
	}
	return &ssh.ClientConfig{
		User: user, Auth: methods, HostKeyCallback: s.checkHostKey, Timeout: 10 * time.Second,
	}
}

func (s *Server) checkHostKey(_ string, _ net.Addr, key ssh.PublicKey) error {
	for _, own := range s.ssh.HostSigners {
		if bytes.Equal(own.PublicKey().Marshal(), key.Marshal()) {
			return nil
		}
	}
	return fmt.Errorf("host key %s is not the server's", ssh.FingerprintSHA256(key))
}

func (s *Server) ownMethods(user string) []ssh.AuthMethod {
	if key := s.ClientKey(); key != nil {
		return []ssh.AuthMethod{ssh.PublicKeys(key)}
	}
	if u := s.options.users[user]; u.Password != "" {
		return []ssh.AuthMethod{ssh.Password(u.Password)}
	}
	return nil
}

// ClientKey is the key that was made because no option gave a way to log in; it lets in as any user. Else it is nil.
func (s *Server) ClientKey() ssh.Signer { return s.clientKey }

// ClientKeyPEM is the private half of [Server.ClientKey] as an OpenSSH private key file, without passphrase, for clients
// that read theirs from one. It is nil where no key was made.
func (s *Server) ClientKeyPEM() []byte { return s.clientPEM }

func (s *Server) makeClientKey() error {
	if s.options.waysIn() {
		return nil
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make a client's key: %w", err)
	}
	if s.clientKey, err = ssh.NewSignerFromKey(private); err != nil {
		return fmt.Errorf("make a client's key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return fmt.Errorf("make a client's key: %w", err)
	}
	s.clientPEM = pem.EncodeToMemory(block)
	WithAuthorizedKeys(string(ssh.MarshalAuthorizedKey(s.clientKey.PublicKey())))(s.options)
	return nil
}
