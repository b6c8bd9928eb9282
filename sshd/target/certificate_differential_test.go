package target

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// bound is a certificate with critical options.
func bound(options map[string]string) func(*ssh.Certificate) {
	return func(c *ssh.Certificate) { c.CriticalOptions = options }
}

func naming(principals ...string) func(*ssh.Certificate) {
	return func(c *ssh.Certificate) { c.ValidPrincipals = principals }
}

func TestCertificatesBoundAUserAsForSshd(t *testing.T) {
	w := newTwins(t, "TrustedUserCAKeys /etc/ssh/ca.pub\n")
	key, ca := newKey(t), newKey(t)
	w.machine.WriteFile("/etc/ssh/ca.pub", "# ours\n"+newKey(t).Line+"\n"+ca.Line+"\n", 0o644)
	hour := func(h int) uint64 { return uint64(time.Now().Add(time.Duration(h) * time.Hour).Unix()) }
	for _, test := range []struct {
		name   string
		change func(*ssh.Certificate)
		want   string
	}{
		{"sound", nil, in},
		{"for somebody else", naming("bob"), refused},
		{"for several", naming("bob", "alice"), in},
		{"for nobody by name", naming(), refused},
		{"for a name in capitals", naming("Alice"), refused},
		{"for all by a wildcard", naming("*"), refused},
		{"expired", func(c *ssh.Certificate) { c.ValidBefore = hour(-1) }, refused},
		{"not valid yet", func(c *ssh.Certificate) { c.ValidAfter = hour(1) }, refused},
		{"for ever", func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = 0, ssh.CertTimeInfinity }, in},
		{"a host's", func(c *ssh.Certificate) { c.CertType = ssh.HostCert }, refused},
		{"of no kind", func(c *ssh.Certificate) { c.CertType = 3 }, refused},
		{"forced command", bound(map[string]string{"force-command": "echo forced"}), "forced\n"},
		{"source address", bound(map[string]string{"source-address": "127.0.0.1"}), in},
		{"source network", bound(map[string]string{"source-address": "10.0.0.0/8,127.0.0.0/8"}), in},
		{"another source", bound(map[string]string{"source-address": "10.0.0.0/8"}), refused},
		{"a source that is a pattern", bound(map[string]string{"source-address": "127.*"}), refused},
		{"a source that is negated", bound(map[string]string{"source-address": "!10.0.0.1"}), refused},
		{"a source with host bits", bound(map[string]string{"source-address": "127.0.0.1/8"}), refused},
		{"an empty source", bound(map[string]string{"source-address": ""}), refused},
		{"a verified user, of no security key", bound(map[string]string{"verify-required": ""}), in},
		{"a critical option that is not known", bound(map[string]string{"no-such@example.com": "x"}), refused},
		{"an extension that is not known", func(c *ssh.Certificate) { c.Extensions["no-such@example.com"] = "x" }, in},
		{"an extension with a value it has not", func(c *ssh.Certificate) { c.Extensions["permit-pty"] = "x" }, refused},
		{"no extensions", func(c *ssh.Certificate) { c.Extensions = nil }, in},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.agreeOn(t, withCertificate(t, key.Signer, ca.Signer, test.change), test.want)
		})
	}
	t.Run("another authority", func(t *testing.T) {
		w.agreeOn(t, withCertificate(t, key.Signer, newKey(t).Signer, nil), refused)
	})
	t.Run("the plain key", func(t *testing.T) { w.agreeOn(t, key.Signer, refused) })
	t.Run("the authority's own key", func(t *testing.T) { w.agreeOn(t, ca.Signer, refused) })
	t.Run("a signature that is not the authority's", func(t *testing.T) {
		forged := withCertificate(t, key.Signer, ca.Signer, nil)
		forged.PublicKey().(*ssh.Certificate).ValidPrincipals = []string{"alice", "root"}
		w.agreeOn(t, forged, refused)
	})
}

func TestALineWithCertAuthorityMeansWhatItMeansToSshd(t *testing.T) {
	w := newTwins(t, "")
	key, ca := newKey(t), newKey(t)
	forced := bound(map[string]string{"force-command": "echo forced"})
	for _, test := range []struct {
		name, line string
		change     func(*ssh.Certificate)
		want       string
	}{
		{"sound", "cert-authority CA", nil, in},
		{"without cert-authority", "CA", nil, refused},
		{"for somebody else", "cert-authority CA", naming("bob"), refused},
		{"for nobody by name", "cert-authority CA", naming(), in},
		{"named by the line", `cert-authority,principals="bob,carol" CA`, naming("carol"), in},
		{"named by the line, not the user", `cert-authority,principals="bob" CA`, nil, refused},
		{"named by the line, with blanks", `cert-authority,principals="bob, alice" CA`, nil, refused},
		{"named by the line, nobody by the certificate", `cert-authority,principals="bob" CA`, naming(), refused},
		{"nobody named by the line", `cert-authority,principals="" CA`, nil, refused},
		{"nobody named by the line, the empty name by the certificate", `cert-authority,principals="" CA`, naming(""), refused},
		{"an empty name beside another", `cert-authority,principals="" CA`, naming("", "alice"), refused},
		{"named before an empty name", `cert-authority,principals="bob,,carol" CA`, naming("bob"), in},
		{"named after an empty name", `cert-authority,principals="bob,,carol" CA`, naming("carol"), refused},
		{"the empty name in a list", `cert-authority,principals="bob,,carol" CA`, naming(""), refused},
		{"a wildcard, as it is written", `cert-authority,principals="b*" CA`, naming("b*"), in},
		{"a wildcard that would fit", `cert-authority,principals="b*" CA`, naming("bob"), refused},
		{"a list as one name", `cert-authority,principals="bob,carol" CA`, naming("bob,carol"), refused},
		{"the last of many", `cert-authority,principals="` + strings.Repeat("x,", 45) + `bob" CA`, naming("bob"), in},
		{"forced by the certificate", "cert-authority CA", forced, "forced\n"},
		{"forced by the line", `cert-authority,command="echo line" CA`, nil, "line\n"},
		{"forced by both alike", `cert-authority,command="echo forced" CA`, forced, "forced\n"},
		{"forced by both otherwise", `cert-authority,command="echo line" CA`, forced, refused},
		{"from elsewhere by the line", `cert-authority,from="10.0.0.0/8" CA`, nil, refused},
		{"from here by both", `cert-authority,from="127.*" CA`, bound(map[string]string{"source-address": "127.0.0.1"}), in},
		{"from elsewhere by one", `cert-authority,from="127.*" CA`, bound(map[string]string{"source-address": "10.0.0.1"}), refused},
		{"the line expired", `cert-authority,expiry-time="20200101" CA`, nil, refused},
		{"the second line", "cert-authority,from=\"10.0.0.1\" CA\ncert-authority,command=\"echo second\" CA", nil, "second\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.machine.AuthorizedKeys("alice", strings.ReplaceAll(test.line, "CA", ca.Line))
			w.agreeOn(t, withCertificate(t, key.Signer, ca.Signer, test.change), test.want)
		})
	}
}

func TestALineOfTheUsersOwnComesBeforeTrustedUserCAKeys(t *testing.T) {
	w := newTwins(t, "TrustedUserCAKeys /etc/ssh/ca.pub\n")
	key, ca := newKey(t), newKey(t)
	w.machine.WriteFile("/etc/ssh/ca.pub", ca.Line+"\n", 0o644)
	cert := withCertificate(t, key.Signer, ca.Signer, nil)
	for _, test := range []struct{ line, want string }{
		{`cert-authority,command="echo line" ` + ca.Line, "line\n"},
		{`cert-authority,from="10.0.0.1" ` + ca.Line, in},
	} {
		w.machine.AuthorizedKeys("alice", test.line)
		w.agreeOn(t, cert, test.want)
	}
}

func TestAuthorizedPrincipalsFileMeansWhatItMeansToSshd(t *testing.T) {
	w := newTwins(t, "TrustedUserCAKeys /etc/ssh/ca.pub\nAuthorizedPrincipalsFile /etc/ssh/principals/%u\n")
	key, ca := newKey(t), newKey(t)
	w.machine.WriteFile("/etc/ssh/ca.pub", ca.Line+"\n", 0o644)
	ops := withCertificate(t, key.Signer, ca.Signer, naming("ops"))
	for _, test := range []struct{ name, text, want string }{
		{"named", "dev\nops\n", in},
		{"not named", "dev\nalice\n", refused},
		{"empty", "", refused},
		{"blanks and a comment", " \t ops  # operators\n", in},
		{"in a comment", "# ops\n", refused},
		{"no newline", "ops", in},
		{"carriage return", "ops\r\n", refused},
		{"in capitals", "OPS\n", refused},
		{"forced", `command="echo a b" ops` + "\n", "a b\n"},
		{"from here", `from="127.0.0.0/8" ops` + "\n", in},
		{"from elsewhere", `from="10.0.0.0/8" ops` + "\n", refused},
		{"from elsewhere, then from here", "from=\"10.0.0.0/8\" ops\nops\n", refused},
		{"expired", `expiry-time="20200101" ops` + "\n", refused},
		{"an option that is not known, then none", "no-such-option ops\nops\n", in},
		{"an option that is not known", "no-such-option ops\n", refused},
		{"an authority's", "cert-authority ops\n", refused},
		{"a # in an option", `command="echo #" ops` + "\n", refused},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.machine.WriteFile("/etc/ssh/principals/alice", test.text, 0o644)
			w.agreeOn(t, ops, test.want)
		})
	}
	t.Run("writable by all", func(t *testing.T) {
		w.machine.WriteFile("/etc/ssh/principals/alice", "ops\n", 0o666)
		w.agreeOn(t, ops, refused)
	})
	t.Run("nobody named by the certificate", func(t *testing.T) {
		w.machine.WriteFile("/etc/ssh/principals/alice", "ops\nalice\n", 0o644)
		w.agreeOn(t, withCertificate(t, key.Signer, ca.Signer, naming()), refused)
	})
	t.Run("missing", func(t *testing.T) {
		w.machine.Run(t, "rm", "/etc/ssh/principals/alice")
		w.agreeOn(t, ops, refused)
		w.agreeOn(t, withCertificate(t, key.Signer, ca.Signer, nil), refused)
	})
}

func TestAlgorithmsOfCertificatesAreAcceptedAsBySshd(t *testing.T) {
	keys := map[string]testmachine.Key{}
	for _, kind := range []string{"ed25519", "ecdsa-256", "rsa-1024", "rsa-2048"} {
		keys[kind] = testmachine.NewKey(t, kind)
	}
	w := newTwins(t, "")
	w.machine.WriteFile("/etc/ssh/ca.pub", keys["ed25519"].Line+"\n"+keys["rsa-2048"].Line+"\n", 0o644)
	w.machine.WriteFile("/etc/ssh/broken.pub", "garbage\n"+keys["ed25519"].Line+"\n", 0o644)
	w.machine.WriteFile("/etc/ssh/options.pub", "cert-authority "+keys["ed25519"].Line+"\n", 0o644)
	for _, test := range []struct{ config, key, ca, want string }{
		{"", "ecdsa-256", "ed25519", in},
		{"", "rsa-2048", "ed25519", in},
		{"", "ed25519", "rsa-2048", in},
		{"RequiredRSASize 2048", "rsa-1024", "ed25519", refused},
		{"PubkeyAcceptedAlgorithms ssh-ed25519", "ed25519", "rsa-2048", refused},
		{"PubkeyAcceptedAlgorithms *-cert-v01@openssh.com", "ed25519", "rsa-2048", in},
		{"PubkeyAcceptedAlgorithms -ssh-ed25519*", "ed25519", "rsa-2048", refused},
		{"CASignatureAlgorithms ssh-ed25519", "ed25519", "rsa-2048", refused},
		{"CASignatureAlgorithms ssh-ed25519", "rsa-2048", "ed25519", in},
		{"CASignatureAlgorithms -rsa-sha2-512", "ed25519", "rsa-2048", in},
		{"CASignatureAlgorithms -rsa-sha2-*", "ed25519", "rsa-2048", refused},
		{"TrustedUserCAKeys /etc/ssh/missing.pub", "ed25519", "ed25519", refused},
		{"TrustedUserCAKeys /etc/ssh/broken.pub", "ecdsa-256", "ed25519", refused},
		{"TrustedUserCAKeys /etc/ssh/options.pub", "ecdsa-256", "ed25519", refused},
		{"TrustedUserCAKeys none", "ecdsa-256", "ed25519", refused},
		{"PermitRootLogin no\nMatch User bob\nTrustedUserCAKeys none", "ecdsa-256", "ed25519", in},
		{"Match User alice\nTrustedUserCAKeys none", "ecdsa-256", "ed25519", refused},
	} {
		t.Run(test.config+" "+test.key+" "+test.ca, func(t *testing.T) {
			config := test.config + "\n"
			if !strings.HasPrefix(config, "TrustedUserCAKeys") {
				config = "TrustedUserCAKeys /etc/ssh/ca.pub\n" + config
			}
			w.reconfigure(t, config)
			w.agreeOn(t, withCertificate(t, keys[test.key].Signer, keys[test.ca].Signer, nil), test.want)
		})
	}
}

// A terminal is asked for, since it is what a certificate's extensions most often decide about.
func TestExtensionsGrantWhatTheyGrantAtSshd(t *testing.T) {
	w := newTwins(t, "TrustedUserCAKeys /etc/ssh/ca.pub\n")
	key, ca, other := newKey(t), newKey(t), newKey(t)
	w.machine.WriteFile("/etc/ssh/ca.pub", ca.Line+"\n", 0o644)
	w.machine.AuthorizedKeys("alice", "cert-authority,no-pty "+other.Line)
	none := func(c *ssh.Certificate) { c.Extensions = nil }
	for _, test := range []struct {
		name   string
		signer ssh.Signer
		want   string
	}{
		{"granted", withCertificate(t, key.Signer, ca.Signer, nil), "terminal"},
		{"not granted", withCertificate(t, key.Signer, ca.Signer, none), "no terminal"},
		{"granted by the certificate, not by the line", withCertificate(t, key.Signer, other.Signer, nil), "no terminal"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := w.agree(t, func(t *testing.T, at twin) string { return at.asksForTerminal(t, test.signer) })
			if got != test.want {
				t.Errorf("both: %q, want %q", got, test.want)
			}
		})
	}
}

func (at twin) asksForTerminal(t *testing.T, key ssh.Signer) string {
	t.Helper()
	client, err := at.login(ssh.PublicKeys(key))
	if err != nil {
		t.Fatalf("%s: %v", at.name, err)
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		t.Fatalf("%s: %v", at.name, err)
	}
	defer session.Close()
	if session.RequestPty("xterm", 24, 80, nil) != nil {
		return "no terminal"
	}
	return "terminal"
}
