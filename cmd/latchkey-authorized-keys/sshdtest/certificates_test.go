package sshdtest

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// certified is the row's key with a certificate of the row's authority, for both users
// and an hour; change makes it another one.
func certified(change func(*ssh.Certificate)) offer {
	return func(t *testing.T, c cast) ssh.Signer {
		t.Helper()
		now := uint64(time.Now().Unix())
		cert := &ssh.Certificate{
			Key: c.key.Signer.PublicKey(), CertType: ssh.UserCert, KeyId: "a laptop", ValidPrincipals: []string{byFile, byProgram},
			ValidAfter: now - 3600, ValidBefore: now + 3600,
			Permissions: ssh.Permissions{Extensions: map[string]string{
				"permit-pty": "", "permit-user-rc": "", "permit-X11-forwarding": "", "permit-agent-forwarding": "", "permit-port-forwarding": "",
			}},
		}
		change(cert)
		if err := cert.SignCert(rand.Reader, c.ca.Signer); err != nil {
			t.Fatal(err)
		}
		signer, err := ssh.NewCertSigner(cert, c.key.Signer)
		if err != nil {
			t.Fatal(err)
		}
		return signer
	}
}

func sound(*ssh.Certificate) {}

func TestAuthoritiesMeanFromTheIndexWhatTheyMeanFromAFile(t *testing.T) {
	t.Parallel()
	meansTheSame(t, "ed25519", certified(sound), []row{
		{"an authority", "cert-authority CA", in},
		{"restricted", "cert-authority,restrict CA", bare},
		{"option before the name", `no-pty,cert-authority CA`, "in -pty"},
		{"in capitals", "CERT-Authority CA", in},
		{"forced", `cert-authority,command="echo forced" CA`, "forced"},
		{"from elsewhere", `cert-authority,from="10.0.0.1" CA`, refused},
		{"expired", `cert-authority,expiry-time="20200101" CA`, refused},
		{"named by the line", `cert-authority,principals="carol,alice,bob" CA`, in},
		{"named by the line, not the user", `cert-authority,principals="carol" CA`, refused},
		{"named by the line, with a blank", `cert-authority,principals="carol, bob, alice" CA`, refused},
		{"nobody named by the line", `cert-authority,principals="" CA`, refused},
		{"principals twice", `cert-authority,principals="alice,bob",principals="alice,bob" CA`, refused},
		{"no authority", "CA", refused},
		{"another authority", "cert-authority OTHER", refused},
		{"the key itself, without the certificate", "KEY", refused},
		{"the key itself, as an authority", "cert-authority KEY", refused},
		{"the first refuses", "cert-authority,principals=\"carol\" CA\ncert-authority,no-pty CA", "in -pty"},
		{"two that accept", "cert-authority,command=\"echo first\" CA\ncert-authority CA", "first"},
		{"a line of the authority that is none, first", "CA\ncert-authority,no-pty CA", "in -pty"},
		{"unknown option", "cert-authority,no-such CA", refused},
		{"no- of it", "no-cert-authority CA", refused},
		{"carriage return", "cert-authority,no-pty CA\r", "in -pty"},
	})
}

// TestCertificatesMeanFromTheIndexWhatTheyMeanFromAFile: the type that sshd hands over is that of
// the key that is certified, which need not be the authority's.
func TestCertificatesMeanFromTheIndexWhatTheyMeanFromAFile(t *testing.T) {
	t.Parallel()
	naming := func(principals ...string) offer {
		return certified(func(c *ssh.Certificate) { c.ValidPrincipals = principals })
	}
	forced := func(c *ssh.Certificate) {
		c.CriticalOptions = map[string]string{"force-command": "echo by certificate", "source-address": "127.0.0.0/8"}
		c.Extensions = map[string]string{"permit-pty": ""}
	}
	expired := func(c *ssh.Certificate) { c.ValidBefore = c.ValidAfter + 1 }
	shownMeansTheSame(t, []shown{
		{row{"bounds", "cert-authority CA", "by certificate" + strings.TrimPrefix(nothing, " -pty")}, "ed25519", certified(forced)},
		{row{"two commands that differ", `cert-authority,command="echo by line" CA`, refused}, "ed25519", certified(forced)},
		{row{"principals of the line alone", `cert-authority,principals="dave,carol" CA`, in}, "ed25519", naming("carol")},
		{row{"nobody named", "cert-authority CA", in}, "ed25519", naming()},
		{row{"somebody else named", "cert-authority CA", refused}, "ed25519", naming("carol")},
		{row{"expired", "cert-authority CA", refused}, "ed25519", certified(expired)},
		{row{"of RSA", "no-pty,cert-authority CA", "in -pty"}, "rsa-2048", certified(sound)},
		{row{"of ECDSA", "no-pty,cert-authority CA", "in -pty"}, "ecdsa-256", certified(sound)},
		{row{"of ECDSA, 521 bits", "no-pty,cert-authority CA", "in -pty"}, "ecdsa-521", certified(sound)},
	})
}

// TestAPlainKeyIsNotLetInByAnAuthority: nor does the line keep it from its own line.
func TestAPlainKeyIsNotLetInByAnAuthority(t *testing.T) {
	t.Parallel()
	meansTheSame(t, "ed25519", plain, []row{
		{"the authority's own key", "cert-authority KEY", refused},
		{"and a line of its own", "cert-authority,command=\"echo authority\" KEY\nno-pty KEY", "in -pty"},
	})
}
