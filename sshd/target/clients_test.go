package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// clientPatience is how long a client may take for anything.
const clientPatience = 30 * time.Second

// seat is where a person sits who uses OpenSSH's programs: a folder with an ssh_config, in which "target" is the
// server, and a known_hosts.
type seat struct {
	server *Server
	dir    string
	config string
	known  string
	env    []string
}

// sit makes a seat for alice with a key.
func sit(t *testing.T, server *Server, key testmachine.Key, settings ...string) *seat {
	t.Helper()
	s := &seat{server: server, dir: t.TempDir()}
	s.config, s.known = filepath.Join(s.dir, "ssh_config"), filepath.Join(s.dir, ".ssh", "known_hosts")
	s.env = []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + s.dir, "LANG=C.UTF-8"}
	host, port := s.address(t)
	lines := append(settings,
		"HostName "+host, "Port "+port, "User alice", "IdentityFile "+key.PEM, "IdentitiesOnly yes", "IdentityAgent none",
		"UserKnownHostsFile "+s.known, "GlobalKnownHostsFile /dev/null", "StrictHostKeyChecking yes", "BatchMode yes", "LogLevel ERROR",
	)
	s.write(t, "ssh_config", "Host target\n\t"+strings.Join(lines, "\n\t")+"\n")
	s.write(t, ".ssh/known_hosts", server.KnownHosts())
	return s
}

func (s *seat) address(t *testing.T) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(s.server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

// write writes a file of the seat and returns its path.
func (s *seat) write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// outcome is what is to be seen of a program that has ended.
type outcome struct {
	stdout, stderr string
	status         int
}

// run runs a program with the text as its standard input.
func (s *seat) run(t *testing.T, input, program string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clientPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, testmachine.RequireProgram(t, program), args...)
	cmd.Env, cmd.Dir, cmd.Stdin = s.env, s.dir, strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%s %q: %v, %v; %s", program, args, err, ctx.Err(), stderr.String())
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// ssh runs OpenSSH's client: options, then "target", then the command.
func (s *seat) ssh(t *testing.T, input string, args ...string) outcome {
	t.Helper()
	return s.run(t, input, "ssh", append([]string{"-F", s.config}, args...)...)
}

// said waits for an event that the server is to tell.
func said(t *testing.T, server *Server, what string, matches func(Event) bool) Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clientPatience)
	defer cancel()
	e, err := server.WaitFor(ctx, matches)
	if err != nil {
		t.Fatalf("the server has told of no %s", what)
	}
	return e
}

// toldExit is how the server says that the command, or subsystem, ended.
func toldExit(t *testing.T, server *Server, name string) Event {
	t.Helper()
	return said(t, server, "exit of "+name, func(e Event) bool {
		return e.Kind == Exit && (e.Command == name || e.Subsystem == name)
	})
}

// count is how many events match so far.
func count(server *Server, matches func(Event) bool) int {
	n := 0
	for _, e := range server.Events() {
		if matches(e) {
			n++
		}
	}
	return n
}

func ofKind(kind Kind) func(Event) bool { return func(e Event) bool { return e.Kind == kind } }

func TestOpenSSHRunsACommand(t *testing.T) {
	key := newKey(t)
	server := Start(t, WithAuthorizedKeys(key.Line))
	s := sit(t, server, key)
	long := strings.Repeat("a line of text\n", 100_000)
	for _, test := range []struct {
		name, command, input string
		want                 outcome
	}{
		{"both outputs and a status", "echo out; echo err >&2; exit 7", "", outcome{"out\n", "err\n", 7}},
		{"nothing at all", "true", "", outcome{}},
		{"much input and output", "cat", long, outcome{stdout: long}},
		{"input that nobody reads", "exec <&-; echo done", long, outcome{stdout: "done\n"}},
		{"not found", "/no/such/program 2>/dev/null", "", outcome{status: 127}},
		{"killed by a signal", "kill -KILL $$", "", outcome{status: 255}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := s.ssh(t, test.input, "target", test.command)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(outcome{})); diff != "" {
				t.Error(diff)
			}
			exit := toldExit(t, server, test.command)
			if exit.User != "alice" || exit.Signal == "" && (exit.Status == nil || *exit.Status != test.want.status) {
				t.Errorf("the server's record: %s", exit)
			}
		})
	}
}

func TestOpenSSHGetsAShellOnATerminal(t *testing.T) {
	key := newKey(t)
	server := Start(t, WithAuthorizedKeys(key.Line))
	got := sit(t, server, key).ssh(t, "test -t 0 && echo on a $((1 + 1))-way terminal; exit 3\n", "-tt", "target")
	if got.status != 3 || !strings.Contains(got.stdout, "on a 2-way terminal") {
		t.Errorf("%+v", got)
	}
	said(t, server, "terminal", func(e Event) bool { return e.Kind == Request && e.Request == "pty-req" && e.Verdict == Accepted })
	shell := said(t, server, "shell", ofKind(Command))
	if shell.Command != "" || shell.Subsystem != "" {
		t.Errorf("not a shell: %s", shell)
	}
}

func TestOpenSSHAnswersPrompts(t *testing.T) {
	server := Start(t, WithUser(User{Name: "alice", Prompts: [][]Prompt{
		{{Text: "Password: ", Answer: "tulip"}}, {{Text: "Token: ", Answer: "123 456"}, {Text: "Colour: ", Echo: true, Answer: "blue"}},
	}}))
	s := sit(t, server, newKey(t), "PreferredAuthentications keyboard-interactive", "NumberOfPasswordPrompts 1")
	for _, test := range []struct {
		token string
		want  outcome
	}{{"123 456", outcome{stdout: "in\n"}}, {"654 321", outcome{status: 255}}} {
		askpass := s.write(t, "askpass", fmt.Sprintf(`#!/bin/sh
case $1 in
*Password*) echo tulip ;;
*Token*) echo %s ;;
*Colour*) echo blue ;;
esac
`, test.token))
		asked := *s
		asked.env = append(s.env, "SSH_ASKPASS="+askpass, "SSH_ASKPASS_REQUIRE=force")
		got := asked.ssh(t, "", "-o", "BatchMode=no", "target", "echo in")
		got.stderr = ""
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(outcome{})); diff != "" {
			t.Errorf("token %s: %s", test.token, diff)
		}
	}
	for _, e := range server.Events() {
		if line := e.String(); strings.Contains(line, "tulip") || strings.Contains(line, "123 456") {
			t.Errorf("an answer is in the record: %s", line)
		}
	}
}

func TestOpenSSHSharesOneConnection(t *testing.T) {
	key := newKey(t)
	server := Start(t, WithAuthorizedKeys(key.Line))
	s := sit(t, server, key, "ControlPath "+filepath.Join(shortFolder(t), "%C"))
	ended := make(chan outcome)
	go func() { ended <- s.ssh(t, "", "-M", "-N", "target") }()
	for deadline := time.Now().Add(clientPatience); s.ssh(t, "", "-O", "check", "target").status != 0; {
		if time.Now().After(deadline) {
			t.Fatal("no connection to share")
		}
	}
	const sessions = 5
	outcomes := make(chan outcome, sessions)
	for i := range sessions {
		go func() { outcomes <- s.ssh(t, "", "target", fmt.Sprintf("cat; exit %d", i)) }()
	}
	sum := 0
	for range sessions {
		sum += (<-outcomes).status
	}
	if got := s.ssh(t, "", "-O", "exit", "target"); got.status != 0 {
		t.Errorf("%+v", got)
	}
	<-ended
	connections, commands := count(server, ofKind(Connected)), count(server, ofKind(Command))
	if sum != 0+1+2+3+4 || connections != 1 || commands != sessions {
		t.Errorf("sum of statuses %d, %d connections, %d commands", sum, connections, commands)
	}
}

// shortFolder is for sockets, whose paths may not be long.
func shortFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestOpenSSHLogsInByCertificate(t *testing.T) {
	ca, key := newKey(t), newKey(t)
	server := Start(t, WithUserCA(ca.Signer.PublicKey()), WithUser(User{Name: "alice"}))
	for _, test := range []struct {
		principal string
		want      int
	}{{"alice", 0}, {"bob", 255}} {
		s := sit(t, server, key)
		file := s.write(t, "cert.pub", string(ssh.MarshalAuthorizedKey(certify(t, ca, key, test.principal))))
		got := s.ssh(t, "", "-o", "CertificateFile="+file, "target", "exit 0")
		if got.status != test.want {
			t.Errorf("for %s: %+v", test.principal, got)
		}
		said(t, server, "certificate of "+test.principal, func(e Event) bool {
			return e.Kind == Auth && e.Certificate == "id of "+test.principal && (e.Verdict == Accepted) == (test.want == 0)
		})
	}
}

// certify is a certificate for the key, valid for a day.
func certify(t *testing.T, ca, key testmachine.Key, principal string) *ssh.Certificate {
	t.Helper()
	cert := &ssh.Certificate{
		Key: key.Signer.PublicKey(), CertType: ssh.UserCert, KeyId: "id of " + principal, ValidPrincipals: []string{principal},
		ValidAfter: uint64(time.Now().Add(-time.Hour).Unix()), ValidBefore: uint64(time.Now().Add(24 * time.Hour).Unix()),
	}
	if err := cert.SignCert(zeroReader{}, ca.Signer); err != nil {
		t.Fatal(err)
	}
	return cert
}

// zeroReader makes a nonce that no one has to guess: ed25519 signs without randomness.
type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { return len(p), nil }

func TestSSHKeyscanSeesTheHostKey(t *testing.T) {
	server := Start(t)
	s := sit(t, server, newKey(t))
	host, port := s.address(t)
	got := s.run(t, "", "ssh-keyscan", "-t", "ed25519", "-p", port, host)
	_, _, key, _, _, err := ssh.ParseKnownHosts([]byte(got.stdout))
	if err != nil {
		t.Fatalf("%v: %+v", err, got)
	}
	if diff := cmp.Diff(ssh.FingerprintSHA256(server.HostKey()), ssh.FingerprintSHA256(key)); diff != "" {
		t.Error(diff)
	}
}
