package sshdtest

import (
	"strings"
	"testing"
)

// TestOpenSSHsClientSeesTheOptions does at a person's client what the tables do by single requests.
func TestOpenSSHsClientSeesTheOptions(t *testing.T) {
	t.Parallel()
	w := newTwins(t)
	tests := []struct {
		name, lines string
		options     []string
		command     string
		want        string // a part of what is printed
	}{
		{"command", `command="echo forced: $SSH_ORIGINAL_COMMAND" KEY`, nil, "id -u", "forced: id -u"},
		{"environment", `environment="LK_ONE=a b" KEY`, nil, `echo "[$LK_ONE]"`, "[a b]"},
		{"pty", `KEY`, []string{"-tt"}, "tty", "/dev/pts/"},
		{"no pty", `no-pty KEY`, []string{"-tt"}, "true", "PTY allocation request failed"},
		{"permitopen", `permitopen="127.0.0.1:PORT" KEY`, []string{"-W", "127.0.0.1:PORT"}, "", "SSH-2.0-OpenSSH"},
		{"permitopen elsewhere", `permitopen="127.0.0.1:OPEN1" KEY`, []string{"-W", "127.0.0.1:PORT"}, "", "administratively prohibited"},
		{"permitlisten", `permitlisten="LISTEN1" KEY`, []string{"-o", "ExitOnForwardFailure=yes", "-R", "127.0.0.1:LISTEN1:127.0.0.1:1"}, "echo forwarded", "forwarded"},
		{"permitlisten elsewhere", `permitlisten="LISTEN2" KEY`, []string{"-o", "ExitOnForwardFailure=yes", "-R", "127.0.0.1:LISTEN1:127.0.0.1:1"}, "echo forwarded", "remote port forwarding failed"},
		{"expired", `expiry-time="20200101" KEY`, nil, "true", "Permission denied"},
		{"from elsewhere", `from="192.0.2.0/24" KEY`, nil, "true", "Permission denied"},
	}
	casts := make([]cast, len(tests))
	_, port, _ := strings.Cut(w.Address(), ":")
	for i, test := range tests {
		casts[i] = w.add(t, "ed25519", strings.ReplaceAll(test.lines, "PORT", port))
	}
	w.publish(t, w.text.String())
	for i, test := range tests {
		for _, name := range []string{byFile, byProgram} {
			t.Run(test.name+" "+name, func(t *testing.T) {
				options := []string{"-i", casts[i].key.PEM}
				for _, option := range test.options {
					options = append(options, strings.ReplaceAll(w.fill(option, casts[i]), "PORT", port))
				}
				var command []string
				if test.command != "" {
					command = []string{test.command}
				}
				out, _ := w.OpenSSH(t, name, options, command...).CombinedOutput()
				if !strings.Contains(string(out), test.want) {
					t.Errorf("prints %q, want %q in it", out, test.want)
				}
			})
		}
	}
}
