package target

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a server with a folder of its own, which is its root.
type fixture struct {
	*Server
	root string
	addr string

	mu       sync.Mutex
	attempts []Event
}

// serve starts a server on the files given (path below its root: content). Folders are made.
func serve(t *testing.T, files map[string]string, options ...Option) *fixture {
	t.Helper()
	f := &fixture{root: t.TempDir()}
	for name, content := range files {
		f.write(t, name, content)
	}
	server, err := New(append([]Option{WithRoot(f.root), WithLog(f.log)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.Server, f.addr = server, l.Addr().String()
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("Serve ended with %v", err)
		}
	})
	return f
}

func (f *fixture) write(t *testing.T, name, content string) {
	t.Helper()
	file := filepath.Join(f.root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), modeOf(name)); err != nil {
		t.Fatal(err)
	}
}

// modeOf is such that every account can read its own files, and run its shell.
func modeOf(name string) os.FileMode {
	switch {
	case strings.HasPrefix(name, "/bin/"):
		return 0o755
	case strings.Contains(name, "host_key"):
		return 0o600
	}
	return 0o644
}

func (f *fixture) log(a Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a.Kind == Auth && a.Method != "none" {
		f.attempts = append(f.attempts, a)
	}
}

// reasons are those of all failed attempts so far.
func (f *fixture) reasons() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, a := range f.attempts {
		if a.Verdict == Failed {
			all = append(all, a.Reason)
		}
	}
	return strings.Join(all, "; ")
}

// login logs in with the methods, in order, and checks the host key.
func (f *fixture) login(user string, methods ...ssh.AuthMethod) (*ssh.Client, error) {
	return ssh.Dial("tcp", f.addr, &ssh.ClientConfig{
		User: user, Auth: methods, HostKeyCallback: ssh.FixedHostKey(f.HostKey()), Timeout: 10 * time.Second,
	})
}

// admits tells whether a login succeeds.
func (f *fixture) admits(t *testing.T, user string, methods ...ssh.AuthMethod) bool {
	t.Helper()
	client, err := f.login(user, methods...)
	if err != nil {
		return false
	}
	_ = client.Close()
	return true
}

// methods are what the server offers the user after "none".
func (f *fixture) methods(t *testing.T, user string) []string {
	t.Helper()
	var offered []string
	config := &ssh.ClientConfig{User: user, HostKeyCallback: ssh.FixedHostKey(f.HostKey())}
	config.AuthCallback = func(state *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
		offered = slices.Sorted(slices.Values(state.AllowedMethods))
		return nil, errors.New("only asking")
	}
	if client, err := ssh.Dial("tcp", f.addr, config); err == nil {
		_ = client.Close()
		t.Fatal("logged in by none")
	}
	return offered
}

// run runs a command and returns its output and status.
func run(t *testing.T, client *ssh.Client, command string) (string, int) {
	t.Helper()
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	out, err := session.Output(command)
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return string(out), 0
	case errors.As(err, &exit):
		return string(out), exit.ExitStatus()
	}
	t.Fatalf("run %q: %v", command, err)
	return "", 0
}

func newKey(t *testing.T) testmachine.Key { return testmachine.NewKey(t, "ed25519") }

// answering answers every question of keyboard-interactive with the password.
func answering(password string) ssh.AuthMethod {
	return ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
		answers := make([]string, len(questions))
		for i := range answers {
			answers[i] = password
		}
		return answers, nil
	})
}

const (
	keysFile   = "/keys/%u"
	configFile = "/etc/ssh/sshd_config"
)

func TestOnlyTheListedKeyLogsIn(t *testing.T) {
	bound, other := newKey(t), newKey(t)
	f := serve(t, map[string]string{"/keys/alice": bound.Line + "\n"}, WithAuthorizedKeysFile(keysFile))
	for _, test := range []struct {
		name, user string
		key        testmachine.Key
		want       bool
	}{
		{"listed", "alice", bound, true},
		{"not listed", "alice", other, false},
		{"another user's", "bob", bound, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := f.admits(t, test.user, ssh.PublicKeys(test.key.Signer)); got != test.want {
				t.Errorf("logged in: %v; %s", got, f.reasons())
			}
		})
	}
	f.write(t, "/keys/alice", other.Line+"\n")
	if f.admits(t, "alice", ssh.PublicKeys(bound.Signer)) || !f.admits(t, "alice", ssh.PublicKeys(other.Signer)) {
		t.Error("the file was replaced, yet the old key is in force")
	}
}

func TestPasswordsLogInByBothMethods(t *testing.T) {
	f := serve(t, nil, WithUser(User{Name: "alice", Password: "tulip"}), WithUser(User{Name: "empty"}))
	for _, test := range []struct {
		name, user, password string
		want                 bool
	}{
		{"right", "alice", "tulip", true},
		{"wrong", "alice", "Tulip", false},
		{"empty for a user who has one", "alice", "", false},
		{"empty for a user whose password is empty", "empty", "", false},
		{"empty for a user who is not known", "bob", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := f.admits(t, test.user, ssh.Password(test.password)); got != test.want {
				t.Errorf("password: logged in: %v", got)
			}
			if got := f.admits(t, test.user, answering(test.password)); got != test.want {
				t.Errorf("keyboard-interactive: logged in: %v", got)
			}
		})
	}
}

func TestASessionRunsItsCommand(t *testing.T) {
	key := newKey(t)
	f := serve(t, map[string]string{"/keys/alice": key.Line}, WithAuthorizedKeysFile(keysFile))
	client, err := f.login("alice", ssh.PublicKeys(key.Signer))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if out, status := run(t, client, "echo $USER; cat; exit 7"); out != "alice\n" || status != 7 {
		t.Errorf("output %q, status %d", out, status)
	}
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	var out bytes.Buffer
	session.Stdin, session.Stdout = strings.NewReader("echo from stdin\n"), &out
	if err := session.Shell(); err != nil {
		t.Fatal(err)
	}
	if err := session.Wait(); err != nil || out.String() != "from stdin\n" {
		t.Errorf("shell: %q, %v", out.String(), err)
	}
}

func TestCloseEndsRunningSessions(t *testing.T) {
	key := newKey(t)
	f := serve(t, map[string]string{"/keys/alice": key.Line}, WithAuthorizedKeysFile(keysFile))
	client, err := f.login("alice", ssh.PublicKeys(key.Signer))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := session.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start("echo up; sleep 1000 & sleep 1000"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = f.Close(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("Close waits for the command")
	}
	ours, theirs := net.Pipe()
	defer ours.Close()
	if err := f.ServeConn(theirs); !errors.Is(err, ErrClosed) {
		t.Errorf("ServeConn after Close: %v", err)
	}
}

func TestEveryAttemptIsLogged(t *testing.T) {
	key, other := newKey(t), newKey(t)
	f := serve(t, map[string]string{"/keys/alice": key.Line},
		WithAuthorizedKeysFile(keysFile), WithUser(User{Name: "alice", Password: "tulip"}))
	f.admits(t, "alice", ssh.PublicKeys(other.Signer, key.Signer))
	f.admits(t, "alice", ssh.Password("secret-guess"))
	var got []string
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.attempts {
		_, line, _ := strings.Cut(a.String(), " ") // without the time
		if strings.Contains(line, "guess") {
			t.Error("a password is in the log")
		}
		line = strings.ReplaceAll(line, ssh.FingerprintSHA256(key.Signer.PublicKey()), "KEY")
		got = append(got, strings.ReplaceAll(line, ssh.FingerprintSHA256(other.Signer.PublicKey()), "OTHER"))
	}
	want := []string{
		`connection 1 from 127.0.0.1: auth client="SSH-2.0-Go" user="alice" method="publickey" key="OTHER" verdict="failed" reason="no line of authorized_keys has the key"`,
		`connection 1 from 127.0.0.1: auth client="SSH-2.0-Go" user="alice" method="publickey" key="KEY" verdict="postponed"`,
		`connection 1 from 127.0.0.1: auth client="SSH-2.0-Go" user="alice" method="publickey" key="KEY" verdict="accepted"`,
		`connection 2 from 127.0.0.1: auth client="SSH-2.0-Go" user="alice" method="password" verdict="failed" reason="wrong password"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("log:\n%s", strings.Join(got, "\n"))
	}
}
