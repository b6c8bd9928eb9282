package authkeys_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

func decoded(t testing.TB, line string) []byte {
	t.Helper()
	blob, err := base64.StdEncoding.DecodeString(strings.Fields(line)[1])
	must(t, err)
	return blob
}

func TestKeysOfEveryTypeAreSound(t *testing.T) {
	t.Parallel()
	keys := publicKeys(t)
	keys["dss"] = testmachine.NewKey(t, "dss").Line
	for name, line := range keys {
		blob := decoded(t, line)
		if err := authkeys.CheckSound(blob); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, other := range [][]byte{nil, blob[:len(blob)-1], append(bytes.Clone(blob), 0)} {
			if err := authkeys.CheckSound(other); !errors.Is(err, authkeys.ErrUnsound) {
				t.Errorf("%s of %d bytes instead of %d: %v", name, len(other), len(blob), err)
			}
		}
	}
}

func TestAKeyThatLetsInAnybodyIsNotSound(t *testing.T) {
	t.Parallel()
	for name, line := range testmachine.WeakKeys(t) {
		if err := authkeys.CheckSound(decoded(t, line)); !errors.Is(err, authkeys.ErrUnsound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// anybody signs for an ed25519 point of order one, without a private half.
type anybody struct{ key ssh.PublicKey }

func (a anybody) PublicKey() ssh.PublicKey { return a.key }

func (a anybody) Sign(io.Reader, []byte) (*ssh.Signature, error) {
	forged := make([]byte, 64)
	forged[0] = 1
	return &ssh.Signature{Format: ssh.KeyAlgoED25519, Blob: forged}, nil
}

func TestACertificateByAnybodyIsRefused(t *testing.T) {
	t.Parallel()
	point := make([]byte, 32)
	point[0] = 1
	weak, err := ssh.ParsePublicKey(ssh.Marshal(struct{ Type, Point string }{ssh.KeyAlgoED25519, string(point)}))
	must(t, err)
	certificate := &ssh.Certificate{Key: newAuthority(t).key, CertType: ssh.UserCert, ValidBefore: ssh.CertTimeInfinity}
	must(t, certificate.SignCert(rand.Reader, anybody{weak}))
	line := string(ssh.MarshalAuthorizedKey(certificate))
	if _, err := authkeys.ParseCertificate(line); !errors.Is(err, authkeys.ErrCertificate) || !errors.Is(err, authkeys.ErrUnsound) {
		t.Errorf("got %v, want ErrCertificate and ErrUnsound", err)
	}
}

func TestACertificateOfAnUnsoundKeyIsRefused(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	point := string(decoded(t, a.plain())[19:])
	e, n := "\x01\x00\x01", "\x00\xc3"+strings.Repeat("n", 254)+"o"
	for name, line := range map[string]string{
		"weak point":                   wireLine(ssh.KeyAlgoED25519, strings.Repeat("\x00", 32)),
		"weak exponent":                wireLine(ssh.KeyAlgoRSA, "\x01", n),
		"exponent with a zero more":    wireLine(ssh.KeyAlgoRSA, "\x00"+e, n),
		"modulus with a zero more":     wireLine(ssh.KeyAlgoRSA, e, "\x00"+n),
		"security key of nothing":      wireLine(ssh.KeyAlgoSKED25519, point, ""),
		"application that ends in NUL": wireLine(ssh.KeyAlgoSKED25519, point, "ssh:\x00"),
	} {
		if _, err := authkeys.ParseCertificate(a.over(line)); !errors.Is(err, authkeys.ErrCertificate) || !errors.Is(err, authkeys.ErrUnsound) {
			t.Errorf("%s: got %v, want ErrCertificate and ErrUnsound", name, err)
		}
	}
}

// over is a certificate over the key of a line, which need not be one to x/crypto.
func (a *authority) over(line string) string {
	a.t.Helper()
	name, _, _ := strings.Cut(line, " ")
	label := strings.TrimSuffix(name, "@openssh.com") + "-cert-v01@openssh.com"
	blob := append(wireString(label), wireString("nonce")...)
	blob = append(blob, decoded(a.t, line)[4+len(name):]...)
	blob = binary.BigEndian.AppendUint64(blob, 1)
	blob = binary.BigEndian.AppendUint32(blob, ssh.UserCert)
	blob = append(blob, wireString("id")...)
	blob = append(blob, wireString("")...)
	blob = binary.BigEndian.AppendUint64(blob, 0)
	blob = binary.BigEndian.AppendUint64(blob, ssh.CertTimeInfinity)
	for range 3 { // critical options, extensions, reserved
		blob = append(blob, wireString("")...)
	}
	blob = append(blob, wireString(string(a.signer.PublicKey().Marshal()))...)
	signature, err := a.signer.Sign(rand.Reader, blob)
	must(a.t, err)
	blob = append(blob, wireString(string(ssh.Marshal(signature)))...)
	return label + " " + base64.StdEncoding.EncodeToString(blob)
}
