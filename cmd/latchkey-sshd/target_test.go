package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/sshd/target"
)

// patience is how long a test waits for what should be there at once.
const patience = 20 * time.Second

// running is a program that listens.
type running struct {
	announcement
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr bytes.Buffer
}

// start runs the program with standard input held open, and reads its line.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	return begin(t, command(t, args...))
}

func begin(t *testing.T, cmd *exec.Cmd) *running {
	t.Helper()
	return beginWith(t, cmd, nil)
}

// beginWith is the same with a standard error of the caller's, if that is one.
func beginWith(t *testing.T, cmd *exec.Cmd, stderr *os.File) *running {
	t.Helper()
	r := &running{cmd: cmd}
	r.cmd.Stderr = &r.stderr
	if stderr != nil {
		r.cmd.Stderr = stderr
	}
	stdin, err := r.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.stdin = stdin
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.cmd.Process.Kill(); _ = r.cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = r.cmd.Wait()
		t.Fatalf("it has not started: %v\n%s", err, &r.stderr)
	}
	if err := json.Unmarshal([]byte(line), &r.announcement); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return r
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("latchkey-sshd") // put on PATH by testscript.Main
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(path, args...)
}

// end tells it to end, and returns the exit status.
func (r *running) end(t *testing.T) int {
	t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	return r.await(t)
}

func (r *running) await(t *testing.T) int {
	t.Helper()
	stuck := time.AfterFunc(patience, func() { _ = r.cmd.Process.Kill() })
	defer stuck.Stop()
	_ = r.cmd.Wait()
	return r.cmd.ProcessState.ExitCode()
}

// dial logs in with what the announcement says, and nothing else.
func (r *running) dial(t *testing.T, user string, methods ...ssh.AuthMethod) (*ssh.Client, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte(r.KnownHosts), 0o600); err != nil {
		t.Fatal(err)
	}
	known, err := knownhosts.New(file)
	if err != nil {
		t.Fatal(err)
	}
	return ssh.Dial("tcp", r.Address, &ssh.ClientConfig{User: user, Auth: methods, HostKeyCallback: known, Timeout: patience})
}

// output is that of a command, with the exit status where it is not 0, or "refused".
func (r *running) output(t *testing.T, command, user string, methods ...ssh.AuthMethod) string {
	t.Helper()
	client, err := r.dial(t, user, methods...)
	if err != nil {
		if !strings.Contains(err.Error(), "unable to authenticate") {
			t.Fatal(err)
		}
		return "refused"
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	out, err := session.Output(command)
	if err != nil {
		return string(out) + err.Error()
	}
	return string(out)
}

// madeKey is the one in the announcement.
func (r *running) madeKey(t *testing.T) ssh.AuthMethod {
	t.Helper()
	key, err := ssh.ParsePrivateKey([]byte(r.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	return ssh.PublicKeys(key)
}

// write writes a file that only its owner reads.
func write(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestWithoutOptionsItSaysAllThatIsNeededToLogIn(t *testing.T) {
	r := start(t)
	if r.Host != "127.0.0.1" || r.Port == 0 || r.PID != r.cmd.Process.Pid || !strings.HasPrefix(r.Fingerprint, "SHA256:") {
		t.Errorf("%+v", r.announcement)
	}
	if got := r.output(t, "echo in", r.User, r.madeKey(t)); got != "in\n" {
		t.Errorf("got %q\n%s", got, &r.stderr)
	}
	if got := r.output(t, "echo in", "anybody", r.madeKey(t)); got != "in\n" {
		t.Errorf("another user: %q", got)
	}
	if got := r.output(t, "echo in", r.User, ssh.PublicKeys(testmachine.NewKey(t, "ed25519").Signer)); got != "refused" {
		t.Errorf("another key: %q", got)
	}
}

func TestOnlyAPasswordThatWasMadeIsTold(t *testing.T) {
	r := start(t, "--password-file", write(t, "grace:tulip\n"), "--user", "ada", "--generate-password")
	if len(r.Users) != 2 || r.User != "ada" || r.PrivateKey != "" {
		t.Fatalf("%+v", r.announcement)
	}
	made := r.Users[0].Password
	if diff := cmp.Diff([]userEntry{{Name: "ada", Password: made}, {Name: "grace"}}, r.Users); diff != "" || len(made) < 20 {
		t.Errorf("users (-want +got):\n%s", diff)
	}
	for _, test := range []struct{ user, password, want string }{
		{"ada", made, "in\n"}, {"grace", "tulip", "in\n"}, {"grace", made, "refused"}, {"ada", "", "refused"},
	} {
		if got := r.output(t, "echo in", test.user, ssh.Password(test.password)); got != test.want {
			t.Errorf("%s with %q: %q, want %q", test.user, test.password, got, test.want)
		}
	}
}

func TestUsersAreTheOnlyOnes(t *testing.T) {
	r := start(t, "--user", "ada", "--user", "grace")
	for user, want := range map[string]string{"ada": "in\n", "grace": "in\n", "mallory": "refused"} {
		if got := r.output(t, "echo in", user, r.madeKey(t)); got != want {
			t.Errorf("%s: %q, want %q", user, got, want)
		}
	}
}

func TestMethodsAreAllWanted(t *testing.T) {
	key := testmachine.NewKey(t, "ed25519")
	r := start(t, "--user", "ada", "--authorized-keys", write(t, key.Line+"\n"), "--password-file", write(t, "ada:tulip\n"),
		"--methods", "ada=publickey,password")
	byKey, byPassword := ssh.PublicKeys(key.Signer), ssh.Password("tulip")
	for _, test := range []struct {
		name    string
		methods []ssh.AuthMethod
		want    string
	}{
		{"key and password", []ssh.AuthMethod{byKey, byPassword}, "in\n"},
		{"key", []ssh.AuthMethod{byKey}, "refused"},
		{"password", []ssh.AuthMethod{byPassword}, "refused"},
	} {
		if got := r.output(t, "echo in", "ada", test.methods...); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestAConfigurationThatIsNamedDecides(t *testing.T) {
	i := newInstance(t, "Port 1\nListenAddress 192.0.2.1\nPasswordAuthentication no\n") // where to listen is not its business here
	r := start(t, "--root", i.root, "-f", "/etc/ssh/sshd_config", "--password-file", filepath.Join(i.root, "passwords"))
	if got := r.output(t, "echo in", "alice", ssh.PublicKeys(i.key.Signer)); got != "in\n" {
		t.Errorf("key: %q\n%s", got, &r.stderr)
	}
	if got := r.output(t, "echo in", "alice", ssh.Password("tulip")); got != "refused" {
		t.Errorf("password: %q", got)
	}
}

func TestScriptedCommandsAreRunInPlace(t *testing.T) {
	r := start(t, "--exec", `deploy=echo deployed "$SSH_ORIGINAL_COMMAND"`, "--no-commands")
	for command, want := range map[string]string{
		"deploy now": "deployed deploy now\n", "deploy": "deployed deploy\n",
		"deployment": "Process exited with status 127", "id": "Process exited with status 127",
	} {
		if got := r.output(t, command, r.User, r.madeKey(t)); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
}

func TestTheRecordIsForItsOwnerAndTellsWhatHappened(t *testing.T) {
	file := filepath.Join(t.TempDir(), "record.jsonl")
	r := start(t, "--record", file)
	r.output(t, "echo in", r.User, r.madeKey(t))
	if status := r.end(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var accepted []target.Event
	for line := range bytes.Lines(data) {
		var e target.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		if e.Verdict == target.Accepted && e.Kind == target.Auth {
			accepted = append(accepted, e)
		}
	}
	if len(accepted) != 1 || accepted[0].User != r.User || accepted[0].Method != "publickey" {
		t.Errorf("record:\n%s", data)
	}
}

func TestItEnds(t *testing.T) {
	signaled := func(s os.Signal) func(*running) { return func(r *running) { _ = r.cmd.Process.Signal(s) } }
	for _, test := range []struct {
		name string
		args []string
		do   func(*running)
	}{
		{"at SIGTERM", nil, signaled(syscall.SIGTERM)},
		{"at SIGINT", nil, signaled(os.Interrupt)},
		{"with standard input", []string{"--until-eof"}, func(r *running) { _ = r.stdin.Close() }},
		{"when its time is over", []string{"--for", "50ms"}, func(*running) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, test.args...)
			test.do(r)
			if status := r.await(t); status != 0 {
				t.Errorf("exit status %d\n%s", status, &r.stderr)
			}
			if conn, err := net.Dial("tcp", r.Address); err == nil {
				_ = conn.Close()
				t.Error("it still listens")
			}
		})
	}
}

func TestASecondSignalEndsItAtOnce(t *testing.T) {
	r := start(t)
	client, err := r.dial(t, r.User, r.madeKey(t))
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
	if err := session.Start("trap '' HUP; echo up; sleep 5"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} { // two of one kind may arrive as one
		_ = r.cmd.Process.Signal(s)
	}
	if status := r.await(t); status != exitFailed {
		t.Errorf("exit status %d: it has waited for its session", status)
	}
}

func TestClosedStandardInputEndsNothingUnlessAsked(t *testing.T) {
	r := start(t)
	_ = r.stdin.Close()
	if got := r.output(t, "echo in", r.User, r.madeKey(t)); got != "in\n" {
		t.Errorf("got %q", got)
	}
}

func TestAPortThatIsTakenSaysWhatToDo(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	out, err := command(t, "-p", port).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailed || !strings.Contains(string(out), "-p 0 takes a free port") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestCertificatesOfAUserCALogIn(t *testing.T) {
	authority, other, key := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ed25519")
	r := start(t, "--user", "ada", "--user-ca", write(t, "# those we trust\n"+authority.Line+"\n"))
	for _, test := range []struct {
		name string
		by   ssh.Signer
		want string
	}{{"trusted", authority.Signer, "in\n"}, {"not trusted", other.Signer, "refused"}} {
		if got := r.output(t, "echo in", "ada", certificate(t, key.Signer, test.by, "ada")); got != test.want {
			t.Errorf("%s: %q, want %q\n%s", test.name, got, test.want, &r.stderr)
		}
	}
}

// certificate is a login by a certificate for the principal.
func certificate(t *testing.T, key, authority ssh.Signer, principal string) ssh.AuthMethod {
	t.Helper()
	c := &ssh.Certificate{
		Key: key.PublicKey(), CertType: ssh.UserCert, KeyId: "test", ValidPrincipals: []string{principal},
		ValidBefore: ssh.CertTimeInfinity,
	}
	if err := c.SignCert(rand.Reader, authority); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewCertSigner(c, key)
	if err != nil {
		t.Fatal(err)
	}
	return ssh.PublicKeys(signer)
}
