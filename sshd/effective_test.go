package sshd

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const ninePrints = `port 22
addressfamily any
listenaddress 0.0.0.0:22
permitrootlogin without-password
pubkeyauthentication yes
passwordauthentication no
kbdinteractiveauthentication no
hostkey /etc/ssh/ssh_host_ed25519_key
authorizedkeysfile .ssh/authorized_keys .ssh/authorized_keys2
allowusers Root
allowusers ecs-user
authenticationmethods any
permitopen any
`

const tenPrints = `Port 22
AddressFamily any
ListenAddress 0.0.0.0:22
PermitRootLogin prohibit-password
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2
AllowUsers Root
AllowUsers ecs-user
AuthenticationMethods any
PermitOpen any
`

func TestBothSpellingsReadTheSame(t *testing.T) {
	t.Parallel()
	nine, err := ParseConfig([]byte(ninePrints))
	if err != nil {
		t.Fatal(err)
	}
	ten, err := ParseConfig([]byte(strings.ReplaceAll(tenPrints, "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	nine["permitrootlogin"] = ten["permitrootlogin"] // the value differs too, see cause_config
	if diff := cmp.Diff(nine, ten); diff != "" {
		t.Errorf("(-9.x +10.x):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Root", "ecs-user"}, ten.Fields("allowusers")); diff != "" {
		t.Errorf("a repeated keyword (-want +got):\n%s", diff)
	}
}

// TestEveryReleaseIsReadTheSame: what is asked of a configuration, of each real
// sshd there is.
func TestEveryReleaseIsReadTheSame(t *testing.T) {
	t.Parallel()
	for _, suite := range []string{"", "bullseye", "trixie"} {
		t.Run("release "+suite, func(t *testing.T) {
			t.Parallel()
			m := newMachineOf(t, suite)
			m.SSHDConfig("PermitRootLogin prohibit-password\nMatch User root\n\tAuthenticationMethods publickey,password publickey\n")
			config := m.effective()
			if !config.AllowsPassword() || !config.KeySuffices() || !slices.Contains(config.Ports(), m.Port) || config.ListenAddress() != m.Address() {
				t.Errorf("password %v, key suffices %v, ports %v, at %s", config.AllowsPassword(), config.KeySuffices(), config.Ports(), config.ListenAddress())
			}
			if root := config.Get("permitrootlogin"); root != "prohibit-password" && root != "without-password" {
				t.Errorf("permitrootlogin %q", root)
			}
			m.write(guarded)
			if m.effective().AllowsPassword() {
				t.Error("password still allowed under the policy")
			}
		})
	}
}

func TestAnOutputThatWasCutOffIsAnError(t *testing.T) {
	t.Parallel()
	for n := range len(ninePrints) - 1 {
		if config, err := ParseConfig([]byte(ninePrints[:n])); err == nil || config != nil {
			t.Fatalf("the first %d of %d bytes are read as whole: %v", n, len(ninePrints), config)
		}
	}
	m := newMachine(t)
	out, err := m.sshd.run(context.Background(), "-T", "-f", DefaultConfig)
	if err != nil {
		t.Fatal(err)
	}
	last := bytes.LastIndex(out, []byte("permitopen"))
	for n := range last {
		if _, err := ParseConfig(out[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes of sshd's own output are read as whole", n, len(out))
		}
	}
}

// TestAMatchOnThePortDoesNotFail: it does where sshd is not told the port.
func TestAMatchOnThePortDoesNotFail(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.SSHDConfig("Match LocalPort " + strings.Split(m.Address(), ":")[1] + "\n\tMaxAuthTries 2\n" +
		"Match Address 127.0.0.1 LocalAddress 127.0.0.1 Host localhost User " + testUser + "\n\tMaxSessions 3\nMatch RDomain red\n\tMaxSessions 4\n")
	config := m.effective()
	if config.Get("maxauthtries") != "2" || config.Get("maxsessions") != "3" {
		t.Errorf("maxauthtries %s, maxsessions %s, want 2 and 3", config.Get("maxauthtries"), config.Get("maxsessions"))
	}
	for _, key := range []string{"user=", "host=", "addr=", "laddr=", "lport=", "rdomain="} {
		if !strings.Contains(FromOutside(testUser, 22).arg(), key) {
			t.Errorf("-C lacks %s", key)
		}
	}
}

func TestWhatLetsAPasswordIn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		password, keyboard, challenge, methods string
		allows, keySuffices                    bool
	}{
		{"yes", "no", "", "any", true, true},
		{"no", "yes", "", "any", true, true},
		{"no", "no", "yes", "any", true, true}, // before 8.7
		{"no", "no", "no", "any", false, true},
		{"no", "no", "", "", false, true},
		{"yes", "yes", "", "publickey", false, true},
		{"yes", "yes", "", "publickey,password", false, false},
		{"yes", "no", "", "publickey password", true, true},
		{"no", "yes", "", "publickey keyboard-interactive", true, true},
		{"no", "yes", "", "publickey keyboard-interactive:pam", true, true},
		{"no", "yes", "", "publickey,keyboard-interactive:pam", false, false},
		{"yes", "no", "", "password,publickey", true, false},
		{"no", "yes", "", "password", false, false},
	} {
		config := Config{"passwordauthentication": {test.password}, "kbdinteractiveauthentication": {test.keyboard}}
		if test.challenge != "" {
			config["challengeresponseauthentication"] = []string{test.challenge}
		}
		if test.methods != "" {
			config["authenticationmethods"] = []string{test.methods}
		}
		if config.AllowsPassword() != test.allows || config.KeySuffices() != test.keySuffices {
			t.Errorf("%+v: allows a password %v, a key suffices %v", test, config.AllowsPassword(), config.KeySuffices())
		}
	}
}

// FuzzParseConfig: whatever sshd -T may print, what is read is whole, and
// keywords are words.
func FuzzParseConfig(f *testing.F) {
	for _, seed := range []string{ninePrints, tenPrints, "", "\n", "port", ninePrints[:40], "\x00\n", strings.Repeat("a", 1<<16) + "\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, out []byte) {
		config, err := ParseConfig(out)
		if err != nil {
			if config != nil {
				t.Error("an error, and a configuration")
			}
			return
		}
		if !config.complete() {
			t.Error("not whole")
		}
		for keyword, values := range config {
			if keyword == "" || strings.ContainsAny(keyword, " \n") || keyword != strings.ToLower(keyword) || len(values) == 0 {
				t.Errorf("keyword %q has %d values", keyword, len(values))
			}
		}
		config.AllowsPassword()
		config.KeySuffices()
		config.ListenAddress()
		config.Ports()
	})
}
