package target

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

func TestOfHostKeysOfOneTypeTheFirstIsUsed(t *testing.T) {
	first, second, rsa := newKey(t), newKey(t), testmachine.NewKey(t, "rsa-2048")
	given := Start(t, WithHostKey(first.Signer, rsa.Signer, second.Signer))
	configured := Start(t, WithSettings("HostKey "+first.PEM, "HostKey "+rsa.PEM, "HostKey "+second.PEM))
	for name, s := range map[string]*Server{"of the options": given, "configured": configured} {
		var got []string
		for _, key := range s.ssh.HostSigners {
			got = append(got, ssh.FingerprintSHA256(key.PublicKey()))
		}
		want := []string{ssh.FingerprintSHA256(first.Signer.PublicKey()), ssh.FingerprintSHA256(rsa.Signer.PublicKey())}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAHostKeyThatIsNoneIsNamed(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		empty:              "read host key " + empty + ": ssh: no key found",
		empty + "/nothing": "read host key: open " + empty + "/nothing: not a directory",
		empty + "-missing": "read host key: open " + empty + "-missing: no such file or directory",
	} {
		_, err := New(WithSettings("HostKey " + file))
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Relative paths are those of the working folder, as in sshd, unless a root is given: then they are below it.
func TestRelativePathsAreBelowTheWorkingFolderOrTheRoot(t *testing.T) {
	working, root := t.TempDir(), t.TempDir()
	t.Chdir(working)
	login := map[string]*testmachine.Key{}
	for _, dir := range []string{working, root} {
		host, key := newKey(t), newKey(t)
		login[dir] = &key
		f := &fixture{root: dir}
		for name, content := range map[string]string{
			"host_key": readFile(t, host.PEM), "keys": key.Line, "etc/passwd": "", "etc/group": "",
			"sshd_config": "HostKey host_key\nPasswordAuthentication no\n",
		} {
			f.write(t, "/"+name, content)
		}
	}
	for _, test := range []struct{ name, root, dir string }{
		{"no root", "/", working},
		{"a root", root, root},
		{"a relative root", filepath.Join("..", filepath.Base(root)), root},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.name == "a relative root" && filepath.Dir(root) != filepath.Dir(working) {
				t.Fatal("the folders are not beside one another")
			}
			s := Start(t, WithRoot(test.root), WithSSHDConfig("sshd_config"))
			byKey := Start(t, WithRoot(test.root), WithAuthorizedKeysFile("keys"))
			host, err := os.ReadFile(filepath.Join(test.dir, "host_key"))
			if err != nil {
				t.Fatal(err)
			}
			signer, err := ssh.ParsePrivateKey(host)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(ssh.FingerprintSHA256(signer.PublicKey()), ssh.FingerprintSHA256(s.HostKey())); diff != "" {
				t.Errorf("host key: %s", diff)
			}
			t.Chdir("/") // what the paths mean does not change
			if err := s.Reload(); err != nil {
				t.Error(err)
			}
			for dir, key := range login {
				client, err := ssh.Dial("tcp", byKey.Addr().String(), byKey.ClientConfig("alice", ssh.PublicKeys(key.Signer)))
				if err == nil {
					_ = client.Close()
				}
				if (err == nil) != (dir == test.dir) {
					t.Errorf("the key of %s: %v", dir, err)
				}
			}
		})
	}
}
