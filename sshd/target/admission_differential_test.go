package target

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// What decides for whom the configuration speaks. Alice comes from 127.0.0.1, and is in the group alice.
func TestTheConfigurationAdmitsWhomSshdAdmits(t *testing.T) {
	w := newTwins(t, "")
	key := newKey(t)
	w.machine.AuthorizedKeys("alice", key.Line)
	for _, test := range []struct{ config, want string }{
		{"AllowUsers alice", in},
		{"AllowUsers bob alice", in},
		{"AllowUsers alice,bob", refused}, // one pattern, with a comma in it
		{"AllowUsers *,alice", refused},
		{"AllowUsers *,!root", refused},
		{"AllowUsers !bob", refused},
		{"AllowUsers ?lice", in},
		{"AllowUsers ALICE", refused},
		{"DenyUsers alice,bob", in},
		{"DenyUsers *,!bob", in},
		{"DenyUsers !bob", in},
		{"DenyUsers al*", refused},
		{"AllowGroups alice", in},
		{"AllowGroups alice,foo", refused},
		{"AllowGroups *,!root", refused},
		{"AllowGroups !root", refused},
		{"DenyGroups alice,foo", in},
		{"DenyGroups *,!root", in},
		{"DenyGroups !root", in},
		{"DenyGroups a*", refused},
		{"AllowUsers alice@127.0.0.0/8,10.0.0.0/8", in},
		{"AllowUsers alice@!127.0.0.0/8,*", refused},
		{"AllowUsers alice@*,!127.0.0.1", refused},
		{"AllowUsers alice@!127.0.0.*,127.0.0.0/8", refused},
		{"AllowUsers alice@!10.0.0.0/8,*", in},
		{"AllowUsers alice@!10.0.0.0/8", refused},
		{"AllowUsers alice@localhost", refused},
		{"AllowUsers alice@127.1", in},
		{"AllowUsers alice@0/0", in},
		{"AllowUsers alice@0x7f.0.0.01", in},
		{"DenyUsers alice@127.1", refused},
		{"DenyUsers alice@0/0", refused},
		{"DenyUsers alice@2130706433", refused},
		{"DenyUsers alice@0177.0.0.1", refused},
		{"DenyUsers alice@!127.0.0.1,*", in},
		{"DenyUsers *@!10.0.0.1,127.*", refused},
		{"Match Address 0/0\nPubkeyAuthentication no", refused},
		{"Match Address 127.1\nPubkeyAuthentication no", refused},
		{"Match Address 2130706433\nPubkeyAuthentication no", refused},
		{"Match Address 127.0.0.0x1\nPubkeyAuthentication no", refused},
		{"Match Address 0177.0.0.1\nPubkeyAuthentication no", refused},
		{"Match Address 0127.0.0.1\nPubkeyAuthentication no", in},
		{"Match LocalAddress 127.1\nPubkeyAuthentication no", refused},
		{"AuthenticationMethods publickey:pam", refused},
		{"AuthenticationMethods publickey:", refused},
		{"AuthenticationMethods password:pam publickey", in},
		{"RSAAuthentication no", in},
		{"Match all\nUseLogin yes", in},
		{"RevokedKeys /dev/null", in},
	} {
		t.Run(test.config, func(t *testing.T) {
			w.reconfigure(t, test.config+"\n")
			w.agreeOn(t, key.Signer, test.want)
		})
	}
}

// refusesConfig tells whether sshd -t does.
func refusesConfig(m *testmachine.Machine) bool {
	return m.Chroot("/usr/sbin/sshd", "-t").Run() != nil
}

func TestAConfigurationThatSshdRefusesIsRefused(t *testing.T) {
	m := testmachine.New(t)
	for _, config := range []string{
		"AllowUsers alice@127/8", "DenyUsers alice@127/8", "AllowUsers alice@", "Match Address 127/8\nPubkeyAuthentication no",
		"Match LocalAddress 127/8\nPubkeyAuthentication no", `AllowUsers ""`, `DenyUsers bob ""`, `AllowGroups ""`, `DenyGroups wheel ""`,
		`AuthorizedKeysFile ""`, `AuthorizedKeysFile .ssh/authorized_keys ""`, `PubkeyAcceptedAlgorithms ""`, `AuthenticationMethods ""`,
		"RDomain x", "UseDNS maybe", "AuthenticationMethods pam", "UseLogin",
	} {
		t.Run(config, func(t *testing.T) {
			m.SSHDConfig(config + "\n")
			_, err := New(WithRoot(m.Root), WithSSHDConfig(configFile))
			if real := refusesConfig(m); !real || err == nil {
				t.Errorf("sshd refuses: %v, ours: %v", real, err)
			}
		})
	}
}

// A keyword with an empty argument is refused by both or by neither.
func TestAnEmptyArgumentIsOneOnlyWhereItIsToSshd(t *testing.T) {
	m := testmachine.New(t)
	for _, s := range settings {
		m.SSHDConfig(s.keyword + ` ""` + "\n")
		if _, err := New(WithRoot(m.Root), WithSSHDConfig(configFile)); (err != nil) != refusesConfig(m) {
			t.Errorf("%s: ours %v, not so sshd", s.keyword, err)
		}
	}
}

func TestAShellThatSshdWouldNotRunKeepsItsUserOut(t *testing.T) {
	w := newTwins(t, "")
	key := newKey(t)
	w.machine.AuthorizedKeys("alice", key.Line)
	accounts := w.machine.ReadFile("/etc/passwd")
	w.machine.WriteFile("/usr/bin/mine", "#!/bin/sh\n", 0o644)
	w.machine.WriteFile("/usr/bin/roots", "#!/bin/sh\n", 0o644)
	if err := os.Chmod(w.machine.Path("/usr/bin/roots"), 0o100); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/bin/sh", w.machine.Path("/usr/bin/shell-link")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ shell, want string }{
		{"/bin/sh", letIn},
		{"", letIn},
		{"/usr/sbin/nologin", letIn},
		{"/bin/false", letIn},
		{"/usr/bin/roots", letIn},
		{"/usr/bin/shell-link", letIn},
		{"/nonexistent", refused},
		{"/etc/passwd", refused},
		{"/tmp", refused},
		{"sh", refused},
		{"bin/sh", letIn},
		{"/usr/bin/mine", refused},
	} {
		t.Run(test.shell, func(t *testing.T) {
			lines := strings.Split(accounts, "\n")
			for i, line := range lines {
				if strings.HasPrefix(line, "alice:") {
					lines[i] = line[:strings.LastIndexByte(line, ':')+1] + test.shell
				}
			}
			w.machine.WriteFile("/etc/passwd", strings.Join(lines, "\n"), 0o644)
			w.agreeOnLogin(t, test.want, ssh.PublicKeys(key.Signer))
		})
	}
}

const letIn = "let in"

// agreeOnLogin has alice log in at both and go again.
func (w *twins) agreeOnLogin(t *testing.T, want string, methods ...ssh.AuthMethod) {
	t.Helper()
	got := w.agree(t, func(_ *testing.T, at twin) string {
		client, err := at.login(methods...)
		if err != nil {
			return refused
		}
		_ = client.Close()
		return letIn
	})
	if got != want {
		t.Errorf("both: %q, want %q", got, want)
	}
}

// Both run as root, and read what is alice's as alice.
func TestKeysAreReadAsTheUserWhoseTheyAre(t *testing.T) {
	testmachine.RequireRoot(t)
	const file, folder = "/home/alice/.ssh/authorized_keys", "/home/alice/.ssh"
	w := newTwins(t, "AuthorizedKeysFile .ssh/authorized_keys /etc/keys/%u\n")
	key := newKey(t)
	m := w.machine
	own := func(path string, uid, gid int, mode os.FileMode) {
		t.Helper()
		if err := os.Chown(m.Path(path), uid, gid); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(m.Path(path), mode); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target string) {
		t.Helper()
		if err := os.Rename(m.Path(file), m.Path(file+"-kept")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, m.Path(file)); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(elsewhere, []byte(key.Line+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var home unix.Stat_t
	if err := unix.Stat(m.Path("/home/alice"), &home); err != nil {
		t.Fatal(err)
	}
	alice := [2]int{int(home.Uid), int(home.Gid)}
	for _, test := range []struct {
		name  string
		stage func()
		want  string
	}{
		{"as it should be", func() {}, letIn},
		{"root's, for root alone", func() { own(file, 0, 0, 0o600) }, refused},
		{"root's, for all", func() { own(file, 0, 0, 0o644) }, letIn},
		{"root's, for root's group", func() { own(file, 0, 0, 0o640) }, refused},
		{"root's, for alice's group", func() { own(file, 0, alice[1], 0o640) }, letIn},
		{"alice's, for nobody", func() { own(file, alice[0], alice[1], 0) }, refused},
		{"alice's, for all but her", func() { own(file, alice[0], alice[1], 0o044) }, refused},
		{"in a folder for root alone", func() { own(folder, 0, 0, 0o700) }, refused},
		{"in a folder for nobody", func() { own(folder, alice[0], alice[1], 0) }, refused},
		{"in a folder that cannot be listed", func() { own(folder, 0, 0, 0o711) }, letIn},
		{"a relative link", func() { link("authorized_keys-kept") }, letIn},
		{"an absolute link", func() { link(file + "-kept") }, letIn},
		{"a link out of the root", func() { link(elsewhere) }, refused},
		{"a relative link out of the root", func() { link(strings.Repeat("../", 20) + elsewhere) }, refused},
		{"a link to what only root reads", func() { own(file, 0, 0, 0o600); link(file + "-kept") }, refused},
		{"of the system, for all", func() { own(file, 0, 0, 0o600); m.WriteFile("/etc/keys/alice", key.Line, 0o644) }, letIn},
		{"of the system, for root alone", func() { own(file, 0, 0, 0o600); m.WriteFile("/etc/keys/alice", key.Line, 0o600) }, refused},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, path := range []string{folder, "/etc/keys"} {
				if err := os.RemoveAll(m.Path(path)); err != nil {
					t.Fatal(err)
				}
			}
			m.AuthorizedKeys("alice", key.Line)
			test.stage()
			w.agreeOnLogin(t, test.want, ssh.PublicKeys(key.Signer))
		})
	}
}

// With a configuration a name without an account is nobody's, whatever the options have for it.
func TestNobodyLogsInWithoutAnAccount(t *testing.T) {
	key := newKey(t)
	for name, option := range map[string]Option{
		"a password": WithUser(User{Name: "ghost", Password: "tulip"}),
		"a user's":   WithUser(User{Name: "ghost", AuthorizedKeys: key.Line}),
		"keys":       WithAuthorizedKeys(key.Line),
	} {
		t.Run(name, func(t *testing.T) {
			for _, files := range []map[string]string{accounts(map[string]string{configFile: ""}), {configFile: ""}} {
				f := serve(t, files, WithSSHDConfig(configFile), option)
				if f.admits(t, "ghost", ssh.PublicKeys(key.Signer), ssh.Password("tulip")) || !strings.Contains(f.reasons(), errNoUser.Error()) {
					t.Errorf("logged in, or for another reason: %s", f.reasons())
				}
			}
		})
	}
}

func TestNamesAreNotResolvedAndNotPromised(t *testing.T) {
	for _, text := range []string{"UseDNS yes", "UseDNS YES", "Match all\nUseDNS yes"} {
		f := &fixture{root: t.TempDir()}
		f.write(t, configFile, text+"\n")
		if _, err := LoadConfig(f.root, configFile); err == nil || !strings.Contains(err.Error(), "this server resolves no names") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
