package main

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"latchkey-sshd": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: filepath.Join("testdata", "script")})
}

// instance is a root folder with a configuration, an account and a key that logs in.
type instance struct {
	root string
	key  testmachine.Key
}

func newInstance(t *testing.T, config string) instance {
	t.Helper()
	i := instance{root: t.TempDir(), key: testmachine.NewKey(t, "ed25519")}
	host := testmachine.NewKey(t, "ed25519")
	private, err := os.ReadFile(host.PEM)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"etc/passwd":                      "alice:x:1000:1000::/home/alice:/bin/sh\n",
		"etc/ssh/host_key":                string(private),
		"etc/ssh/sshd_config":             "HostKey /etc/ssh/host_key\n" + config,
		"home/alice/.ssh/authorized_keys": i.key.Line + "\n",
		"passwords":                       "alice:tulip\n",
		"run/.keep":                       "",
		"bin/sh":                          "",
	} {
		i.write(t, name, content)
	}
	for name, mode := range map[string]os.FileMode{"bin/sh": 0o755, "home/alice/.ssh/authorized_keys": 0o644} {
		if err := os.Chmod(filepath.Join(i.root, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	return i
}

func (i instance) write(t *testing.T, name, content string) {
	t.Helper()
	file := filepath.Join(i.root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// command is the program, as a process of its own, on the instance.
func (i instance) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	args = append([]string{"--root", i.root, "--password-file", filepath.Join(i.root, "passwords"), "-f", "/etc/ssh/sshd_config"}, args...)
	cmd := command(t, args...)
	cmd.Stderr = os.Stderr
	return cmd
}

func login(conn net.Conn, method ssh.AuthMethod) error {
	client, _, _, err := ssh.NewClientConn(conn, "", &ssh.ClientConfig{
		User: "alice", Auth: []ssh.AuthMethod{method}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err == nil {
		_ = client.Close()
	}
	return err
}

func TestItListensObeysSignalsAndLeavesNothing(t *testing.T) {
	i := newInstance(t, "Port 0\nPidFile /run/sshd.pid\n")
	cmd := i.command(t, "-D")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var said announcement
	if err := json.Unmarshal([]byte(line), &said); err != nil || said.PID != cmd.Process.Pid {
		t.Fatalf("%v: %s", err, line)
	}
	passwordLogsIn := func() bool {
		conn, err := net.Dial("tcp", said.Address)
		if err != nil {
			t.Fatal(err)
		}
		return login(conn, ssh.Password("tulip")) == nil
	}
	if !passwordLogsIn() {
		t.Error("the password does not log in")
	}
	i.write(t, "etc/ssh/sshd_config", "HostKey /etc/ssh/host_key\nPasswordAuthentication no\n")
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); passwordLogsIn(); {
		if time.Now().After(deadline) {
			t.Fatal("SIGHUP did not close the password door")
		}
	}
	pidFile := filepath.Join(i.root, "run/sshd.pid")
	if _, err := os.Stat(pidFile); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
	if _, err := os.Stat(pidFile); !os.IsNotExist(err) {
		t.Errorf("the pid file is left: %v", err)
	}
}

func TestItServesTheConnectionOnStandardInput(t *testing.T) {
	i := newInstance(t, "PasswordAuthentication no\n")
	for _, test := range []struct {
		name   string
		method ssh.AuthMethod
		want   bool
	}{
		{"key", ssh.PublicKeys(i.key.Signer), true},
		{"password", ssh.Password("tulip"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			ours, theirs := socketPair(t)
			cmd := i.command(t, "-i", "-o", "LogLevel=DEBUG1")
			cmd.Stdin, cmd.Stdout = theirs, theirs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			_ = theirs.Close()
			if err := login(ours, test.method); (err == nil) != test.want {
				t.Errorf("logged in: %v", err)
			}
			_ = ours.Close()
			if err := cmd.Wait(); err != nil {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

func socketPair(t *testing.T) (net.Conn, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fds[0]), "ours")
	defer file.Close()
	ours, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	return ours, os.NewFile(uintptr(fds[1]), "theirs")
}

// ownValues are not sshd's: the distribution has a say in them, or this server has fewer.
var ownValues = []string{
	"maxstartups", "pidfile", "ciphers", "macs", "kexalgorithms", "hostkeyalgorithms", "pubkeyacceptedalgorithms", "casignaturealgorithms",
}

// What the two programs show for one configuration is the same wherever both know the keyword.
func TestItShowsWhatSshdShows(t *testing.T) {
	testmachine.RequireRoot(t)
	program := testmachine.RequireProgram(t, "sshd")
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	host := testmachine.NewKey(t, "ed25519")
	for _, config := range []string{
		"", "PasswordAuthentication no\nMatch User root\nPasswordAuthentication yes\nAuthenticationMethods publickey\n",
		"Port 2222\nAllowUsers a b\nAllowUsers c\nUsePAM yes\nPidFile /run/x.pid\nLogLevel VERBOSE\nForceCommand  id -u\nMaxAuthTries 3\n",
		"PermitRootLogin without-password\nAuthorizedKeysFile \"/k/%u\" none\nAcceptEnv LANG LC_*\nStrictModes no\nPubkeyAuthentication NO\n",
	} {
		t.Run(config, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "sshd_config")
			text := "ListenAddress 127.0.0.1\nHostKey " + host.PEM + "\n" + config
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"-T", "-f", file, "-C", "user=root,host=h,addr=127.0.0.1,laddr=127.0.0.1,lport=22"}
			want := shown(t, exec.Command(program, args...))
			ours, err := exec.LookPath("latchkey-sshd")
			if err != nil {
				t.Fatal(err)
			}
			for keyword, value := range shown(t, exec.Command(ours, args...)) {
				if real, known := want[keyword]; known && real != value && !slices.Contains(ownValues, keyword) {
					t.Errorf("%s: sshd shows %q, latchkey-sshd %q", keyword, real, value)
				}
			}
		})
	}
}

func shown(t *testing.T, cmd *exec.Cmd) map[string]string {
	t.Helper()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	values := map[string]string{}
	for line := range strings.Lines(string(out)) {
		keyword, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		keyword = strings.ToLower(keyword)
		values[keyword] += strings.ReplaceAll(value, "without-password", "prohibit-password") + ";"
	}
	return values
}
