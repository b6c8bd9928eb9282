package target

import (
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestAUserCALetsInWhomItsCertificatesName(t *testing.T) {
	key, ca := newKey(t), newKey(t)
	f := serve(t, nil, WithUserCA(newKey(t).Signer.PublicKey(), ca.Signer.PublicKey()),
		WithUser(User{Name: "alice"}), WithUser(User{Name: "deploy", Principals: []string{"ops", "alice"}}))
	for _, test := range []struct {
		user       string
		principals []string
		want       bool
	}{
		{"alice", []string{"alice"}, true},
		{"alice", []string{"ops"}, false},
		{"alice", nil, false},
		{"deploy", []string{"dev", "ops"}, true},
		{"deploy", []string{"alice"}, true},
		{"deploy", []string{"deploy"}, false},
		{"mallory", []string{"mallory"}, false},
	} {
		t.Run(test.user+" "+strings.Join(test.principals, ","), func(t *testing.T) {
			cert := withCertificate(t, key.Signer, ca.Signer, naming(test.principals...))
			if got := f.admits(t, test.user, ssh.PublicKeys(cert)); got != test.want {
				t.Errorf("logged in: %v: %s", got, f.reasons())
			}
		})
	}
	forged := withCertificate(t, key.Signer, newKey(t).Signer, nil)
	if f.admits(t, "alice", ssh.PublicKeys(forged)) || !strings.Contains(f.reasons(), errAuthority.Error()) {
		t.Errorf("another authority: %s", f.reasons())
	}
}

func TestWithoutUsersACAServesAnybodyByName(t *testing.T) {
	key, ca := newKey(t), newKey(t)
	f := serve(t, nil, WithUserCA(ca.Signer.PublicKey()))
	cert := withCertificate(t, key.Signer, ca.Signer, nil)
	if !f.admits(t, "alice", ssh.PublicKeys(cert)) || f.admits(t, "bob", ssh.PublicKeys(cert)) {
		t.Error(f.reasons())
	}
}

func TestTheLogNamesTheCertificateAndItsKey(t *testing.T) {
	key, ca := newKey(t), newKey(t)
	f := serve(t, nil, WithUserCA(ca.Signer.PublicKey()))
	if !f.admits(t, "alice", ssh.PublicKeys(withCertificate(t, key.Signer, ca.Signer, nil))) {
		t.Fatal(f.reasons())
	}
	for _, e := range f.attempts {
		if e.Certificate != "alice's laptop" || e.Fingerprint != ssh.FingerprintSHA256(key.Signer.PublicKey()) {
			t.Errorf("event %s", e)
		}
	}
}

func TestAKeyAndItsCertificateAreOneStep(t *testing.T) {
	key, ca := newKey(t), newKey(t)
	f := serve(t, nil, WithUserCA(ca.Signer.PublicKey()),
		WithUser(User{Name: "alice", AuthorizedKeys: key.Line, Methods: "publickey,publickey"}))
	cert := withCertificate(t, key.Signer, ca.Signer, nil)
	if admitsInOrder(f, "alice", []ssh.AuthMethod{ssh.PublicKeys(key.Signer), ssh.PublicKeys(cert)}) {
		t.Error("one key was taken for two")
	}
	if !strings.Contains(f.reasons(), "used for an earlier step") {
		t.Error(f.reasons())
	}
}

func TestForcedCommandsOnlyIsMetByACertificatesCommand(t *testing.T) {
	key, ca := newKey(t), newKey(t)
	f := serve(t, accounts(map[string]string{
		configFile:        "PermitRootLogin forced-commands-only\nTrustedUserCAKeys /etc/ssh/ca.pub\n",
		"/etc/ssh/ca.pub": ca.Line,
	}), configured()...)
	plain := withCertificate(t, key.Signer, ca.Signer, naming("root"))
	forced := withCertificate(t, key.Signer, ca.Signer, func(c *ssh.Certificate) {
		c.ValidPrincipals, c.CriticalOptions = []string{"root"}, map[string]string{"force-command": "id"}
	})
	if f.admits(t, "root", ssh.PublicKeys(plain)) || !f.admits(t, "root", ssh.PublicKeys(forced)) {
		t.Error(f.reasons())
	}
}

// A name that only a command could give is nobody's: not even the user's own.
func TestAuthorizedPrincipalsCommandLetsNobodyInByName(t *testing.T) {
	key, ca := newKey(t), newKey(t)
	f := serve(t, accounts(map[string]string{
		configFile:        "TrustedUserCAKeys /etc/ssh/ca.pub\nAuthorizedPrincipalsCommand /bin/echo alice\nAuthorizedPrincipalsCommandUser nobody\n",
		"/etc/ssh/ca.pub": ca.Line,
	}), WithSSHDConfig(configFile))
	if f.admits(t, "alice", ssh.PublicKeys(withCertificate(t, key.Signer, ca.Signer, nil))) {
		t.Error("logged in")
	}
	if !strings.Contains(f.reasons(), errPrincipalsCommand.Error()) {
		t.Error(f.reasons())
	}
}

func TestABinaryRevocationListRefusesAllAndIsNoConfiguration(t *testing.T) {
	key := newKey(t)
	files := accounts(map[string]string{
		configFile: "RevokedKeys /etc/ssh/revoked\n", "/etc/ssh/revoked": "",
		"/home/alice/.ssh/authorized_keys": key.Line,
	})
	f := serve(t, files, WithSSHDConfig(configFile))
	if !f.admits(t, "alice", ssh.PublicKeys(key.Signer)) {
		t.Fatal(f.reasons())
	}
	f.write(t, "/etc/ssh/revoked", "SSHKRL\n\x00 and so on")
	if f.admits(t, "alice", ssh.PublicKeys(key.Signer)) {
		t.Error("logged in with a list that cannot be read")
	}
	if err := f.Reload(); err == nil || !strings.Contains(err.Error(), configFile+":1: ") {
		t.Errorf("Reload: %v", err)
	}
}
