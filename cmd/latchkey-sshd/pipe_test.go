package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

func TestItServesThePipesOfAProxyCommand(t *testing.T) {
	client := testmachine.RequireProgram(t, "ssh")
	i := newInstance(t, "StrictModes no\n")
	proxy := []string{
		command(t).Path, "-i", "-e", "--root", i.root, "-f", "/etc/ssh/sshd_config",
	}
	for _, test := range []struct{ name, command, want string }{
		{"a command", "echo in; exit 3", "in\n"},
		{"its address", "echo $SSH_CONNECTION; exit 3", "UNKNOWN 65535 UNKNOWN 65535\n"},
		{"much output", "head -c 3000000 /dev/zero; exit 3", strings.Repeat("\x00", 3_000_000)},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command(client, "-F", "none", "-i", i.key.PEM, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
				"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
				"-o", "ProxyCommand="+strings.Join(proxy, " "), "alice@target", test.command)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, _ := cmd.Output()
			if cmd.ProcessState.ExitCode() != 3 || !strings.Contains(stderr.String(), "from UNKNOWN") {
				t.Errorf("%v\n%s", cmd.ProcessState, &stderr)
			}
			if diff := cmp.Diff(test.want, string(out)); diff != "" {
				t.Errorf("output: %.500s", diff)
			}
		})
	}
}

func TestItEndsWithItsPipes(t *testing.T) {
	cmd := command(t, "-i")
	cmd.Stdin = strings.NewReader("") // a pipe that ends at once
	out, err := cmd.Output()
	if err != nil || !strings.HasPrefix(string(out), "SSH-2.0-") {
		t.Errorf("%v: %q", err, out)
	}
}

func TestWhatIsNeitherSocketNorPipeIsNoConnection(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, stdin := range []*os.File{file, null} {
		cmd := command(t, "-i")
		cmd.Stdin = stdin
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "standard input is no socket and no pipe") {
			t.Errorf("%s: %v: %s", stdin.Name(), err, out)
		}
	}
}
