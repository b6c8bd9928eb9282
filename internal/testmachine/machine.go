package testmachine

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/overlay"
)

// Machine is a throw-away machine. Its methods fail the test that made it when
// the machine itself does not work; what a test wants to know comes back as a
// value or an error.
type Machine struct {
	// Root is where the machine's / is seen from the test.
	Root string
	// Host and Port are where its sshd listens: a port of its own on 127.0.0.1,
	// unless the test moves it.
	Host string
	Port int
	// HostKey is the one its sshd shows; the other kinds it has are refused by
	// the logins of this package.
	HostKey ssh.PublicKey

	t        testing.TB
	files    *os.Root
	listener *listener // nil while sshd is not running
}

// New returns a machine that looks like the one the test runs on, with no
// sshd running yet. It is taken away when the test ends.
func New(t testing.TB) *Machine {
	t.Helper()
	RequireRoot(t)
	RequireProgram(t, "sshd")
	return newMachine(t, "/")
}

func newMachine(t testing.TB, lower string) *Machine {
	t.Helper()
	if !overlay.InOwnNamespace() {
		t.Fatal("testmachine: no mount namespace of its own (see the start of this test's output)")
	}
	// Not t.TempDir: that one deletes by content, see overlay.Dismantle.
	dir, err := os.MkdirTemp("", "latchkey-machine-")
	if err != nil {
		t.Fatal(err)
	}
	m := &Machine{Host: "127.0.0.1", t: t}
	t.Cleanup(func() { m.takeAway(dir) })
	if m.Root, err = overlay.Assemble(dir, lower); err != nil {
		t.Fatalf("testmachine: %v", err)
	}
	if m.files, err = os.OpenRoot(m.Root); err != nil {
		t.Fatalf("testmachine: %v", err)
	}
	m.Port = reservePort(t)
	m.furnish()
	return m
}

// takeAway also takes what newMachine left half done.
func (m *Machine) takeAway(dir string) {
	m.t.Helper()
	m.StopSSHD()
	overlay.EndProcessesIn(m.Root)
	if m.files != nil {
		_ = m.files.Close()
	}
	if err := overlay.Dismantle(dir); err != nil {
		m.t.Errorf("testmachine: %v", err)
	}
}

// furnish writes what the folders hidden from the machine below must have.
func (m *Machine) furnish() {
	m.t.Helper()
	for _, name := range []string{"etc/nologin", "etc/resolv.conf"} { // no name server, no waiting for one
		if err := m.files.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			m.t.Fatal(err)
		}
	}
	m.Mkdir("/run/sshd", 0o755)
	m.Mkdir("/etc/ssh/sshd_config.d", 0o755)
	m.Mkdir("/etc/ssh/authorized_keys", 0o755)
	m.writeHostKeys()
	m.SSHDConfig(DefaultSSHDConfig)
}
