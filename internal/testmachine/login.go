package testmachine

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// loginTimeout bounds one login, which takes some 50 ms.
const loginTimeout = 20 * time.Second

// errAsked ends a handshake once the server has told its methods.
var errAsked = errors.New("methods are known")

// Methods returns what the running sshd offers that user for authentication,
// sorted: "password", "publickey", ... A user let in on the bare "none"
// request gets the one method "none".
func (m *Machine) Methods(t testing.TB, user string) []string {
	t.Helper()
	var methods []string
	config := m.clientConfig(user)
	config.AuthCallback = func(auth *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
		methods = slices.Sorted(slices.Values(auth.AllowedMethods))
		return nil, errAsked
	}
	client, err := m.dial(config)
	switch {
	case err == nil:
		_ = client.Close()
		return []string{"none"}
	case !errors.Is(err, errAsked):
		t.Fatalf("ask sshd for its methods: %v", err)
	}
	return methods
}

// Login logs in with the key and runs `true`: nil means that a person with
// that key could work. A handshake that was refused is an [AuthError].
func (m *Machine) Login(t testing.TB, user string, signer ssh.Signer) error {
	t.Helper()
	return m.login(user, ssh.PublicKeys(signer))
}

// LoginPassword is [Machine.Login] with the method "password".
func (m *Machine) LoginPassword(t testing.TB, user, password string) error {
	t.Helper()
	return m.login(user, ssh.Password(password))
}

// LoginInteractive is [Machine.Login] with the method "keyboard-interactive",
// each question answered by the password.
func (m *Machine) LoginInteractive(t testing.TB, user, password string) error {
	t.Helper()
	return m.login(user, ssh.KeyboardInteractive(
		func(_, _ string, questions []string, _ []bool) ([]string, error) {
			return slices.Repeat([]string{password}, len(questions)), nil
		}))
}

// AuthError says that sshd let nobody in; a login that got further and then
// failed is another error.
type AuthError struct{ Err error }

func (e *AuthError) Error() string { return fmt.Sprintf("not let in: %v", e.Err) }

func (e *AuthError) Unwrap() error { return e.Err }

func (m *Machine) login(user string, method ssh.AuthMethod) error {
	config := m.clientConfig(user)
	config.Auth = []ssh.AuthMethod{method}
	client, err := m.dial(config)
	if err != nil {
		return &AuthError{err}
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	defer session.Close()
	if out, err := session.CombinedOutput("true"); err != nil {
		return fmt.Errorf("run true: %w\n%s", err, out)
	}
	return nil
}

func (m *Machine) clientConfig(user string) *ssh.ClientConfig {
	return &ssh.ClientConfig{
		User:              user,
		HostKeyCallback:   ssh.FixedHostKey(m.HostKey),
		HostKeyAlgorithms: []string{m.HostKey.Type()},
	}
}

// dial bounds the whole login: ClientConfig.Timeout is for the connection only.
func (m *Machine) dial(config *ssh.ClientConfig) (*ssh.Client, error) {
	conn, err := net.DialTimeout("tcp", m.Address(), loginTimeout)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(loginTimeout)); err != nil {
		_ = conn.Close()
		return nil, err
	}
	c, channels, requests, err := ssh.NewClientConn(conn, m.Address(), config)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return ssh.NewClient(c, channels, requests), nil
}

// OpenSSH returns a command of OpenSSH's own client, the one installed where
// the test runs, that logs in to the machine and runs the command there. It
// uses no configuration and no agent, asks nobody, and trusts the machine's
// host key alone; options ("-i", key.PEM) win over these.
func (m *Machine) OpenSSH(t testing.TB, user string, options []string, command ...string) *exec.Cmd {
	t.Helper()
	known := filepath.Join(t.TempDir(), "known_hosts")
	line := knownhosts.Line([]string{m.Address()}, m.HostKey)
	if err := os.WriteFile(known, []byte(line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ours := []string{
		"-F", "none", "-p", strconv.Itoa(m.Port), "-l", user,
		"-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
		"-o", "UserKnownHostsFile=" + known, "-o", "GlobalKnownHostsFile=none",
		"-o", "StrictHostKeyChecking=yes", "-o", "HostKeyAlgorithms=" + m.HostKey.Type(),
	}
	return exec.Command(RequireProgram(t, "ssh"),
		slices.Concat(options, ours, []string{m.Host}, command)...)
}
