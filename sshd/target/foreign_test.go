package target

import (
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

func TestOpenSSHLendsItsAgent(t *testing.T) {
	key, lent := newKey(t), newKey(t)
	server := Start(t, WithAuthorizedKeys(key.Line))
	s := sit(t, server, key)
	s.env = append(s.env, "SSH_AUTH_SOCK="+serveAgent(t, lent))
	lend := "IdentityAgent=SSH_AUTH_SOCK"
	fingerprint := ssh.FingerprintSHA256(lent.Signer.PublicKey())
	list := testmachine.RequireProgram(t, "ssh-add") + " -l"
	if got := s.ssh(t, "", "-o", lend, "-A", "target", list); got.status != 0 || !strings.Contains(got.stdout, fingerprint) {
		t.Errorf("with -A: %+v", got)
	}
	if got := s.ssh(t, "", "-o", lend, "-a", "target", list); got.status != 2 {
		t.Errorf("without -A the agent is there: %+v", got)
	}
}

// serveAgent is the socket of an agent with one key.
func serveAgent(t *testing.T, key testmachine.Key) string {
	t.Helper()
	keyring := agent.NewKeyring()
	private, err := ssh.ParseRawPrivateKey([]byte(readFile(t, key.PEM)))
	if err != nil {
		t.Fatal(err)
	}
	if err := keyring.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(shortFolder(t), "agent")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = agent.ServeAgent(keyring, conn)
			}()
		}
	}()
	return path
}

// dropbear is a seat for dbclient, with the key in dropbear's own format.
func dropbear(t *testing.T, server *Server, key testmachine.Key) (s *seat, common []string) {
	t.Helper()
	s = sit(t, server, key)
	own := filepath.Join(s.dir, "key.dropbear")
	if got := s.run(t, "", "dropbearconvert", "openssh", "dropbear", key.PEM, own); got.status != 0 {
		t.Fatalf("dropbearconvert: %+v", got)
	}
	host, port := s.address(t)
	s.write(t, ".ssh/known_hosts", host+" "+string(ssh.MarshalAuthorizedKey(server.HostKey()))) // it knows no ports
	return s, []string{"-i", own, "-p", port, "alice@" + host}
}

func TestDropbearRunsACommand(t *testing.T) {
	key := newKey(t)
	server := Start(t, WithAuthorizedKeys(key.Line))
	s, common := dropbear(t, server, key)
	got := s.run(t, "out", "dbclient", append(common, "cat; exit 7")...)
	if got.stdout != "out" || got.status != 7 {
		t.Errorf("%+v", got)
	}
	said(t, server, "login by key", func(e Event) bool {
		return e.Kind == Auth && e.Method == publicKey && e.Verdict == Accepted && e.Fingerprint == ssh.FingerprintSHA256(key.Signer.PublicKey())
	})
	toldExit(t, server, "cat; exit 7")
}

func TestDropbearIsKeptOutWithAnotherKey(t *testing.T) {
	server := Start(t, WithAuthorizedKeys(newKey(t).Line))
	s, common := dropbear(t, server, newKey(t))
	if got := s.run(t, "", "dbclient", append(common, "echo in")...); got.status == 0 || got.stdout != "" {
		t.Errorf("%+v", got)
	}
}

func TestDropbearForwardsAPort(t *testing.T) {
	key := newKey(t)
	server := Start(t, WithAuthorizedKeys(key.Line))
	s, common := dropbear(t, server, key)
	echo := echo(t, "tcp", "127.0.0.1:0").Addr().String()
	port := freePort(t)
	forward := fmt.Sprintf("%s:%s", port, echo)
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, testmachine.RequireProgram(t, "dbclient"), append([]string{"-N", "-L", forward}, common...)...)
	cmd.Env = s.env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	if got := askEcho(t, "127.0.0.1:"+port, "through dropbear"); got != "through dropbear" {
		t.Errorf("%q came back", got)
	}
	said(t, server, "forwarding", func(e Event) bool {
		return e.Kind == Forward && e.Request == "direct-tcpip" && e.Target == echo && e.Verdict == Accepted
	})
}

// freePort is a port that nobody listened on a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// askEcho sends the text as soon as somebody listens, and returns as much as it sent.
func askEcho(t *testing.T, address, text string) string {
	t.Helper()
	for deadline := time.Now().Add(clientPatience); time.Now().Before(deadline); {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			continue
		}
		defer conn.Close()
		_ = conn.SetDeadline(deadline)
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, len(text))
		n, _ := io.ReadFull(conn, answer)
		return string(answer[:n])
	}
	t.Fatalf("nobody listens on %s", address)
	return ""
}

func TestPythonClientsRunCommandsAndMoveFiles(t *testing.T) {
	for _, module := range []string{"paramiko", "asyncssh"} {
		t.Run(module, func(t *testing.T) {
			python := testmachine.RequirePython(t, module)
			key, dir := newKey(t), t.TempDir()
			server := Start(t, WithAuthorizedKeys(key.Line), WithSFTP(dir))
			s := sit(t, server, key)
			host, port := s.address(t)
			script, err := filepath.Abs("testdata/clients/" + module + "_client.py")
			if err != nil {
				t.Fatal(err)
			}
			got := s.run(t, "", python, "-W", "ignore", script, host, port, key.PEM, s.known)
			want := fmt.Sprintf("out err 7\nTrue %d ['%s.bin']\n", 1<<20+4, module)
			if diff := cmp.Diff(want, got.stdout); diff != "" || got.status != 0 {
				t.Errorf("%s%s", diff, got.stderr)
			}
			toldExit(t, server, "cat; echo err >&2; exit 7")
			said(t, server, "sftp", func(e Event) bool { return e.Kind == Command && e.Subsystem == "sftp" })
		})
	}
}
