package target

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

func TestBothRefuseTheSameLines(t *testing.T) {
	testmachine.RequireRoot(t)
	program := testmachine.RequireProgram(t, "sshd")
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	host := newKey(t)
	for text, taken := range map[string]bool{
		"SetEnv A=1 B=":                   true,
		"SetEnv A=1 B":                    false,
		"SetEnv FOO":                      false,
		"IPQoS af11 0x10":                 true,
		"IPQoS none":                      true,
		"IPQoS bogus":                     false,
		"IPQoS af11 bogus":                false,
		"IPQoS af11 ef cs1":               false,
		"IPQoS 0x100":                     false,
		"PermitTunnel point-to-point":     true,
		"PermitTunnel maybe":              false,
		"AuthorizedKeysCommand none":      true,
		"AuthorizedKeysCommand /bin/true": false,
		"AuthorizedKeysCommand /bin/true\nAuthorizedKeysCommandUser nobody": true,
		"AuthorizedPrincipalsCommand /bin/true":                             false,
		"Match User x\nSetEnv FOO":                                          false,
	} {
		file := filepath.Join(t.TempDir(), "sshd_config")
		if err := os.WriteFile(file, []byte("HostKey "+host.PEM+"\n"+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(program, "-t", "-f", file).CombinedOutput(); (err == nil) != taken {
			t.Errorf("sshd, %q: %v: %s", text, err, out)
		}
		if _, err := LoadConfig("/", file); (err == nil) != taken {
			t.Errorf("%q: %v", text, err)
		}
	}
}
