package target

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// The package's goleak check sees to the other half of the promise: that nothing is left of a server when its test ends.
func TestStartGivesAllThatAClientNeeds(t *testing.T) {
	s := Start(t)
	client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("anybody"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if out, status := run(t, client, "echo in"); out != in || status != 0 {
		t.Errorf("output %q, status %d", out, status)
	}
	s.Close()
	if conn, err := net.Dial("tcp", client.RemoteAddr().String()); err == nil {
		_ = conn.Close()
		t.Error("it still listens after Close")
	}
}

func TestStartNeedsNoRootAndNoHome(t *testing.T) {
	if os.Geteuid() != 0 {
		return // then every test here shows it
	}
	const nobody = 65534
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestStartGivesAllThatAClientNeeds$", "-test.v")
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestClientConfigLogsInByTheUsersPassword(t *testing.T) {
	s := Start(t, alice())
	client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("alice"))
	if err != nil {
		t.Fatal(err)
	}
	_ = client.Close()
	if _, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("bob")); err == nil {
		t.Error("somebody logged in without a way to")
	}
}

func TestClientConfigTakesNoOtherServer(t *testing.T) {
	s, other := Start(t), Start(t)
	_, err := ssh.Dial("tcp", other.Addr().String(), s.ClientConfig("alice"))
	if err == nil || !strings.Contains(err.Error(), "is not the server's") {
		t.Errorf("error %v", err)
	}
}

func TestKnownHostsIsWhatClientsRead(t *testing.T) {
	first, second := newKey(t), testmachine.NewKey(t, "ecdsa-256")
	s := Start(t, WithHostKey(first.Signer, second.Signer))
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte(s.KnownHosts()), 0o600); err != nil {
		t.Fatal(err)
	}
	check, err := knownhosts.New(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []ssh.PublicKey{first.Signer.PublicKey(), second.Signer.PublicKey()} {
		if err := check(s.Addr().String(), s.Addr(), key); err != nil {
			t.Errorf("%s: %v", key.Type(), err)
		}
	}
	if err := check(s.Addr().String(), s.Addr(), newKey(t).Signer.PublicKey()); err == nil {
		t.Error("another key is known")
	}
	keygen := testmachine.RequireProgram(t, "ssh-keygen")
	host := strings.Fields(s.KnownHosts())[0]
	if out, err := exec.Command(keygen, "-F", host, "-f", file).CombinedOutput(); err != nil {
		t.Errorf("ssh-keygen does not find %s: %v\n%s", host, err, out)
	}
}

func TestWriteSSHConfigIsAllThatSshNeeds(t *testing.T) {
	program := testmachine.RequireProgram(t, "ssh")
	for name, options := range map[string][]Option{
		"ed25519 host key": nil,
		"RSA host key":     {WithHostKey(testmachine.NewKey(t, "rsa-2048").Signer)},
	} {
		t.Run(name, func(t *testing.T) {
			s := Start(t, options...)
			home, dir := t.TempDir(), filepath.Join(t.TempDir(), "of 100%d", "ssh")
			config, err := s.WriteSSHConfig(dir)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(program, "-F", config, "any-name", "echo in")
			cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + home}
			if out, err := cmd.CombinedOutput(); err != nil || string(out) != in {
				t.Fatalf("%v: %s", err, out)
			}
			if left, err := os.ReadDir(home); err != nil || len(left) > 0 {
				t.Errorf("in the home: %v, %v", left, err)
			}
			if info, err := os.Stat(filepath.Join(dir, "id_ed25519")); err != nil || info.Mode() != 0o600 {
				t.Errorf("the key: %v, %v", info.Mode(), err)
			}
		})
	}
}

func TestWriteSSHConfigNeedsAListener(t *testing.T) {
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dir := t.TempDir()
	if _, err := s.WriteSSHConfig(dir); err == nil {
		t.Error("written without an address")
	}
	if known := s.KnownHosts(); known != "" {
		t.Errorf("known hosts %q", known)
	}
}
