package target

import (
	"crypto/rand"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// in is the outcome of "echo in" where it may be run.
const (
	in      = "in\n"
	refused = "refused"
)

// agreeOn has both run "echo in" with the key, and tells whether the outcome is the one wanted.
func (w *twins) agreeOn(t *testing.T, key ssh.Signer, want string) {
	t.Helper()
	if got := w.agree(t, func(t *testing.T, at twin) string { return at.run(t, key, "echo in") }); got != want {
		t.Errorf("both: %q, want %q", got, want)
	}
}

func TestALineOfAuthorizedKeysMeansWhatItMeansToSshd(t *testing.T) {
	w := newTwins(t, "")
	key, other := newKey(t), newKey(t)
	upper := "SSH-ED25519 " + strings.SplitN(key.Line, " ", 2)[1]
	for _, test := range []struct{ name, text, want string }{
		{"plain", "KEY", in},
		{"no newline", "KEY-", in},
		{"another key", "OTHER", refused},
		{"from an address", `from="127.0.0.1" KEY`, in},
		{"from another address", `from="10.0.0.1" KEY`, refused},
		{"from a network", `from="10.0.0.0/8,127.0.0.0/8" KEY`, in},
		{"from another network", `from="10.0.0.0/8" KEY`, refused},
		{"from a wildcard", `from="127.*" KEY`, in},
		{"from all but this one", `from="*,!127.0.0.1" KEY`, refused},
		{"from all but this network", `from="!127.0.0.0/8,*" KEY`, refused},
		{"from all but another", `from="!10.0.0.1,*" KEY`, in},
		{"from nothing but a negation", `from="!10.0.0.1" KEY`, refused},
		{"from a network with host bits", `from="127.0.0.1/8" KEY`, refused},
		{"from a broken network after a match", `from="127.0.0.1,10.0.0.1/8" KEY`, refused},
		{"from with a blank", `from="10.0.0.1, 127.0.0.1" KEY`, refused},
		{"from nobody", `from="" KEY`, refused},
		{"from a name", `from="localhost" KEY`, refused},
		{"from twice", `from="127.0.0.1",from="127.0.0.1" KEY`, refused},
		{"expires later", `expiry-time="20991231" KEY`, in},
		{"expires on a day that is not", `expiry-time="20990231" KEY`, in},
		{"expired", `expiry-time="20200101" KEY`, refused},
		{"expired to the second, in UTC", `expiry-time="20200101120000Z" KEY`, refused},
		{"expires at no time", `expiry-time="tomorrow" KEY`, refused},
		{"expires in month 13", `expiry-time="20991301" KEY`, refused},
		{"expires twice", `expiry-time="20991231",expiry-time="20200101" KEY`, refused},
		{"principals without an authority", `principals="alice" KEY`, refused},
		{"an authority", `cert-authority KEY`, refused},
		{"restricted", `restrict KEY`, in},
		{"forced", `command="echo forced" KEY`, "forced\n"},
		{"forced twice", `command="echo forced",command="echo forced" KEY`, refused},
		{"quotes in a command", `command="echo \"a  b\"" KEY`, "a  b\n"},
		{"a verified user, of no security key", `verify-required KEY`, in},
		{"untouched", `no-touch-required KEY`, in},
		{"unknown option", `no-such-option KEY`, refused},
		{"no- where there is none", `no-restrict KEY`, refused},
		{"a flag with a value", `no-pty=yes KEY`, refused},
		{"commas too many", `,no-pty,,no-user-rc, KEY`, in},
		{"names in capitals", `NO-PTY,From="127.0.0.1" KEY`, in},
		{"value without quotes", `from=127.0.0.1 KEY`, refused},
		{"open quote", `from="127.0.0.1 KEY`, refused},
		{"type in capitals", upper, refused},
		{"blanks before", " \t KEY", in},
		{"in a comment", "# KEY", refused},
		{"carriage returns", "OTHER\r\nKEY\r", in},
		{"garbage around", "garbage\n\x00\nssh-ed25519 AAAA\nKEY\n\xff\xfe", in},
		{"the first line expired", "expiry-time=\"20200101\" KEY\ncommand=\"echo second\" KEY", "second\n"},
		{"the first line for others", "from=\"10.0.0.1\" KEY\nKEY", in},
		{"the first line broken", "no-such-option KEY\nKEY", in},
		{"two lines that accept", "command=\"echo first\" KEY\nKEY", "first\n"},
		{"two commands", "KEY\ncommand=\"echo second\" KEY", in},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.NewReplacer("KEY-", strings.TrimRight(key.Line, "\n"), "KEY", key.Line, "OTHER", other.Line).Replace(test.text)
			w.machine.AuthorizedKeys("alice", text)
			if test.name == "no newline" {
				w.machine.WriteFile("/home/alice/.ssh/authorized_keys", text, 0o600)
				w.machine.Run(t, "chown", "alice:", "/home/alice/.ssh/authorized_keys")
			}
			w.agreeOn(t, key.Signer, test.want)
		})
	}
}

func TestStrictModesAreThoseOfSshd(t *testing.T) {
	w := newTwins(t, "")
	key := newKey(t)
	const keys = "/home/alice/.ssh/authorized_keys"
	for _, test := range []struct{ name, script, want string }{
		{"sound", "true", in},
		{"file readable by all", "chmod 644 " + keys, in},
		{"file writable by all", "chmod 666 " + keys, refused},
		{"file writable by another group", "chgrp daemon " + keys + "; chmod 660 " + keys, refused},
		{"file of another owner", "chmod 644 " + keys + "; chown daemon " + keys, refused},
		{"file of root", "chmod 644 " + keys + "; chown root " + keys, in},
		{"folder writable by all", "chmod 777 /home/alice/.ssh", refused},
		{"folder of another owner", "chmod 755 /home/alice/.ssh; chown daemon /home/alice/.ssh", refused},
		{"home writable by all", "chmod 777 /home/alice", refused},
		{"home of another owner", "chown daemon /home/alice", refused},
		{"above the home", "chmod 777 /home", in},
		{"link", "mv " + keys + " /home/alice/k; ln -s ../k " + keys, in},
		{"link out of the home", "mv " + keys + " /srv/k; ln -s /srv/k " + keys, in},
		{"link to where all write", "mkdir -m 777 /srv/open; mv " + keys + " /srv/open/k; ln -s /srv/open/k " + keys, refused},
		{"missing", "rm " + keys, refused},
		{"folder in its place", "rm " + keys + "; mkdir " + keys, refused},
		{"FIFO in its place", "rm " + keys + "; mkfifo -m 600 " + keys + "; chown alice " + keys, refused},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.machine.Run(t, "sh", "-c", "rm -rf /home/alice/.ssh /srv/k /srv/open; chown alice: /home/alice; chmod 755 /home/alice /home")
			w.machine.AuthorizedKeys("alice", key.Line)
			w.machine.Run(t, "sh", "-c", test.script)
			if test.name == "link out of the home" || test.name == "link to where all write" {
				absoluteInMachine(t, w, keys)
			}
			w.agreeOn(t, key.Signer, test.want)
		})
	}
}

// absoluteInMachine makes an absolute link mean the same in the machine and to who sees its files from outside.
func absoluteInMachine(t *testing.T, w *twins, link string) {
	t.Helper()
	target, err := os.Readlink(w.machine.Path(link))
	if err != nil {
		t.Fatal(err)
	}
	w.machine.Run(t, "ln", "-sfn", "../../.."+target, link)
}

func TestAuthorizedKeysFileIsExpandedAsBySshd(t *testing.T) {
	w := newTwins(t, "")
	key := newKey(t)
	w.machine.AuthorizedKeys("alice", "")
	uid := strings.TrimSpace(w.machine.Run(t, "id", "-u", "alice"))
	for _, test := range []struct{ pattern, file, want string }{
		{"/etc/ssh/keys/%u", "/etc/ssh/keys/alice", in},
		{"/etc/ssh/more/%u", "/etc/ssh/more/bob", refused},
		{"/etc/ssh/keys/%U-%%", "/etc/ssh/keys/" + uid + "-%", in},
		{"%h/.keys", "/home/alice/.keys", in},
		{".keys2", "/home/alice/.keys2", in},
		{".no .keys3", "/home/alice/.keys3", in},
		{"none", "/home/alice/none", refused},
		{"none .keys4", "/home/alice/.keys4", in},
	} {
		t.Run(test.pattern, func(t *testing.T) {
			w.reconfigure(t, "AuthorizedKeysFile "+test.pattern+"\n")
			w.machine.WriteFile(test.file, key.Line+"\n", 0o644)
			w.agreeOn(t, key.Signer, test.want)
		})
	}
}

func TestKeyTypesAndSizesAreAcceptedAsBySshd(t *testing.T) {
	w := newTwins(t, "")
	keys := map[string]testmachine.Key{}
	for _, kind := range []string{"ed25519", "ecdsa-256", "rsa-1024", "rsa-2048"} {
		keys[kind] = testmachine.NewKey(t, kind)
	}
	for _, test := range []struct{ config, admitted string }{
		{"", "ed25519 ecdsa-256 rsa-1024 rsa-2048"},
		{"RequiredRSASize 2048", "ed25519 ecdsa-256 rsa-2048"},
		{"PubkeyAcceptedAlgorithms ssh-ed25519,rsa-*", "ed25519 rsa-1024 rsa-2048"},
		{"PubkeyAcceptedAlgorithms -ecdsa-*256,ssh-ed25519", "rsa-1024 rsa-2048"},
		{"PubkeyAcceptedAlgorithms ^ecdsa-sha2-nistp256", "ed25519 ecdsa-256 rsa-1024 rsa-2048"},
		{"PubkeyAcceptedAlgorithms ssh-ed25519-cert-v01@openssh.com", ""},
		{"PubkeyAuthentication no", ""},
		{"Match User alice\nPubkeyAcceptedAlgorithms ecdsa-*", "ecdsa-256"},
		{"PubkeyAcceptedAlgorithms ecdsa-*\nMatch User alice\nPubkeyAcceptedAlgorithms ssh-ed25519", "ed25519"},
	} {
		t.Run(test.config, func(t *testing.T) {
			w.reconfigure(t, test.config+"\n")
			var lines []string
			for _, key := range keys {
				lines = append(lines, key.Line)
			}
			w.machine.AuthorizedKeys("alice", lines...)
			for kind, key := range keys {
				t.Run(kind, func(t *testing.T) {
					want := refused
					if strings.Contains(test.admitted+" ", kind+" ") {
						want = in
					}
					w.agreeOn(t, key.Signer, want)
				})
			}
		})
	}
}

func TestRevokedKeysAreRefusedAsBySshd(t *testing.T) {
	key, ca := newKey(t), newKey(t)
	w := newTwins(t, "RevokedKeys /etc/ssh/revoked\nTrustedUserCAKeys /etc/ssh/ca.pub\n")
	w.machine.WriteFile("/etc/ssh/ca.pub", ca.Line+"\n", 0o644)
	w.machine.AuthorizedKeys("alice", key.Line)
	cert := withCertificate(t, key.Signer, ca.Signer, nil)
	for _, test := range []struct{ name, list, plain, certified string }{
		{"nobody", "", in, in},
		{"others", newKey(t).Line + "\n", in, in},
		{"the key", "# lost\n" + key.Line + "\n", refused, refused},
		{"the authority", ca.Line + "\n", in, refused},
		{"the certificate", string(ssh.MarshalAuthorizedKey(cert.PublicKey())), refused, refused},
		{"a line that is no key", newKey(t).Line + "\ngarbage\n", refused, refused},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.machine.WriteFile("/etc/ssh/revoked", test.list, 0o644)
			w.agreeOn(t, key.Signer, test.plain)
			w.agreeOn(t, cert, test.certified)
		})
	}
	w.machine.Run(t, "rm", "/etc/ssh/revoked")
	w.agreeOn(t, key.Signer, refused)
}

// withCertificate makes a certificate for alice, valid for an hour; change may make it another one. It signs with the key.
func withCertificate(t *testing.T, key, ca ssh.Signer, change func(*ssh.Certificate)) ssh.Signer {
	t.Helper()
	now := uint64(time.Now().Unix())
	cert := &ssh.Certificate{
		Key: key.PublicKey(), CertType: ssh.UserCert, KeyId: "alice's laptop", ValidPrincipals: []string{"alice"},
		ValidAfter: now - 3600, ValidBefore: now + 3600,
		Permissions: ssh.Permissions{Extensions: map[string]string{"permit-pty": ""}},
	}
	if change != nil {
		change(cert)
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}
