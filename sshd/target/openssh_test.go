package target

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// openSSH runs OpenSSH's own client against the server, with the password given to every question.
func openSSH(t *testing.T, f *fixture, password string, options ...string) (string, error) {
	t.Helper()
	program := testmachine.RequireProgram(t, "ssh")
	dir := t.TempDir()
	addr, port, err := net.SplitHostPort(f.addr)
	if err != nil {
		t.Fatal(err)
	}
	known := "[" + addr + "]:" + port + " " + string(ssh.MarshalAuthorizedKey(f.HostKey()))
	askpass := "#!/bin/sh\ncat <<'EOF'\n" + password + "\nEOF\n"
	for name, content := range map[string]string{"known": known, "askpass": askpass} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	batch := "yes"
	if password != "" {
		batch = "no"
	}
	args := slices.Concat([]string{
		"-v", "-F", "none", "-p", port, "-o", "BatchMode=" + batch, "-o", "NumberOfPasswordPrompts=1",
		"-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile=" + filepath.Join(dir, "known"),
		"-o", "GlobalKnownHostsFile=/dev/null", "-o", "IdentityAgent=none", "-o", "IdentitiesOnly=yes",
	}, options, []string{"alice@" + addr, "echo in"})
	cmd := exec.Command(program, args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + dir, "SSH_ASKPASS=" + filepath.Join(dir, "askpass"), "SSH_ASKPASS_REQUIRE=force"}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	return string(out) + stderr.String(), err
}

func TestOpenSSHsClientIsLetInAndKeptOut(t *testing.T) {
	key, other := newKey(t), newKey(t)
	rsa := testmachine.NewKey(t, "rsa-2048")
	open := "PasswordAuthentication yes\n"
	closed := "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
	for _, test := range []struct {
		name, config, password string
		options                []string
		want                   bool
	}{
		{"key", closed, "", []string{"-i", key.PEM}, true},
		{"RSA key", closed, "", []string{"-i", rsa.PEM}, true},
		{"another key", closed, "", []string{"-i", other.PEM}, false},
		{"password", open, "tulip", []string{"-o", "PreferredAuthentications=password"}, true},
		{"wrong password", open, "rose", []string{"-o", "PreferredAuthentications=password"}, false},
		{"password where closed", closed, "tulip", []string{"-o", "PreferredAuthentications=password"}, false},
		{"keyboard-interactive", open, "tulip", []string{"-o", "PreferredAuthentications=keyboard-interactive"}, true},
		{"keyboard-interactive, wrong", open, "rose", []string{"-o", "PreferredAuthentications=keyboard-interactive"}, false},
		{"keyboard-interactive where closed", closed, "tulip", []string{"-o", "PreferredAuthentications=keyboard-interactive"}, false},
		{"key and password", "AuthenticationMethods publickey,password", "tulip", []string{"-i", key.PEM}, true},
		{"method list of one user", closed + "Match User alice\nPasswordAuthentication yes\n", "tulip", []string{"-o", "PubkeyAuthentication=no"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := serve(t, accounts(map[string]string{
				configFile:                         test.config,
				"/home/alice/.ssh/authorized_keys": key.Line + "\n" + rsa.Line + "\n",
			}), configured()...)
			out, err := openSSH(t, f, test.password, test.options...)
			if got := err == nil && strings.HasPrefix(out, "in\n"); got != test.want {
				t.Errorf("logged in: %v, %v\n%s\n%s", got, err, out, logged(f))
			}
		})
	}
}

func TestOpenSSHsClientIsOfferedNoPasswordOnceTheDoorIsClosed(t *testing.T) {
	f := serve(t, accounts(map[string]string{configFile: "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"}), configured()...)
	out, err := openSSH(t, f, "", "-o", "PubkeyAuthentication=no")
	if err == nil {
		t.Fatal("logged in")
	}
	_, list, _ := strings.Cut(out, "Authentications that can continue: ")
	list, _, _ = strings.Cut(list, "\n")
	if diff := cmp.Diff("publickey", strings.TrimSpace(list)); diff != "" {
		t.Error(diff)
	}
}
