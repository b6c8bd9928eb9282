package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	glssh "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/sshd/target"
)

// The servers that are compared, each a process of its own. They have the same host key, let in the same key, and
// run a command by a shell.
const (
	ours       = "latchkey"
	raw        = "x-crypto" // golang.org/x/crypto/ssh and nothing else
	gliderlabs = "gliderlabs"
	openSSH    = "sshd"
	asyncSSH   = "asyncssh"
)

var peerNames = []string{ours, raw, gliderlabs, openSSH, asyncSSH}

// serverEnv, set to a name, makes this test binary that server: see TestMain.
const serverEnv = "LATCHKEY_BENCH_SERVER"

func TestMain(m *testing.M) {
	if name := os.Getenv(serverEnv); name != "" {
		if err := serve(name, os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// peer is a server as its clients see it.
type peer struct {
	name    string
	address string
	user    string
	pid     int // of the server, where it is one process
}

// peers are all servers, and the keys they share.
type peers struct {
	host, client testmachine.Key
	keysFile     string
	all          []peer
}

func startPeers(b *testing.B, names ...string) *peers {
	b.Helper()
	p := &peers{host: testmachine.NewKey(b, "ed25519"), client: testmachine.NewKey(b, "ed25519")}
	p.keysFile = b.TempDir() + "/authorized_keys"
	if err := os.WriteFile(p.keysFile, []byte(p.client.Line+"\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	for _, name := range names {
		switch name {
		case openSSH:
			p.all = append(p.all, p.startSSHD(b))
		case asyncSSH:
			p.all = append(p.all, p.startAsyncSSH(b))
		default:
			p.all = append(p.all, p.startGo(b, name))
		}
	}
	return p
}

// startSSHD starts OpenSSH's with all that could drop or delay a client of this benchmark turned off.
func (p *peers) startSSHD(b *testing.B) peer {
	b.Helper()
	m := testmachine.New(b)
	m.AddUser(user, "a password")
	m.AuthorizedKeys(user, p.client.Line)
	private, err := os.ReadFile(p.host.PEM)
	if err != nil {
		b.Fatal(err)
	}
	m.WriteFile("/etc/ssh/bench_host_key", string(private), 0o600)
	m.SSHDConfig("HostKey /etc/ssh/bench_host_key\nUsePAM no\nMaxStartups 1000\nLogLevel ERROR\n")
	m.StartSSHD()
	return peer{name: openSSH, address: m.Address(), user: user}
}

func (p *peers) startAsyncSSH(b *testing.B) peer {
	b.Helper()
	const python = "/usr/bin/python3" // the one that Debian's packages are for
	testmachine.RequireProgram(b, python)
	cmd := exec.Command(python, "-W", "ignore", "testdata/asyncssh_server.py", p.host.PEM, p.keysFile)
	port := startChild(b, cmd)
	return peer{name: asyncSSH, address: "127.0.0.1:" + port, user: user, pid: cmd.Process.Pid}
}

func (p *peers) startGo(b *testing.B, name string) peer {
	b.Helper()
	cmd := exec.Command(os.Args[0], p.host.PEM, p.keysFile)
	cmd.Env = append(os.Environ(), serverEnv+"="+name)
	address := startChild(b, cmd)
	return peer{name: name, address: address, user: user, pid: cmd.Process.Pid}
}

// startChild starts a server that ends with its standard input, and returns the line it prints.
func startChild(b *testing.B, cmd *exec.Cmd) string {
	b.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatalf("%s did not start: %v", cmd.Path, err)
	}
	return strings.TrimSpace(line)
}

// serve is the server of that name, until standard input ends.
func serve(name, hostKeyFile, keysFile string) error {
	data, err := os.ReadFile(hostKeyFile)
	if err != nil {
		return err
	}
	hostKey, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return err
	}
	keys, err := os.ReadFile(keysFile)
	if err != nil {
		return err
	}
	allowed, _, _, _, err := ssh.ParseAuthorizedKey(keys)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		switch name {
		case ours:
			serveOurs(l, hostKey, keysFile)
		case raw:
			serveRaw(l, hostKey, allowed)
		case gliderlabs:
			serveGliderlabs(l, hostKey, allowed)
		}
	}()
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func serveOurs(l net.Listener, hostKey ssh.Signer, keysFile string) {
	server, err := target.New(target.WithHostKey(hostKey), target.WithAuthorizedKeysFile(keysFile))
	if err == nil {
		err = server.Serve(l)
	}
	fmt.Fprintln(os.Stderr, err)
}

func serveGliderlabs(l net.Listener, hostKey ssh.Signer, allowed ssh.PublicKey) {
	server := &glssh.Server{
		HostSigners: []glssh.Signer{hostKey},
		Handler: func(s glssh.Session) {
			_ = s.Exit(runShell(s.RawCommand(), s, s, s.Stderr()))
		},
		PublicKeyHandler: func(_ glssh.Context, key glssh.PublicKey) bool { return glssh.KeysEqual(key, allowed) },
	}
	fmt.Fprintln(os.Stderr, server.Serve(l))
}

func runShell(command string, stdin io.Reader, stdout, stderr io.Writer) int {
	cmd := exec.Command("/bin/sh", "-c", command)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return 255
	}
	go func() {
		_, _ = io.Copy(in, stdin)
		_ = in.Close()
	}()
	var exit *exec.ExitError
	switch err := cmd.Run(); {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return 255
}

func serveRaw(l net.Listener, hostKey ssh.Signer, allowed ssh.PublicKey) {
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if glssh.KeysEqual(key, allowed) {
				return &ssh.Permissions{}, nil
			}
			return nil, errors.New("permission denied")
		},
	}
	config.AddHostKey(hostKey)
	for {
		conn, err := l.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
		go serveRawConn(conn, config)
	}
}

func serveRawConn(conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		channel, requests, err := offered.Accept()
		if err != nil {
			return
		}
		go serveRawSession(channel, requests)
	}
}

func serveRawSession(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	for request := range requests {
		if request.Type != "exec" {
			_ = request.Reply(false, nil)
			continue
		}
		var exec struct{ Command string }
		_ = ssh.Unmarshal(request.Payload, &exec)
		_ = request.Reply(true, nil)
		status := runShell(exec.Command, channel, channel, channel.Stderr())
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
		return
	}
}
