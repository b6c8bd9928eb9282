package target

import (
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// twins are a real sshd and a Server that read the same sshd_config, the same accounts and the same keys files.
// The real one has the user alice, whose password is "tulip".
type twins struct {
	machine *testmachine.Machine
	ours    *Server
}

// newTwins starts both with the configuration.
func newTwins(t *testing.T, config string, options ...Option) *twins {
	t.Helper()
	m := testmachine.New(t)
	m.AddUser("alice", "tulip")
	w := &twins{machine: m}
	m.SSHDConfig(config)
	m.StartSSHD()
	w.ours = Start(t, append([]Option{WithRoot(m.Root), WithSSHDConfig(configFile)}, options...)...)
	return w
}

// reconfigure has both read another configuration.
func (w *twins) reconfigure(t *testing.T, config string) {
	t.Helper()
	w.machine.StopSSHD()
	w.machine.SSHDConfig(config)
	w.machine.StartSSHD()
	if err := w.ours.Reload(); err != nil {
		t.Fatal(err)
	}
}

// twin is one of the two, as a client sees it.
type twin struct {
	name    string
	addr    string
	hostKey ssh.PublicKey
}

// agree does the same at both, and returns what came of it, which must be the same. An outcome is whatever a
// client can see, as text.
func (w *twins) agree(t *testing.T, do func(t *testing.T, at twin) string) string {
	t.Helper()
	real := do(t, twin{name: "sshd", addr: w.machine.Address(), hostKey: w.machine.HostKey})
	ours := do(t, twin{name: "ours", addr: w.ours.Addr().String(), hostKey: w.ours.HostKey()})
	if real != ours {
		t.Errorf("sshd: %q\nours: %q", real, ours)
	}
	return real
}

// login logs in as alice.
func (at twin) login(methods ...ssh.AuthMethod) (*ssh.Client, error) {
	return ssh.Dial("tcp", at.addr, &ssh.ClientConfig{
		User: "alice", Auth: methods, HostKeyCallback: ssh.FixedHostKey(at.hostKey),
		HostKeyAlgorithms: []string{at.hostKey.Type()}, Timeout: 10 * time.Second,
	})
}

// run logs in as alice with the key and runs a command: "refused" when nobody was let in, else the output, and the
// status where it is not 0.
func (at twin) run(t *testing.T, key ssh.Signer, command string) string {
	t.Helper()
	client, err := at.login(ssh.PublicKeys(key))
	var network net.Error
	switch {
	case errors.As(err, &network):
		t.Fatalf("%s: %v", at.name, err)
	case err != nil:
		return "refused"
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return "no session: " + err.Error()
	}
	defer session.Close()
	out, err := session.CombinedOutput(command)
	if err != nil {
		return string(out) + err.Error()
	}
	return string(out)
}

func TestBothLetTheSameKeyInAndNoOther(t *testing.T) {
	w := newTwins(t, "")
	listed, other := newKey(t), newKey(t)
	w.machine.AuthorizedKeys("alice", listed.Line)
	for _, test := range []struct {
		key  ssh.Signer
		want string
	}{{listed.Signer, "in\n"}, {other.Signer, "refused"}} {
		got := w.agree(t, func(t *testing.T, at twin) string { return at.run(t, test.key, "echo in") })
		if got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
