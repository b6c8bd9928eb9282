package sshd

import (
	"context"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

const testUser = "ecs-user"

// machine is the sshd of a throw-away machine, with a logon user.
type machine struct {
	*testmachine.Machine
	sshd *Daemon
	t    *testing.T
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	return furnished(t, testmachine.New(t))
}

// newMachineOf is one of a Debian release, "" for the one that the test runs on.
func newMachineOf(t *testing.T, suite string) *machine {
	t.Helper()
	if suite == "" {
		return newMachine(t)
	}
	return newDebian(t, suite)
}

func newDebian(t *testing.T, suite string) *machine {
	t.Helper()
	return furnished(t, testmachine.NewDebian(t, suite))
}

func furnished(t *testing.T, bare *testmachine.Machine) *machine {
	t.Helper()
	bare.AddUser(testUser, "correct horse")
	return &machine{Machine: bare, sshd: New(Daemon{Root: bare.Root}), t: t}
}

// allow lets a new key of that kind log in.
func (m *machine) allow(kind string) testmachine.Key {
	m.t.Helper()
	key := testmachine.NewKey(m.t, kind)
	m.AuthorizedKeys(testUser, key.Line)
	return key
}

// question is one to the machine's running sshd.
func (m *machine) question(key *PublicKey) Question {
	return Question{Address: m.Address(), User: testUser, Key: key, HostKey: m.HostKey.Marshal()}
}

// effective is what sshd -T says for a logon from loopback.
func (m *machine) effective() Config {
	m.t.Helper()
	config, err := m.sshd.Effective(context.Background(), DefaultConfig, FromLoopback(testUser, m.Port))
	if err != nil {
		m.t.Fatal(err)
	}
	return config
}

// files are sshd's files as they are now.
func (m *machine) files() *Files {
	m.t.Helper()
	files, err := m.sshd.ReadFiles()
	if err != nil {
		m.t.Fatal(err)
	}
	return files
}

// write brings sshd's files to a policy.
func (m *machine) write(p Policy) {
	m.t.Helper()
	files := m.files()
	if err := m.sshd.Write(files, files.With(p)); err != nil {
		m.t.Fatal(err)
	}
}

// loginRecords are the bytes of wtmp(5) and lastlog(8): a logon adds to them.
func (m *machine) loginRecords() string {
	var records []string
	for _, name := range []string{"/var/log/wtmp", "/run/utmp", "/var/log/lastlog", "/var/log/btmp"} {
		data, err := os.ReadFile(m.Path(name))
		if err == nil {
			records = append(records, name, string(data))
		}
	}
	return strings.Join(records, "\n")
}

// asked is a key as the prober sees it.
func asked(key testmachine.Key) *PublicKey {
	return &PublicKey{Type: key.Signer.PublicKey().Type(), Blob: key.Signer.PublicKey().Marshal()}
}

// within is a context that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// listen serves every connection to the address it returns by handle, until
// the test ends.
func listen(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		served.Wait()
	})
	return listener.Addr().String()
}

// record is what a test server has seen; several connections may write it.
type record struct {
	mu   sync.Mutex
	seen []string
}

func (r *record) add(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, what)
}

func (r *record) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string{}, r.seen...)
}

// hostSigner is a host key of a test server.
func hostSigner(t *testing.T, kind string) ssh.Signer {
	t.Helper()
	return testmachine.NewKey(t, kind).Signer
}

// waitFor polls until something holds.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		<-tick.C
	}
}
