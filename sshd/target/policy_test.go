package target

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// accounts is an /etc/passwd and an /etc/group, and the shell of all.
func accounts(files map[string]string) map[string]string {
	files["/etc/passwd"] = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\n"
	files["/bin/sh"] = "#!/bin/sh\n"
	files["/etc/group"] = "root:x:0:\nalice:x:1000:\nbob:x:1001:\nwheel:x:10:alice\n"
	return files
}

func configured() []Option {
	options := []Option{WithSSHDConfig(configFile)}
	for _, name := range []string{"root", "alice", "bob"} {
		options = append(options, WithUser(User{Name: name, Password: "tulip"}))
	}
	return options
}

func TestTheMethodListIsThatOfSshd(t *testing.T) {
	for _, test := range []struct {
		name, config string
		alice, bob   string
	}{
		{"defaults", "", "keyboard-interactive,password,publickey", ""},
		{"password off", "PasswordAuthentication no", "keyboard-interactive,publickey", ""},
		{"both off", "PasswordAuthentication no\nKbdInteractiveAuthentication no", "publickey", ""},
		{"old name", "PasswordAuthentication no\nChallengeResponseAuthentication no", "publickey", ""},
		{"keys off", "PubkeyAuthentication no", "keyboard-interactive,password", ""},
		{"only keys will do", "AuthenticationMethods publickey", "publickey", ""},
		{"key, then password", "AuthenticationMethods publickey,password", "publickey", ""},
		{"either", "AuthenticationMethods publickey keyboard-interactive:pam", "keyboard-interactive,publickey", ""},
		{"a way with a method that is off", "PasswordAuthentication no\nAuthenticationMethods password publickey", "publickey", ""},
		{
			"reopened for one user", "PasswordAuthentication no\nKbdInteractiveAuthentication no\nMatch User alice\nPasswordAuthentication yes",
			"password,publickey", "publickey",
		},
		{"closed for a group", "KbdInteractiveAuthentication no\nMatch Group wheel\nPasswordAuthentication no", "publickey", "password,publickey"},
		{
			"guarded", "Match all\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nMatch User alice\nPasswordAuthentication yes",
			"publickey", "publickey",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := serve(t, accounts(map[string]string{configFile: test.config}), configured()...)
			if test.bob == "" {
				test.bob = test.alice
			}
			if diff := cmp.Diff(test.alice, strings.Join(f.methods(t, "alice"), ",")); diff != "" {
				t.Error("alice:", diff)
			}
			if diff := cmp.Diff(test.bob, strings.Join(f.methods(t, "bob"), ",")); diff != "" {
				t.Error("bob:", diff)
			}
			canPassword := strings.Contains(test.alice, "password")
			if got := f.admits(t, "alice", ssh.Password("tulip")); got != canPassword {
				t.Errorf("alice's password logs in: %v", got)
			}
		})
	}
}

func TestTheMethodListAgreesWithARealSshd(t *testing.T) {
	m := testmachine.New(t)
	m.AddUser("alice", "tulip")
	for _, config := range []string{
		"", "PasswordAuthentication no", "PasswordAuthentication no\nKbdInteractiveAuthentication no",
		"AuthenticationMethods publickey", "AuthenticationMethods publickey,password publickey,keyboard-interactive",
		"PasswordAuthentication no\nMatch User alice\nPasswordAuthentication yes\nPubkeyAuthentication no",
		"Match User alice Address 127.0.0.0/8\nPasswordAuthentication no\nMatch all\nKbdInteractiveAuthentication no",
	} {
		t.Run(config, func(t *testing.T) {
			m.SSHDConfig("UsePAM yes\n" + config + "\n")
			m.StartSSHD()
			want := m.Methods(t, "alice")
			m.StopSSHD()
			f := serve(t, accounts(map[string]string{configFile: config}), configured()...)
			if diff := cmp.Diff(slices.Sorted(slices.Values(want)), f.methods(t, "alice")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSeveralMethodsAreAskedForInTheirOrder(t *testing.T) {
	first, second := newKey(t), newKey(t)
	for _, test := range []struct {
		name, config string
		methods      []ssh.AuthMethod
		want         bool
	}{
		{"key alone", "publickey,password", []ssh.AuthMethod{ssh.PublicKeys(first.Signer)}, false},
		{"password alone", "publickey,password", []ssh.AuthMethod{ssh.Password("tulip")}, false},
		{"both", "publickey,password", []ssh.AuthMethod{ssh.PublicKeys(first.Signer), ssh.Password("tulip")}, true},
		{"both, wrong password", "publickey,password", []ssh.AuthMethod{ssh.PublicKeys(first.Signer), ssh.Password("rose")}, false},
		{"one of two ways", "publickey,password keyboard-interactive", []ssh.AuthMethod{answering("tulip")}, true},
		{"one key twice", "publickey,publickey", []ssh.AuthMethod{ssh.PublicKeys(first.Signer), ssh.PublicKeys(first.Signer)}, false},
		{"two keys", "publickey,publickey", []ssh.AuthMethod{ssh.PublicKeys(first.Signer), ssh.PublicKeys(second.Signer)}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := serve(t, accounts(map[string]string{
				configFile:                         "AuthenticationMethods " + test.config + "\n",
				"/home/alice/.ssh/authorized_keys": first.Line + "\n" + second.Line + "\n",
			}), configured()...)
			if got := admitsInOrder(f, "alice", test.methods); got != test.want {
				t.Errorf("logged in: %v: %s", got, logged(f))
			}
		})
	}
}

// admitsInOrder offers each method once, also one after another of its kind.
func admitsInOrder(f *fixture, user string, methods []ssh.AuthMethod) bool {
	config := &ssh.ClientConfig{User: user, HostKeyCallback: ssh.FixedHostKey(f.HostKey())}
	config.AuthCallback = func(*ssh.ClientAuthContext) (ssh.AuthMethod, error) {
		if len(methods) == 0 {
			return nil, errors.New("no more methods")
		}
		next := methods[0]
		methods = methods[1:]
		return next, nil
	}
	client, err := ssh.Dial("tcp", f.addr, config)
	if err != nil {
		return false
	}
	_ = client.Close()
	return true
}

func TestRootLogsInOnlyAsPermitted(t *testing.T) {
	key := newKey(t)
	for _, test := range []struct {
		config, line  string
		key, password bool
	}{
		{"PermitRootLogin yes", "", true, true},
		{"PermitRootLogin no", "", false, false},
		{"", "", true, false},
		{"PermitRootLogin without-password", "", true, false},
		{"PermitRootLogin forced-commands-only", "", false, false},
		{"PermitRootLogin forced-commands-only", `command="id" `, true, false},
	} {
		t.Run(test.config+test.line, func(t *testing.T) {
			f := serve(t, accounts(map[string]string{
				configFile: test.config + "\n", "/root/.ssh/authorized_keys": test.line + key.Line,
			}), configured()...)
			if got := f.admits(t, "root", ssh.PublicKeys(key.Signer)); got != test.key {
				t.Errorf("key logs in: %v: %s", got, f.reasons())
			}
			if got := f.admits(t, "root", ssh.Password("tulip")); got != test.password {
				t.Errorf("password logs in: %v", got)
			}
		})
	}
}

func TestWhoIsNotAllowedDoesNotLogIn(t *testing.T) {
	for _, test := range []struct {
		config     string
		alice, bob bool
	}{
		{"", true, true},
		{"AllowUsers alice", true, false},
		{"AllowUsers a* c\nAllowUsers bob@10.0.0.0/8", true, false},
		{"AllowUsers *@127.0.0.0/8", true, true},
		{"DenyUsers bob\nAllowUsers bob alice", true, false},
		{"DenyUsers *@127.0.0.1", false, false},
		{"AllowGroups wheel", true, false},
		{"DenyGroups wheel", false, true},
		{"Match User bob\nAllowUsers nobody", true, false},
		{"Match User bob\nRefuseConnection yes", true, false},
	} {
		t.Run(test.config, func(t *testing.T) {
			f := serve(t, accounts(map[string]string{configFile: test.config}), configured()...)
			if got := f.admits(t, "alice", ssh.Password("tulip")); got != test.alice {
				t.Errorf("alice: %v: %s", got, f.reasons())
			}
			if got := f.admits(t, "bob", ssh.Password("tulip")); got != test.bob {
				t.Errorf("bob: %v: %s", got, f.reasons())
			}
		})
	}
}

func TestGroupsThatCannotBeReadLetNobodyIn(t *testing.T) {
	f := serve(t, accounts(map[string]string{configFile: "DenyGroups wheel\n"}), configured()...)
	group := filepath.Join(f.root, "etc/group")
	if err := os.Remove(group); err != nil {
		t.Fatal(err)
	}
	makeFIFO(t, group)
	if f.admits(t, "alice", ssh.Password("tulip")) || f.admits(t, "bob", ssh.Password("tulip")) {
		t.Error("logged in")
	}
}

func TestTheOptionsOfALineAreInForce(t *testing.T) {
	past, future := time.Now().Add(-time.Hour).UTC().Format("200601021504Z"), time.Now().Add(time.Hour).UTC().Format("200601021504Z")
	for _, test := range []struct {
		options, output string // output "" for refused
	}{
		{"", "asked"},
		{`from="127.0.0.0/8" `, "asked"},
		{`from="10.0.0.0/8" `, ""},
		{`from="!127.0.0.1,*" `, ""},
		{fmt.Sprintf(`expiry-time="%s" `, future), "asked"},
		{fmt.Sprintf(`expiry-time="%s" `, past), ""},
		{`command="echo forced, not $SSH_ORIGINAL_COMMAND" `, "forced, not echo asked"},
		{`restrict,pty `, "asked"},
		{`cert-authority `, ""},
		{`principals="alice" `, ""},
		{`verify-required `, "asked"}, // concerns security keys alone
		{`no-such-option `, ""},
	} {
		t.Run(test.options, func(t *testing.T) {
			key := newKey(t)
			f := serve(t, map[string]string{"/keys/alice": test.options + key.Line}, WithAuthorizedKeysFile(keysFile))
			client, err := f.login("alice", ssh.PublicKeys(key.Signer))
			if err != nil {
				if test.output != "" {
					t.Errorf("refused: %s", f.reasons())
				}
				return
			}
			defer client.Close()
			if out, _ := run(t, client, "echo asked"); strings.TrimSpace(out) != test.output {
				t.Errorf("output %q", out)
			}
		})
	}
}

func TestForceCommandBeatsTheKeysCommand(t *testing.T) {
	key := newKey(t)
	f := serve(t, accounts(map[string]string{
		configFile:                         "Match User alice\nForceCommand echo \"by  config\"\n",
		"/home/alice/.ssh/authorized_keys": `command="echo by key" ` + key.Line,
	}), configured()...)
	client, err := f.login("alice", ssh.PublicKeys(key.Signer))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if out, _ := run(t, client, "echo asked"); out != "by  config\n" {
		t.Errorf("output %q", out)
	}
}

func TestStrictModesRefusesKeysThatOthersCanWrite(t *testing.T) {
	key := newKey(t)
	for _, test := range []struct {
		name, path string
		config     string
		want       bool
	}{
		{"sound", "", "", true},
		{"file", "home/alice/.ssh/authorized_keys", "", false},
		{"folder", "home/alice/.ssh", "", false},
		{"home", "home/alice", "", false},
		{"above the home", "home", "", true},
		{"not asked for", "home/alice/.ssh/authorized_keys", "StrictModes no", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := serve(t, accounts(map[string]string{
				configFile: test.config, "/home/alice/.ssh/authorized_keys": key.Line,
			}), configured()...)
			if test.path != "" {
				openUp(t, f, test.path)
			}
			if got := f.admits(t, "alice", ssh.PublicKeys(key.Signer)); got != test.want {
				t.Errorf("logged in: %v: %s", got, f.reasons())
			}
		})
	}
}

func TestAlgorithmsAndSizesAreThoseAccepted(t *testing.T) {
	for _, test := range []struct {
		kind, config string
		want         bool
	}{
		{"ed25519", "", true},
		{"rsa-2048", "", true},
		{"ecdsa-256", "", true},
		{"rsa-2048", "RequiredRSASize 3072", false},
		{"ed25519", "PubkeyAcceptedAlgorithms rsa-*", false},
		{"rsa-2048", "PubkeyAcceptedAlgorithms rsa-sha2-256", true},
		{"ecdsa-256", "PubkeyAcceptedKeyTypes -ecdsa-*", false},
		{"ed25519", "PubkeyAcceptedKeyTypes -ecdsa-*", true},
	} {
		t.Run(test.kind+" "+test.config, func(t *testing.T) {
			key := testmachine.NewKey(t, test.kind)
			f := serve(t, accounts(map[string]string{
				configFile: test.config, "/home/alice/.ssh/authorized_keys": key.Line,
			}), configured()...)
			if got := f.admits(t, "alice", ssh.PublicKeys(key.Signer)); got != test.want {
				t.Errorf("logged in: %v: %s", got, f.reasons())
			}
		})
	}
}

func TestAConfigurationThatCannotBeHonouredIsRefused(t *testing.T) {
	for _, test := range []struct{ config, want string }{
		{"Port 22\nNoSuchKeyword yes", ":2: unknown keyword nosuchkeyword"},
		{"PasswordAuthentication maybe", ":1: passwordauthentication maybe: expected one of yes, no"},
		{"Port ssh", ":1: port ssh: expected a number"},
		{"MaxAuthTries 0", ":1: MaxAuthTries 0: expected 1 or more"},
		{"PubkeyAuthOptions verify-required", ":1: pubkeyauthoptions is not supported"},
		{"PubkeyAcceptedAlgorithms ssh-ed2519", `:1: PubkeyAcceptedAlgorithms: unknown algorithm "ssh-ed2519"`},
		{"CASignatureAlgorithms ssh-ed25519-cert-v01@openssh.com", ":1: CASignatureAlgorithms: unknown algorithm"},
		{"AuthenticationMethods publickey,pasword", `:1: authenticationmethods publickey,pasword: unknown method "pasword"`},
		{"AuthenticationMethods any publickey", ":1: authenticationmethods: any stands alone"},
		{"Match User x\nChrootDirectory /jail", ":2: chrootdirectory is not supported"},
		{"Match User x\nUsePAM yes", ":2: usepam is not allowed within a Match block"},
		{"Match Moon full\n", ":1: match moon: criterion not known"},
		{"DenyUsers bob@10.0.0.1/8", ":1: bob@10.0.0.1/8: network"},
		{"Banner \"x", ":1: quote without its end"},
	} {
		t.Run(test.config, func(t *testing.T) {
			f := &fixture{root: t.TempDir()}
			f.write(t, configFile, test.config+"\n")
			_, err := New(WithRoot(f.root), WithSSHDConfig(configFile))
			if err == nil || !strings.Contains(err.Error(), configFile+test.want) {
				t.Errorf("error %v, want %s%s", err, configFile, test.want)
			}
		})
	}
}

func TestReloadTakesTheNewConfigurationAndKeepsTheOldOnAnError(t *testing.T) {
	f := serve(t, accounts(map[string]string{configFile: "PasswordAuthentication yes\n"}), configured()...)
	for _, step := range []struct {
		config string
		err    bool
		want   bool
	}{
		{"PasswordAuthentication no\n", false, false},
		{"PasswordAuthentication yes\nGarbage\n", true, false},
		{"PasswordAuthentication yes\n", false, true},
	} {
		f.write(t, configFile, step.config)
		before := f.admits(t, "alice", ssh.Password("tulip"))
		if err := f.Reload(); (err != nil) != step.err {
			t.Fatalf("Reload: %v", err)
		}
		if got := f.admits(t, "alice", ssh.Password("tulip")); got != step.want {
			t.Errorf("%q: before the reload %v, after it %v", step.config, before, got)
		}
	}
}

func openUp(t *testing.T, f *fixture, path string) {
	t.Helper()
	path = filepath.Join(f.root, path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, info.Mode()|0o022); err != nil {
		t.Fatal(err)
	}
}
