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

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/sys/unix"
)

// A server that asked nothing of anybody would be the worst of the library's defaults.
func TestNoneNeverLogsIn(t *testing.T) {
	for name, test := range map[string]struct {
		options []Option
		config  string
	}{
		"nothing configured": {},
		"empty passwords permitted": {
			options: []Option{WithSSHDConfig(configFile), WithUser(User{Name: "alice"})},
			config:  "PermitEmptyPasswords yes\n",
		},
		"every method off": {
			options: []Option{WithSSHDConfig(configFile)},
			config:  "PubkeyAuthentication no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n",
		},
		"no way left":           {options: []Option{WithSSHDConfig(configFile)}, config: "AuthenticationMethods hostbased\n"},
		"none as the only way":  {options: []Option{WithSSHDConfig(configFile)}, config: "AuthenticationMethods none\n"},
		"another list for some": {options: []Option{WithSSHDConfig(configFile)}, config: "Match User alice\nPasswordAuthentication no\n"},
	} {
		t.Run(name, func(t *testing.T) {
			f := serve(t, accounts(map[string]string{configFile: test.config}), test.options...)
			if f.admits(t, "alice") || f.admits(t, "alice", ssh.Password(""), answering("")) {
				t.Error("logged in without a proof")
			}
		})
	}
}

// queryOnly offers a key that is not held: when it comes to signing, there is nothing to sign with.
func queryOnly(key ssh.PublicKey) ssh.AuthMethod { return ssh.PublicKeys(unheld{key}) }

type unheld struct{ key ssh.PublicKey }

func (k unheld) PublicKey() ssh.PublicKey { return k.key }

func (k unheld) Sign(io.Reader, []byte) (*ssh.Signature, error) {
	return nil, errors.New("the private key is not here")
}

func TestAKeyThatWasOnlyAskedAboutLendsNothing(t *testing.T) {
	admin, own := newKey(t), newKey(t)
	seen := make(chan *Session, 1)
	f := serve(t, map[string]string{"/keys/mallory": `command="admin" ` + admin.Line + "\n" + own.Line + "\n"},
		WithAuthorizedKeysFile(keysFile), WithUser(User{Name: "mallory", Password: "tulip"}),
		WithRun(func(_ context.Context, s *Session) int {
			seen <- s
			return 0
		}))
	for name, second := range map[string]ssh.AuthMethod{
		"then a password": ssh.Password("tulip"), "then an own key": ssh.PublicKeys(own.Signer),
	} {
		t.Run(name, func(t *testing.T) {
			step := 0
			config := &ssh.ClientConfig{User: "mallory", HostKeyCallback: ssh.FixedHostKey(f.HostKey())}
			config.AuthCallback = func(*ssh.ClientAuthContext) (ssh.AuthMethod, error) {
				step++
				return []ssh.AuthMethod{queryOnly(admin.Signer.PublicKey()), second}[min(step, 2)-1], nil
			}
			client, err := ssh.Dial("tcp", f.addr, config)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			run(t, client, "mine")
			s := <-seen
			if s.Forced || s.Command != "mine" || s.Fingerprint == ssh.FingerprintSHA256(admin.Signer.PublicKey()) {
				t.Errorf("session has the key it never proved: %+v", s)
			}
			if !strings.Contains(logged(f), `verdict="postponed"`) {
				t.Error("the key was not asked about: nothing was tested")
			}
		})
	}
}

func logged(f *fixture) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, a := range f.attempts {
		b.WriteString(a.String() + "\n")
	}
	return b.String()
}

func TestAKeyTakenAwayAfterTheQueryIsRefused(t *testing.T) {
	key := newKey(t)
	f := serve(t, map[string]string{"/keys/alice": key.Line}, WithAuthorizedKeysFile(keysFile))
	signer := &beforeSigning{Signer: key.Signer, do: func() { _ = os.Remove(filepath.Join(f.root, "keys/alice")) }}
	if f.admits(t, "alice", ssh.PublicKeys(signer)) {
		t.Error("logged in by a key that is gone")
	}
	if !strings.Contains(logged(f), "postponed") {
		t.Error("the query was refused: nothing was tested")
	}
}

type beforeSigning struct {
	ssh.Signer
	do func()
}

func (s *beforeSigning) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	s.do()
	return s.Signer.Sign(rand, data)
}

func TestASilentConnectionIsCut(t *testing.T) {
	f := serve(t, map[string]string{configFile: "LoginGraceTime 1\n"}, WithSSHDConfig(configFile))
	conn, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("not closed: %v", err)
	}
}

func TestALoginOutlivesTheTimeForLoggingIn(t *testing.T) {
	f := serve(t, accounts(map[string]string{configFile: "LoginGraceTime 1\n"}),
		WithSSHDConfig(configFile), WithUser(User{Name: "alice", Password: "tulip"}))
	client, err := f.login("alice", ssh.Password("tulip"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, status := run(t, client, "sleep 1.2; exit 3"); status != 3 {
		t.Errorf("status %d", status)
	}
}

func TestTooManyTriesEndTheConnection(t *testing.T) {
	f := serve(t, accounts(map[string]string{configFile: "MaxAuthTries 2\n"}),
		WithSSHDConfig(configFile), WithUser(User{Name: "alice", Password: "tulip"}))
	tries := 0
	guess := ssh.RetryableAuthMethod(ssh.PasswordCallback(func() (string, error) {
		tries++
		return "wrong", nil
	}), 10)
	if f.admits(t, "alice", guess) || tries != 2 {
		t.Errorf("%d tries", tries)
	}
}

func TestConnectionsThatDoNotLogInAreBounded(t *testing.T) {
	f := serve(t, nil, WithUser(User{Name: "alice", Password: "tulip"}))
	for range 100 { // PerSourceMaxStartups without a configuration
		conn, err := net.Dial("tcp", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// The server's greeting shows that it has taken the connection.
		if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
	if said := heard(t, f.addr); said != dropNotice {
		t.Errorf("one more hears %q", said)
	}
}

// session opens a channel to try requests on.
func session(t *testing.T, f *fixture) (*ssh.Client, *ssh.Session) {
	t.Helper()
	client, err := f.login("alice", ssh.Password("tulip"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	return client, s
}

func alice() Option { return WithUser(User{Name: "alice", Password: "tulip"}) }

func TestNothingOfTheClientsEnvironmentIsTaken(t *testing.T) {
	_, s := session(t, serve(t, nil, alice()))
	if err := s.Setenv("LD_PRELOAD", "/tmp/evil.so"); err == nil {
		t.Error("env was accepted")
	}
	out, err := s.Output("env")
	if err != nil || strings.Contains(string(out), "LD_PRELOAD") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestForwardingTerminalsAndSubsystemsAreRefusedWhereNothingGrantsThem(t *testing.T) {
	client, s := session(t, serve(t, nil, alice(), WithSettings("DisableForwarding yes", "PermitTTY no")))
	if err := agent.RequestAgentForwarding(s); err == nil {
		t.Error("agent forwarding was granted")
	}
	if err := s.RequestPty("xterm", 24, 80, nil); err == nil {
		t.Error("a terminal was granted")
	}
	if err := s.RequestSubsystem("sftp"); err == nil {
		t.Error("a subsystem was granted")
	}
	if ok, err := s.SendRequest("x11-req", true, nil); ok || err != nil {
		t.Errorf("X11 forwarding: %v, %v", ok, err)
	}
	if l, err := client.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = l.Close()
		t.Error("remote forwarding was granted")
	}
	if conn, err := client.Dial("tcp", client.RemoteAddr().String()); err == nil {
		_ = conn.Close()
		t.Error("local forwarding was granted")
	}
}

func TestRequestsNobodyReadsDoNotBlockTheSession(t *testing.T) {
	_, s := session(t, serve(t, nil, alice()))
	for range 300 {
		for _, request := range []string{"window-change", "signal", "break"} {
			if _, err := s.SendRequest(request, false, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if out, err := s.Output("echo alive"); err != nil || string(out) != "alive\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestAPanicEndsItsOwnSessionOnly(t *testing.T) {
	f := serve(t, nil, alice(), WithRun(func(_ context.Context, s *Session) int {
		if s.Command == "panic" {
			panic("on purpose")
		}
		return 5
	}))
	client, s := session(t, f)
	if err := s.Run("panic"); err == nil {
		t.Error("a panic is reported as success")
	}
	if _, status := run(t, client, "fine"); status != 5 {
		t.Errorf("the next session ended with %d", status)
	}
}

func TestAPanicWhileLoggingInEndsItsOwnConnectionOnly(t *testing.T) {
	f := serve(t, nil, alice(), WithLog(func(e Event) {
		if e.User == "panic" {
			panic("on purpose")
		}
	}))
	if f.admits(t, "panic", ssh.Password("tulip")) {
		t.Error("a panic let the user in")
	}
	if !f.admits(t, "alice", ssh.Password("tulip")) {
		t.Error("the server is gone")
	}
}

func TestAUserNameIsNoPath(t *testing.T) {
	key := newKey(t)
	f := serve(t, map[string]string{"/secret": key.Line, "/keys/x": ""}, WithAuthorizedKeysFile(keysFile))
	for _, user := range []string{"../secret", "", ".", "x/../../secret", "-x", "a\x00b"} {
		if f.admits(t, user, ssh.PublicKeys(key.Signer)) {
			t.Errorf("%q logged in", user)
		}
	}
}

func TestAFIFOInPlaceOfTheKeysHangsNobody(t *testing.T) {
	key := newKey(t)
	f := serve(t, map[string]string{"/keys/bob": key.Line}, WithAuthorizedKeysFile(keysFile))
	makeFIFO(t, filepath.Join(f.root, "keys/alice"))
	if f.admits(t, "alice", ssh.PublicKeys(key.Signer)) || !strings.Contains(f.reasons(), "not a regular file") {
		t.Error(f.reasons())
	}
}

func makeFIFO(t *testing.T, path string) {
	t.Helper()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}
