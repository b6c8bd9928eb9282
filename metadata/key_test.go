package metadata

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

// edLine and edLine2 are two ed25519 keys; their private halves are nowhere.
const (
	edLine  = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9iqyKO0p7HKHzQ6Y+UVFoG8wOE42yG4xk4XFaxCc1t ada@desk"
	edLine2 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMdyR5NdPk6mVyzQm8YtYy6n3HHPtGXNW1LQ0aYeDXYp bea@desk"
)

// dssBody is a DSA key, which takes long to make; its private half is nowhere either.
const dssBody = "AAAAB3NzaC1kc3MAAACBAKGE1nEmaAdpVkTN+GWVIM1f5xnalTSLWulILUshoL+VqIfCEAWcj9Dk8ksFZh731S8aoQahtKvzWqQlmomdkIrnJZi+AqU/cBwG" +
	"s53cQW4je3B5todsKhQvZJRADsWyICvW6kzmb9+LW0hJ9vtnx3W5xVxvz7vwbCSTf8ulNwvNAAAAFQCTzWKa4BizfFdUsp32z/EnQQfDRwAAAIA+5KCIZG2n" +
	"3qkp+vLgJ8k+GeVAFHGsQVu9M26JJUl77DS6EguT+ieq9m66zWQH9Ky18IGgoxg9zEWn6wO331nOmPC1YAqqXpklFtgiPAMZJc7W3zde3OFqoS6VrYM9dect" +
	"DJ9KkP0c1FPtGlIZzqRbnhjn8OirfaTz1hPI23cSpwAAAIEAk/XiKI0gCDzYk6CrVlWnT/yz8zhCm30u9Vo6vEt1daoX+wEDwaU4HJaDDFVNxVVvcX2dxAP+" +
	"s0OrLhbhm1pbvoBlBpRiDDxkgcvyhB6WBwRH/QMwI7H7laWzt+9UL3E3AX3sZBVcXkUVwZHVmWowhvVG3Bd0rPIV1W4pOmlsey0="

// blobs returns one well formed blob of every type whose layout is known, and of one that is not.
func blobs(t testing.TB) map[string][]byte {
	t.Helper()
	edKey, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{
		"ssh-ed25519": wireOf(t, edKey),
		"ssh-rsa":     wireOf(t, &rsaKey.PublicKey),
		"ssh-dss":     decode(t, dssBody),
	}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		blob := wireOf(t, &key.PublicKey)
		all["ecdsa-sha2-nistp"+strings.TrimPrefix(curve.Params().Name, "P-")] = blob
		if curve == elliptic.P256() {
			point := blob[len(blob)-65:]
			all[ssh.KeyAlgoSKECDSA256] = fields(ssh.KeyAlgoSKECDSA256, "nistp256", string(point), "ssh:")
		}
	}
	all[ssh.KeyAlgoSKED25519] = fields(ssh.KeyAlgoSKED25519, string(edKey), "ssh:")
	all["ssh-tomorrow@example.org"] = fields("ssh-tomorrow@example.org", "whatever", "")
	maps.Copy(all, certificates(all))
	return all
}

// certificates returns one over each of the plain keys that can have one, in each format.
func certificates(plain map[string][]byte) map[string][]byte {
	all := map[string][]byte{}
	list := string(append(fields("force-command", "id"), fields("permit-pty", "")...))
	for keyType, blob := range plain {
		key := string(blob[4+len(keyType):])
		name, _ := strings.CutSuffix(keyType, "@openssh.com")
		numbers := "\x00\x00\x00\x01" + string(fields("id", string(fields("root", "ada")))) + strings.Repeat("\x00", 16)
		v01 := name + "-cert-v01@openssh.com"
		all[v01] = []byte(string(fields(v01, "nonce")) + key + strings.Repeat("\x00", 8) + numbers + string(fields(list, "", "", "authority", "signature")))
		if v00 := name + "-cert-v00@openssh.com"; keyType == "ssh-rsa" || keyType == "ssh-dss" {
			all[v00] = []byte(string(fields(v00)) + key + numbers + string(fields(list, "nonce", "", "authority", "signature")))
		}
	}
	delete(all, "ssh-tomorrow@example.org-cert-v01@openssh.com")
	return all
}

func wireOf(t testing.TB, public any) []byte {
	t.Helper()
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return key.Marshal()
}

// fields frames strings as SSH does.
func fields(values ...string) []byte {
	var blob []byte
	for _, value := range values {
		blob = append(blob, ssh.Marshal(struct{ S string }{value})...)
	}
	return blob
}

func encode(blob []byte) string { return base64.StdEncoding.EncodeToString(blob) }

func decode(t testing.TB, body string) []byte {
	t.Helper()
	blob, err := base64.StdEncoding.DecodeString(body)
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func TestAKeyOfEveryTypeIsTakenWhole(t *testing.T) {
	for keyType, blob := range blobs(t) {
		for _, comment := range []string{"", "ada@desk", "two words", "密钥 of Ada", `command="x"`} {
			line := strings.TrimSuffix(keyType+" "+encode(blob)+" "+comment, " ")
			got, err := ParseKey(line)
			if err != nil {
				t.Errorf("%s: %v", keyType, err)
				continue
			}
			want := Key{Type: keyType, Blob: blob, Comment: comment}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if got.Line() != line {
				t.Errorf("line is %q, want %q", got.Line(), line)
			}
		}
	}
}

func TestABlobWithAByteMoreOrLessIsRefused(t *testing.T) {
	for keyType, blob := range blobs(t) {
		for _, bad := range [][]byte{nil, blob[:4], blob[:len(blob)-1], append(blob[:len(blob):len(blob)], 0)} {
			if _, err := ParseKey(keyType + " " + encode(bad)); err == nil {
				t.Errorf("%s: a blob of %d bytes instead of %d was taken", keyType, len(bad), len(blob))
			}
		}
	}
}

func TestFingerprintIsThatOfOpenSSH(t *testing.T) {
	for keyType, blob := range blobs(t) {
		key, err := ssh.ParsePublicKey(blob)
		if err != nil {
			continue // a type that x/crypto does not know, or one that is only laid out like it
		}
		if got := (Key{Type: keyType, Blob: blob}).Fingerprint(); got != ssh.FingerprintSHA256(key) {
			t.Errorf("%s: %s, want %s", keyType, got, ssh.FingerprintSHA256(key))
		}
	}
}

func TestTheFingerprintOfACertificateIsThatOfItsKey(t *testing.T) {
	all := blobs(t)
	for keyType, blob := range all {
		plain, _, err := plainType(keyType)
		if err != nil {
			continue
		}
		got := Key{Type: keyType, Blob: blob}
		if want := (Key{Type: plain, Blob: all[plain]}).Fingerprint(); got.Fingerprint() != want || !got.IsCertificate() {
			t.Errorf("%s: %s, want %s", keyType, got.Fingerprint(), want)
		}
	}
}

// Invariant 8: a key from the endpoint is one key: no options, no second line, nothing that
// sshd would read as more than that key.
func TestAKeyFromTheEndpointIsOneKey(t *testing.T) {
	body := strings.Fields(edLine)[1]
	small := fields("ssh-rsa", "\x01\x00\x01", "\x40"+strings.Repeat("\x01", 63))
	tests := map[string]struct{ line, reason string }{
		"nothing":                    {"", "does not begin with a key type"},
		"a blank":                    {" ", "does not begin with a key type"},
		"a comment line":             {"# " + edLine, "does not begin with a key type"},
		"no blob":                    {"ssh-ed25519", "malformed"},
		"blob alone":                 {body, "does not begin with a key type"},
		"options":                    {`command="id" ` + edLine, "does not begin with a key type"},
		"a flag":                     {"no-pty " + edLine, "does not begin with a key type"},
		"cert-authority":             {"cert-authority " + edLine, "does not begin with a key type"},
		"options that look like it":  {`ssh-x,command="id" ` + edLine, "does not begin with a key type"},
		"two lines":                  {edLine + "\n" + edLine2, "more than one line"},
		"a final newline":            {edLine + "\n", "more than one line"},
		"CR":                         {edLine + "\r" + edLine2, "more than one line"},
		"NUL":                        {edLine + "\x00", "control character U+0000"},
		"ESC":                        {edLine + "\x1b[2J", "control character U+001B"},
		"tab":                        {"ssh-ed25519\t" + body, "control character U+0009"},
		"C1 control":                 {edLine + "\u0085", "control character U+0085"},
		"line separator":             {edLine + "\u2028x", "control character U+2028"},
		"reordered text":             {edLine + "\u202ex", "control character U+202E"},
		"not UTF-8":                  {edLine + "\xff", "not UTF-8"},
		"another type":               {"ssh-rsa " + body, "not of the stated type ssh-rsa"},
		"signature algorithm":        {"rsa-sha2-512 " + encode(fields("rsa-sha2-512")), "does not begin with a key type"},
		"short type":                 {"ed25519 " + body, "does not begin with a key type"},
		"type in capitals":           {"SSH-ED25519 " + body, "does not begin with a key type"},
		"certificate of another":     {"ssh-ed25519-cert-v01@openssh.com " + body, "not of the stated type"},
		"certificate of tomorrow":    {"ssh-ed25519-cert-v02@openssh.com " + encode(fields("ssh-ed25519-cert-v02@openssh.com")), "none that OpenSSH has"},
		"certificate that never was": {"ssh-ed25519-cert-v00@openssh.com " + encode(fields("ssh-ed25519-cert-v00@openssh.com")), "none that OpenSSH has"},
		"options and a certificate":  {"no-pty ssh-ed25519-cert-v01@openssh.com " + body, "does not begin with a key type"},
		"base64 of URLs":             {"ssh-ed25519 " + strings.ReplaceAll(body, "+", "-"), "not base64"},
		"padding too much":           {"ssh-ed25519 " + body + "=", "not base64"},
		"quoted":                     {`ssh-ed25519 "` + body + `"`, "not base64"},
		"private key":                {"-----BEGIN OPENSSH PRIVATE KEY-----", "does not begin with a key type"},
		"too long":                   {edLine + strings.Repeat("x", maxLine), "longer than 16384 bytes"},
		"RSA too short":              {"ssh-rsa " + encode(small), "RSA key of 511 bits"},
		"RSA, exponent even":         {"ssh-rsa " + encode(fields("ssh-rsa", "\x02", "\x40"+strings.Repeat("\x01", 255))), "malformed"},
		"RSA, number negative":       {"ssh-rsa " + encode(fields("ssh-rsa", "\x83", "\x40"+strings.Repeat("\x01", 255))), "malformed"},
		"RSA, number padded":         {"ssh-rsa " + encode(fields("ssh-rsa", "\x00\x03", "\x40"+strings.Repeat("\x01", 255))), "malformed"},
		"point not on the curve":     {"ecdsa-sha2-nistp256 " + encode(fields("ecdsa-sha2-nistp256", "nistp256", "\x04"+strings.Repeat("\x01", 64))), "malformed"},
		"RSA, exponent of one":       {"ssh-rsa " + encode(fields("ssh-rsa", "\x01", "\x40"+strings.Repeat("\x01", 255))), "no private half"},
		"security key's NUL":         {"sk-ssh-ed25519@openssh.com " + encode(fields("sk-ssh-ed25519@openssh.com", strings.Repeat("k", 32), "ssh:\x00")), "malformed"},
		"security key of nobody":     {"sk-ssh-ed25519@openssh.com " + encode(fields("sk-ssh-ed25519@openssh.com", strings.Repeat("k", 32), "")), "malformed"},
		"length beyond the end":      {"ssh-new " + encode(append(fields("ssh-new"), 0xff, 0xff, 0xff, 0xff)), "malformed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseKey(test.line)
			if err == nil || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("got %v, want %q", err, test.reason)
			}
			if err != nil && strings.Contains(err.Error(), body[:40]) {
				t.Errorf("the error quotes the key: %v", err)
			}
		})
	}
}

func TestSpacesAroundTheFieldsDoNotCount(t *testing.T) {
	got, err := ParseKey("  " + strings.ReplaceAll(edLine, " ", "   ") + "  ")
	if err != nil {
		t.Fatal(err)
	}
	if got.Line() != edLine {
		t.Errorf("got %q", got.Line())
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(edLine)
	for keyType, blob := range blobs(f) {
		f.Add(keyType + " " + encode(blob) + " x")
	}
	f.Fuzz(func(t *testing.T, line string) {
		key, err := ParseKey(line)
		if err != nil {
			return
		}
		checkOneKey(t, key)
		if _, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(key.Line())); err == nil && (len(options) > 0 || len(rest) > 0) {
			t.Errorf("%q has options %q, rest %q", key.Line(), options, rest)
		}
	})
}

// checkOneKey checks that a key's line is that key and nothing else.
func checkOneKey(t *testing.T, key Key) {
	t.Helper()
	if strings.ContainsAny(key.Line(), "\r\n\x00") {
		t.Errorf("%q is more than one line", key.Line())
	}
	again, err := ParseKey(key.Line())
	if err != nil {
		t.Fatalf("%q: %v", key.Line(), err)
	}
	again.Name = key.Name
	if diff := cmp.Diff(key, again); diff != "" {
		t.Errorf("(-key +read again)\n%s", diff)
	}
}

func BenchmarkParseKey(b *testing.B) {
	for keyType, blob := range blobs(b) {
		line := keyType + " " + encode(blob)
		b.Run(keyType, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseKey(line); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
