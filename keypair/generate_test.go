package keypair_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/keypair"
)

// generated are the types that Generate makes, and how their private halves begin.
var generated = []struct{ keyType, wireType, header string }{
	{"", "ssh-rsa", "-----BEGIN RSA PRIVATE KEY-----\n"},
	{keypair.RSA, "ssh-rsa", "-----BEGIN RSA PRIVATE KEY-----\n"},
	{keypair.ECDSA, "ecdsa-sha2-nistp256", "-----BEGIN EC PRIVATE KEY-----\n"},
	{keypair.Ed25519, "ssh-ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----\n"},
	{"ED25519", "ssh-ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----\n"},
}

func TestBothHalvesOfAGeneratedKeyBelongTogether(t *testing.T) {
	t.Parallel()
	for _, test := range generated {
		public, private, err := keypair.Generate(test.keyType)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := ssh.ParsePrivateKey(private)
		if err != nil {
			t.Fatalf("%q: %v", test.keyType, err)
		}
		want := keypair.PublicKey{Type: test.wireType, Blob: signer.PublicKey().Marshal()}
		if diff := cmp.Diff(want, public); diff != "" {
			t.Errorf("%q (-want +got)\n%s", test.keyType, diff)
		}
		if !bytes.HasPrefix(private, []byte(test.header)) {
			t.Errorf("%q: the private half begins otherwise than %q", test.keyType, test.header)
		}
	}
	if _, _, err := keypair.Generate("dsa"); !errors.Is(err, keypair.ErrKeyType) {
		t.Errorf("dsa: %v, want ErrKeyType", err)
	}
}

func TestEveryOpenSSHReadsAGeneratedPrivateKey(t *testing.T) {
	t.Parallel()
	for _, release := range []string{"bullseye", "bookworm", "trixie"} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			machine := testmachine.NewDebian(t, release)
			for _, test := range generated {
				public, private, err := keypair.Generate(test.keyType)
				if err != nil {
					t.Fatal(err)
				}
				const file = "/root/key.pem"
				if err := os.WriteFile(machine.Path(file), private, 0o600); err != nil {
					t.Fatal(err)
				}
				said := machine.Run(t, "ssh-keygen", "-y", "-f", file)
				if got := strings.Join(strings.Fields(said)[:2], " "); got != public.Line() {
					t.Errorf("%q: ssh-keygen -y says %s, want %s", test.keyType, got, public.Line())
				}
				if err := os.Remove(machine.Path(file)); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A generated key is used by ssh as it is, straight from its file.
func TestOpenSSHsClientLogsInWithAGeneratedKey(t *testing.T) {
	t.Parallel()
	machine := testmachine.New(t)
	machine.AddUser("ada", "")
	machine.StartSSHD()
	for _, test := range generated {
		public, private, err := keypair.Generate(test.keyType)
		if err != nil {
			t.Fatal(err)
		}
		machine.AuthorizedKeys("ada", public.Line())
		file := filepath.Join(t.TempDir(), "key.pem")
		if err := os.WriteFile(file, private, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := machine.OpenSSH(t, "ada", []string{"-i", file}, "true").CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", test.keyType, err, out)
		}
	}
}
