package target

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// audit is what ssh-audit says of a server, a remark a line: "(kex) NAME -- [fail] WHY".
func audit(t *testing.T, s *Server) []string {
	t.Helper()
	out, err := exec.Command(testmachine.RequireProgram(t, "ssh-audit"), "-n", "-b", "-v", s.Addr().String()).Output()
	var exit *exec.ExitError // the status is for what it found
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return strings.Split(string(out), "\n")
}

// failsOf are the fails, but for names that the audit does not know.
func failsOf(remarks []string) []string {
	var fails []string
	for _, remark := range remarks {
		if strings.Contains(remark, "[fail]") && !strings.Contains(remark, "unknown algorithm") {
			fails = append(fails, remark)
		}
	}
	return fails
}

func TestAnAuditFailsNothing(t *testing.T) {
	remarks := audit(t, Start(t))
	for _, prefix := range []string{"(kex) curve25519-sha256 ", "(kex) kex-strict-s-v00@openssh.com ", "(key) ssh-ed25519 ", "(enc) ", "(mac) "} {
		if !slices.ContainsFunc(remarks, func(remark string) bool { return strings.HasPrefix(remark, prefix) }) {
			t.Errorf("not audited: %s", prefix)
		}
	}
	if diff := cmp.Diff([]string(nil), failsOf(remarks)); diff != "" {
		t.Error(diff)
	}
}

func TestAnAuditFailsWhatIsLeftOut(t *testing.T) {
	names := []string{"ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"}
	fails := failsOf(audit(t, Start(t, WithSettings("KexAlgorithms +"+strings.Join(names, ",")))))
	for _, name := range names {
		if !strings.Contains(strings.Join(fails, "\n"), " "+name+" ") {
			t.Errorf("%s has no fail: it need not be left out", name)
		}
	}
}

func TestAListOfAlgorithmsIsReadAsSSHDReadsIt(t *testing.T) {
	list := algorithmList{
		keyword: "Ciphers", standard: []string{"a-ctr", "b-ctr", "c-gcm"},
		has: []string{"a-ctr", "b-ctr", "c-gcm", "d-cbc"}, knows: []string{"e-sshd-only"},
	}
	patterns := list
	patterns.wildcards = true
	for _, test := range []struct {
		list  algorithmList
		value string
		want  string // "" for an error
	}{
		{list, "", "a-ctr b-ctr c-gcm"},
		{list, "c-gcm,a-ctr", "c-gcm a-ctr"},
		{list, "c-gcm,e-sshd-only", "c-gcm"},
		{list, "+d-cbc", "a-ctr b-ctr c-gcm d-cbc"},
		{list, "+a-ctr", "a-ctr b-ctr c-gcm"},
		{list, "-*-ctr", "c-gcm"},
		{list, "-nobodys", "a-ctr b-ctr c-gcm"},
		{list, "^c-gcm,d-cbc", "c-gcm d-cbc a-ctr b-ctr"},
		{list, "e-sshd-only", ""},
		{list, "-*", ""},
		{list, "nobodys", ""},
		{list, "+nobodys", ""},
		{list, "*-ctr", ""},
		{patterns, "*-ctr", "a-ctr b-ctr"},
		{patterns, "^*-cbc", "d-cbc a-ctr b-ctr c-gcm"},
	} {
		got, err := test.list.parse(test.value)
		if strings.Join(got, " ") != test.want && err == nil || (err == nil) != (test.want != "") {
			t.Errorf("%q: %q, %v; want %q", test.value, got, err, test.want)
		}
	}
}

func TestBothNegotiateWhatTheConfigurationLeaves(t *testing.T) {
	w := newTwins(t, "", alice())
	for _, test := range []struct{ config, want string }{
		{"Ciphers aes192-ctr\nMACs hmac-sha2-512\nKexAlgorithms diffie-hellman-group14-sha256", "diffie-hellman-group14-sha256 aes192-ctr hmac-sha2-512"},
		{"Ciphers ^aes256-ctr\nMACs -hmac-sha2-256*,umac*,hmac-sha1*\nKexAlgorithms ecdh-sha2-nistp384", "ecdh-sha2-nistp384 aes128-gcm@openssh.com "},
		{"Ciphers -*gcm*,chacha*\nMACs -hmac-sha2-256*\nKexAlgorithms -curve*,sntrup*,ecdh*,mlkem*", "diffie-hellman-group14-sha256 aes128-ctr hmac-sha2-512-etm@openssh.com"},
		{"Ciphers aes128-cbc\nMACs hmac-sha1\nKexAlgorithms diffie-hellman-group14-sha1", "nothing"},
	} {
		t.Run(test.config, func(t *testing.T) {
			w.reconfigure(t, test.config+"\n")
			got := w.agree(t, func(_ *testing.T, at twin) string { return at.negotiates() })
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// negotiates is what a client that would take most comes to use.
func (at twin) negotiates() string {
	client, err := ssh.Dial("tcp", at.addr, &ssh.ClientConfig{
		Config: ssh.Config{KeyExchanges: []string{ssh.KeyExchangeECDHP384, ssh.KeyExchangeCurve25519, ssh.KeyExchangeDH14SHA256}},
		User:   "alice", Auth: []ssh.AuthMethod{ssh.Password("tulip")},
		HostKeyCallback: ssh.FixedHostKey(at.hostKey), HostKeyAlgorithms: []string{at.hostKey.Type()},
	})
	var none *ssh.AlgorithmNegotiationError
	if errors.As(err, &none) {
		return "nothing"
	}
	if err != nil {
		return err.Error()
	}
	defer client.Close()
	used := client.Conn.(ssh.AlgorithmsConnMetadata).Algorithms()
	return fmt.Sprintf("%s %s %s", used.KeyExchange, used.Read.Cipher, used.Read.MAC)
}

func TestOnlyHostKeysThatAreAllowedAreShown(t *testing.T) {
	rsa, ed25519 := testmachine.NewKey(t, "rsa-2048").Signer, newKey(t).Signer
	for _, test := range []struct {
		setting string
		keys    []ssh.Signer
		want    string // "" for an error
	}{
		{"", []ssh.Signer{rsa, ed25519}, "ssh-ed25519 rsa-sha2-256 rsa-sha2-512"},
		{"HostKeyAlgorithms +ssh-rsa", []ssh.Signer{rsa, ed25519}, "ssh-ed25519 rsa-sha2-256 rsa-sha2-512 ssh-rsa"},
		{"HostKeyAlgorithms rsa-*", []ssh.Signer{rsa, ed25519}, "rsa-sha2-256 rsa-sha2-512"},
		{"HostKeyAlgorithms rsa-sha2-512", []ssh.Signer{rsa, ed25519}, "rsa-sha2-512"},
		{"HostKeyAlgorithms -rsa*", []ssh.Signer{rsa, ed25519}, "ssh-ed25519"},
		{"HostKeyAlgorithms rsa-sha2-512", []ssh.Signer{ed25519}, ""},
		{"", nil, "ssh-ed25519"},
	} {
		t.Run(test.setting, func(t *testing.T) {
			opts := []Option{WithHostKey(test.keys...)}
			if test.setting != "" {
				opts = append(opts, WithSettings(test.setting))
			}
			s, err := New(opts...)
			if test.want == "" {
				if err == nil || !strings.Contains(err.Error(), "HostKeyAlgorithms") {
					t.Errorf("no key is left, and New returns %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := s.Listen("127.0.0.1:0"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, shown(s)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// shown are the signatures by which a server proves itself to who asks for them alone.
func shown(s *Server) string {
	var all []string
	for _, name := range []string{"ssh-ed25519", "rsa-sha2-256", "rsa-sha2-512", "ssh-rsa"} {
		config := s.ClientConfig("alice")
		config.HostKeyAlgorithms = []string{name}
		client, err := ssh.Dial("tcp", s.Addr().String(), config)
		if err == nil {
			_ = client.Close()
			all = append(all, name)
		}
	}
	return strings.Join(all, " ")
}
