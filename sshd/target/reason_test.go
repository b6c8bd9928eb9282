package target

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

// failure is the reason for which an attempt by the method failed.
func failure(t *testing.T, s *Server, method string) string {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	e, err := s.WaitFor(ctx, func(e Event) bool { return e.Kind == Auth && e.Method == method && e.Verdict == Failed })
	if err != nil {
		t.Fatal(err)
	}
	return e.Reason
}

func TestTheReasonSaysWhichLineOrFileIsAmiss(t *testing.T) {
	key, other := newKey(t), newKey(t)
	dir := t.TempDir()
	missing, listed := filepath.Join(dir, "missing"), filepath.Join(dir, "listed")
	if err := os.WriteFile(listed, []byte("# mine\n\nfrom=192.0.2.1 "+key.Line+"\n"+other.Line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		opts []Option
		want string
	}{
		{"an invalid line", []Option{WithAuthorizedKeysFile(listed)}, "the key's line is not valid: " + listed + ":3: options: from: "},
		{
			"an invalid line of a text",
			[]Option{WithAuthorizedKeys(other.Line + "\ncommand=\"x\",nonsense " + key.Line)},
			"the key's line is not valid: line 2: options: ",
		},
		{"a missing file", []Option{WithAuthorizedKeysFile(missing)}, "no line of authorized_keys has the key; " + missing + " does not exist"},
		{
			"a missing file beside another",
			[]Option{WithAuthorizedKeysFile(missing), WithAuthorizedKeys(other.Line)},
			"no line of authorized_keys has the key; " + missing + " does not exist",
		},
		{"another key", []Option{WithAuthorizedKeys(other.Line)}, "no line of authorized_keys has the key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := Start(t, test.opts...)
			if _, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("ada", ssh.PublicKeys(key.Signer))); err == nil {
				t.Fatal("logged in")
			}
			got := failure(t, s, publicKey)
			if !strings.HasPrefix(got, test.want) || strings.Contains(got, strings.Fields(key.Line)[1]) {
				t.Errorf("reason: %s", got)
			}
		})
	}
}

func TestTheReasonNamesACertificatesSourceAddress(t *testing.T) {
	authority, key := newKey(t), newKey(t)
	cert := withCertificate(t, key.Signer, authority.Signer, func(c *ssh.Certificate) {
		c.ValidPrincipals, c.CriticalOptions = []string{"ada"}, map[string]string{"source-address": "192.0.2.0/24"}
	})
	s := Start(t, WithUserCA(authority.Signer.PublicKey()))
	if _, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("ada", ssh.PublicKeys(cert))); err == nil {
		t.Fatal("logged in")
	}
	if diff := cmp.Diff("the client's address is not in the certificate's source-address", failure(t, s, publicKey)); diff != "" {
		t.Error(diff)
	}
}

func TestTheRecordTellsAClientWithoutAKeyFromOneThatDoubtsTheServer(t *testing.T) {
	for _, test := range []struct {
		name   string
		user   string
		doubts error
		auth   []ssh.AuthMethod
		none   string // why the method none failed
		want   string // why the connection ended
	}{
		{"it forgot its key", "ada", nil, nil, "publickey, password are offered", "the client left after the key exchange, before logging in"},
		{"there is one method", "grace", nil, nil, "password is offered", "the client left after the key exchange, before logging in"},
		{"it doubts the server", "ada", errors.New("another host key"), nil, "", "the client left during the key exchange"},
		{
			"its password is wrong", "ada", nil,
			[]ssh.AuthMethod{ssh.Password("rose")},
			"publickey, password are offered",
			"the client left after the key exchange, before logging in; attempts that failed: 1",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := Start(t, WithUser(User{Name: "ada", Password: "tulip", AuthorizedKeys: newKey(t).Line, Methods: "publickey password"}),
				WithUser(User{Name: "grace", Password: "tulip", Methods: "password"}))
			config := s.ClientConfig(test.user)
			config.Auth = test.auth
			if test.doubts != nil {
				config.HostKeyCallback = func(string, net.Addr, ssh.PublicKey) error { return test.doubts }
			}
			if _, err := ssh.Dial("tcp", s.Addr().String(), config); err == nil {
				t.Fatal("logged in")
			}
			if got := eventOf(t, s, Disconnected).Reason; !strings.HasPrefix(got, test.want) {
				t.Errorf("reason: %s", got)
			}
			none := ""
			for _, e := range s.Events() {
				if e.Method == "none" {
					none = e.Reason
				}
			}
			if diff := cmp.Diff(test.none, none); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheReasonNamesTheLimitOfAttempts(t *testing.T) {
	s := Start(t, alice(), WithSettings("MaxAuthTries 2"))
	wrong := ssh.RetryableAuthMethod(ssh.Password("rose"), 5)
	if _, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("alice", wrong)); err == nil {
		t.Fatal("logged in")
	}
	if diff := cmp.Diff("MaxAuthTries 2: too many authentication failures", eventOf(t, s, Disconnected).Reason); diff != "" {
		t.Error(diff)
	}
}

func TestBothTurnAwayWhoSpeaksNoSSH(t *testing.T) {
	w := newTwins(t, "")
	for _, test := range []struct{ said, want string }{
		{"GET / HTTP/1.0\r\n\r\n", "Invalid SSH identification string."},
		{"\n", "Invalid SSH identification string."},
		{"SSH-\r\n", "Invalid SSH identification string."},
		{"SSH-two\r\n", "Invalid SSH identification string."},
		{"SSH-2.0-x\rx\n", "Invalid SSH identification string."},
		{"SSH-2.0-\x00\n", "Invalid SSH identification string."},
		{"SSH-1.5-old\r\n", "Protocol major versions differ."},
		{"SSH-3.0-new\r\n", "Protocol major versions differ."},
		{strings.Repeat("x", 20_000), "Invalid SSH identification string."},
		{"SSH-2.0-" + strings.Repeat("x", 20_000), "Invalid SSH identification string."},
	} {
		got := w.agree(t, func(t *testing.T, at twin) string {
			conn := dial(t, at.addr)
			for line := make([]byte, 1); line[0] != '\n'; { // so that nothing that was said comes before the server's own
				if _, err := io.ReadFull(conn, line); err != nil {
					t.Fatal(err)
				}
			}
			_, _ = io.WriteString(conn, test.said)
			heard, _ := io.ReadAll(conn)            // may end in a reset, where not all was read that was said
			return strings.TrimSpace(string(heard)) // sshd sends CR LF by itself, which such a reset overtakes
		})
		if got != test.want {
			t.Errorf("%.30q: %q", test.said, got)
		}
	}
	if got := eventOf(t, w.ours, Disconnected).Reason; got != "the client's first line is no SSH identification (RFC 4253 section 4.2)" {
		t.Errorf("reason: %s", got)
	}
}
