package keypair_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
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
	"github.com/latchkey-ssh/latchkey/keypair"
)

// importDay is when the keys of these tests are imported.
var importDay = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// importable are lines "type base64" of every plain type.
func importable(t testing.TB) map[string]string {
	t.Helper()
	lines := map[string]string{}
	for _, kind := range []string{"ed25519", "rsa-2048", "ecdsa-256", "ecdsa-384", "ecdsa-521", "dss"} {
		key := testmachine.NewKey(t, kind).Signer.PublicKey()
		lines[kind] = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
		blob := key.Marshal()
		switch kind {
		case "ed25519":
			lines["sk-ed25519"] = line(ssh.KeyAlgoSKED25519, string(blob[len(blob)-32:]), "ssh:")
		case "ecdsa-256":
			lines["sk-ecdsa"] = line(ssh.KeyAlgoSKECDSA256, "nistp256", string(blob[len(blob)-65:]), "ssh:")
		}
	}
	return lines
}

// line is a key of these fields.
func line(keyType string, fields ...string) string {
	blob := framed(keyType)
	for _, field := range fields {
		blob = append(blob, framed(field)...)
	}
	return keyType + " " + base64.StdEncoding.EncodeToString(blob)
}

func framed(s string) []byte { return ssh.Marshal(struct{ S string }{s}) }

// certified is a certificate over a key of this line, changed by edit.
func certified(t testing.TB, line string, edit func(*ssh.Certificate)) string {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	c := &ssh.Certificate{Key: key, CertType: ssh.UserCert, ValidBefore: ssh.CertTimeInfinity}
	edit(c)
	if err := c.SignCert(rand.Reader, signer); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(c)))
}

func plainCertificate(*ssh.Certificate) {}

func TestEveryTypeIsImportedAsOneCanonicalLine(t *testing.T) {
	t.Parallel()
	for kind, want := range importable(t) {
		for _, canonical := range []string{want, certified(t, want, plainCertificate)} {
			for _, given := range []string{
				canonical, canonical + "\n", canonical + "\r\n", "  " + strings.Replace(canonical, " ", " \t ", 1) + " ",
			} {
				wantImported(t, kind, given, canonical)
			}
			wantImported(t, kind, canonical+" ada  at\tdesk 密钥", canonical+" ada at desk 密钥")
		}
		_, body, _ := strings.Cut(want, " ")
		alias, _, _ := strings.Cut(strings.Replace(kind, "dss", "dsa", 1), "-")
		if alias == "rsa" || alias == "dsa" || alias == "ecdsa" {
			wantImported(t, kind, alias+" "+body, want)
		}
	}
}

func wantImported(t *testing.T, kind, given, want string) {
	t.Helper()
	key, err := keypair.ParsePublicKey(given, importDay)
	if err != nil {
		t.Errorf("%s as %.40q…: %v", kind, given, err)
		return
	}
	if diff := cmp.Diff(want, key.Line()); diff != "" {
		t.Errorf("%s (-want +got)\n%s", kind, diff)
	}
}

func TestWhatIsNotOneKeyIsNotImported(t *testing.T) {
	t.Parallel()
	keys := importable(t)
	ed := keys["ed25519"]
	_, body, _ := strings.Cut(ed, " ")
	with := func(edit func(*ssh.Certificate)) string { return certified(t, ed, edit) }
	tests := map[string]struct {
		line string
		want error
	}{
		"nothing":                {"", nil},
		"a type alone":           {"ssh-ed25519", nil},
		"a body alone":           {body, nil},
		"two lines":              {ed + "\n" + keys["rsa-2048"], nil},
		"two lines of CR":        {ed + "\r" + keys["rsa-2048"], nil},
		"options":                {`command="id" ` + ed, nil},
		"a flag":                 {"no-pty " + ed, nil},
		"cert-authority":         {"cert-authority " + ed, nil},
		"another type":           {"ssh-rsa " + body, nil},
		"alias of another":       {"rsa " + body, nil},
		"alias nobody has":       {"ed25519 " + body, nil},
		"signature algorithm":    {strings.Replace(keys["rsa-2048"], "ssh-rsa", "rsa-sha2-512", 1), nil},
		"a byte more":            {line("ssh-ed25519", strings.Repeat("k", 32), ""), nil},
		"a byte less":            {line("ssh-ed25519", strings.Repeat("k", 31)), nil},
		"not base64":             {"ssh-ed25519 " + strings.ReplaceAll(body, "A", "_"), nil},
		"small RSA":              {line("ssh-rsa", "\x03", strings.Repeat("\x11", 64)), nil},
		"even RSA modulus":       {line("ssh-rsa", "\x03", "\x40"+strings.Repeat("\x02", 255)), nil},
		"even RSA exponent":      {line("ssh-rsa", "\x02", "\x40"+strings.Repeat("\x01", 255)), nil},
		"padded RSA exponent":    {line("ssh-rsa", "\x00\x03", "\x40"+strings.Repeat("\x01", 255)), authkeys.ErrUnsound},
		"padded RSA modulus":     {line("ssh-rsa", "\x03", "\x00\x40"+strings.Repeat("\x01", 255)), authkeys.ErrUnsound},
		"no application":         {line(ssh.KeyAlgoSKED25519, strings.Repeat("k", 32), ""), authkeys.ErrUnsound},
		"application NUL":        {line(ssh.KeyAlgoSKED25519, strings.Repeat("k", 32), "\x00"), authkeys.ErrUnsound},
		"application with NUL":   {line(ssh.KeyAlgoSKED25519, strings.Repeat("k", 32), "ssh:\x00"), authkeys.ErrUnsound},
		"NUL":                    {ed + " a\x00b", nil},
		"escape":                 {ed + " \x1b[2J", nil},
		"reordered text":         {ed + " \u202e", nil},
		"not UTF-8":              {ed + " \xff", nil},
		"a megabyte":             {ed + " " + strings.Repeat("x", 1<<20), nil},
		"private key":            {"-----BEGIN OPENSSH PRIVATE KEY-----", nil},
		"expired certificate":    {with(func(c *ssh.Certificate) { c.ValidBefore = uint64(importDay.Unix()) }), authkeys.ErrCertificateExpired},
		"host certificate":       {with(func(c *ssh.Certificate) { c.CertType = ssh.HostCert }), authkeys.ErrHostCertificate},
		"unknown option":         {with(func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"x@y": ""} }), authkeys.ErrCertificateRestriction},
		"certificate of a CA":    {"cert-authority " + with(plainCertificate), nil},
		"certificate relabelled": {strings.Replace(with(plainCertificate), "v01", "v00", 1), authkeys.ErrCertificate},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := keypair.ParsePublicKey(test.line, importDay)
			if !errors.Is(err, keypair.ErrPublicKey) || test.want != nil && !errors.Is(err, test.want) {
				t.Fatalf("got %v, want ErrPublicKey and %v", err, test.want)
			}
			if strings.Contains(err.Error(), body[30:]) {
				t.Errorf("the error quotes the key: %v", err)
			}
		})
	}
}

// TestAKeyThatLetsInAnybodyIsNotImported: nor a certificate over one.
func TestAKeyThatLetsInAnybodyIsNotImported(t *testing.T) {
	t.Parallel()
	for name, weak := range testmachine.WeakKeys(t) {
		lines := []string{weak}
		if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(weak)); err == nil {
			lines = append(lines, certified(t, weak, plainCertificate))
		}
		for _, given := range lines {
			if _, err := keypair.ParsePublicKey(given, importDay); !errors.Is(err, keypair.ErrPublicKey) || !errors.Is(err, authkeys.ErrUnsound) {
				t.Errorf("%s as %.30q…: got %v, want ErrPublicKey and ErrUnsound", name, given, err)
			}
		}
	}
}

func TestACertificateThatBeginsLaterIsImported(t *testing.T) {
	t.Parallel()
	line := certified(t, importable(t)["ed25519"], func(c *ssh.Certificate) { c.ValidAfter = uint64(importDay.Unix() + 60) })
	wantImported(t, "ed25519", line, line)
}

func TestFingerprintsAreThoseOfSSHKeygen(t *testing.T) {
	t.Parallel()
	keygen := testmachine.RequireProgram(t, "ssh-keygen")
	for kind, plain := range importable(t) {
		for name, text := range map[string]string{kind: plain, kind + "-cert": certified(t, plain, plainCertificate)} {
			key, err := keypair.ParsePublicKey(text, importDay)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), name+".pub")
			if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			for hash, want := range map[string]string{"md5": "MD5:" + key.MD5(), "sha256": key.SHA256()} {
				out, err := exec.Command(keygen, "-l", "-E", hash, "-f", file).CombinedOutput()
				if err != nil || !strings.Contains(string(out), " "+want+" ") {
					t.Errorf("%s: ssh-keygen says %q (%v), want %s", name, out, err, want)
				}
			}
		}
	}
}

func FuzzParsePublicKey(f *testing.F) {
	for _, text := range importable(f) {
		f.Add(text + " comment")
		f.Add(certified(f, text, plainCertificate))
	}
	f.Add(`no-pty ssh-ed25519 AAAA`)
	f.Fuzz(func(t *testing.T, text string) {
		key, err := keypair.ParsePublicKey(text, importDay)
		if err != nil {
			return
		}
		again, err := keypair.ParsePublicKey(key.Line(), importDay)
		if err != nil {
			t.Fatalf("%q was taken, %q is not: %v", text, key.Line(), err)
		}
		if diff := cmp.Diff(key, again); diff != "" {
			t.Errorf("(-first +again)\n%s", diff)
		}
		if authkeys.IsCertificate(key.Type) {
			return
		}
		entry, err := authkeys.ParseKey(key.Line())
		if err != nil {
			t.Fatalf("%q: sshd does not take it: %v", key.Line(), err)
		}
		if diff := cmp.Diff(keypair.PublicKey{Type: entry.Type, Blob: entry.Blob, Comment: entry.Comment}, key); diff != "" {
			t.Errorf("sshd reads another key (-sshd +import)\n%s", diff)
		}
	})
}
