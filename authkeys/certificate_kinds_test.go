package authkeys_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// legacyCertificate is a certificate in the format of OpenSSH 5.4 to 6.9.
func legacyCertificate(t testing.TB, key ssh.Signer, constraints map[string]string, principals ...string) string {
	t.Helper()
	sign := key.(ssh.AlgorithmSigner)
	plain := key.PublicKey().Marshal()
	nameSize := 4 + int(binary.BigEndian.Uint32(plain))
	label := key.PublicKey().Type() + "-cert-v00@openssh.com"
	blob := append(wireString(label), plain[nameSize:]...)
	blob = binary.BigEndian.AppendUint32(blob, ssh.UserCert)
	blob = append(blob, wireString("id")...)
	var names, options string
	for _, name := range principals {
		names += string(wireString(name))
	}
	blob = append(blob, wireString(names)...)
	blob = binary.BigEndian.AppendUint64(blob, 0)
	blob = binary.BigEndian.AppendUint64(blob, uint64(certNow.Add(time.Hour).Unix()))
	for name, value := range constraints {
		if value != "" {
			value = string(wireString(value))
		}
		options += string(wireString(name)) + string(wireString(value))
	}
	blob = append(blob, wireString(options)...)
	blob = append(blob, wireString("nonce")...)
	blob = append(blob, wireString("")...)
	blob = append(blob, wireString(string(plain))...) // it signs itself
	signature, err := sign.SignWithAlgorithm(rand.Reader, blob, key.PublicKey().Type())
	must(t, err)
	blob = append(blob, wireString(string(ssh.Marshal(signature)))...)
	return label + " " + base64.StdEncoding.EncodeToString(blob)
}

func wireString(s string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
}

func legacyKeys(t testing.TB) map[string]ssh.Signer {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	must(t, err)
	return map[string]ssh.Signer{"rsa": signer, "dss": testmachine.NewKey(t, "dss").Signer}
}

func TestTheLegacyFormatHasAllItsBoundsInOneList(t *testing.T) {
	t.Parallel()
	for name, key := range legacyKeys(t) {
		t.Run(name, func(t *testing.T) {
			line := legacyCertificate(t, key, map[string]string{"permit-pty": "", "force-command": "id", "source-address": "10.0.0.1"}, "root")
			got, err := parseCertificate(t, line).AuthorizedKey("root", certNow, time.UTC)
			must(t, err)
			plain := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))
			want := `restrict,pty,expiry-time="20260701125959",from="10.0.0.1",command="id" ` + plain
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			unknown := parseCertificate(t, legacyCertificate(t, key, map[string]string{"no-touch": ""}))
			if _, err := unknown.AuthorizedKey("root", certNow, time.UTC); !errors.Is(err, authkeys.ErrCertificateRestriction) {
				t.Errorf("an unknown constraint: %v", err)
			}
			spoilt := line[:len(line)-8] + "AAAA" + line[len(line)-4:]
			if _, err := authkeys.ParseCertificate(spoilt); err == nil {
				t.Error("a legacy certificate with another signature was taken")
			}
		})
	}
}

// ssh-keygen is the one whose certificates people have.
func TestCertificatesOfSSHKeygenAreReadAsItShowsThem(t *testing.T) {
	t.Parallel()
	keygen := testmachine.RequireProgram(t, "ssh-keygen")
	dir := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(keygen, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "TZ=UTC")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("ssh-keygen %s: %v\n%s", args, err, out)
		}
		return string(out)
	}
	run("-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", "ca")
	keys := publicKeys(t)
	for name, line := range keys {
		must(t, os.WriteFile(filepath.Join(dir, name+".pub"), []byte(line+"\n"), 0o600))
		run("-q", "-s", "ca", "-I", "key of ada", "-n", "ada,root", "-V", "20260101:20270101", "-z", "7",
			"-O", "force-command=id", "-O", "source-address=10.0.0.0/8", "-O", "no-pty", name+".pub")
		text, err := os.ReadFile(filepath.Join(dir, name+"-cert.pub"))
		must(t, err)
		c := parseCertificate(t, string(text))
		shown := run("-L", "-f", name+"-cert.pub")
		for _, want := range []string{
			"Type: " + c.Type + " user", c.Fingerprint(), c.Authority, `Key ID: "` + c.KeyID + `"`, "Serial: 7",
			"to " + c.ValidBefore.Format("2006-01-02T15:04:05"),
		} {
			if !strings.Contains(shown, want) {
				t.Errorf("%s: ssh-keygen does not show %q:\n%s", name, want, shown)
			}
		}
		got, err := c.AuthorizedKey("ada", certNow, time.UTC)
		must(t, err)
		want := `restrict,X11-forwarding,agent-forwarding,port-forwarding,user-rc,expiry-time="20261231235959",from="10.0.0.0/8",command="id" ` + line + " " + name + ".pub"
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

// publicKeys are lines of every plain type that a certificate may be about and
// ssh-keygen still signs.
func publicKeys(t *testing.T) map[string]string {
	t.Helper()
	keys := map[string]string{}
	for _, kind := range []string{"ed25519", "rsa-2048", "ecdsa-256", "ecdsa-384", "ecdsa-521"} {
		key := testmachine.NewKey(t, kind)
		keys[kind] = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.Signer.PublicKey())))
		switch blob := key.Signer.PublicKey().Marshal(); kind {
		case "ed25519":
			keys["sk-ed25519"] = wireLine(ssh.KeyAlgoSKED25519, string(blob[len(blob)-32:]), "ssh:")
		case "ecdsa-256":
			keys["sk-ecdsa"] = wireLine(ssh.KeyAlgoSKECDSA256, "nistp256", string(blob[len(blob)-65:]), "ssh:")
		}
	}
	return keys
}

func wireLine(label string, fields ...string) string {
	blob := wireString(label)
	for _, field := range fields {
		blob = append(blob, wireString(field)...)
	}
	return label + " " + base64.StdEncoding.EncodeToString(blob)
}
