package sshdtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"slices"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// What a security key says of its user in a signature (FIDO CTAP2, authenticator data).
const (
	untouched = 0
	touched   = 1
	verified  = 1 | 4
)

// securityKey signs as a FIDO key does (OpenSSH's PROTOCOL.u2f), whoever touches it.
type securityKey struct {
	private ed25519.PrivateKey
	public  ssh.PublicKey
	flags   byte
}

const securityKeyType, application = "sk-ssh-ed25519@openssh.com", "ssh:"

func newSecurityKey(t *testing.T, flags byte) securityKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ssh.ParsePublicKey(ssh.Marshal(struct{ Type, Key, Application string }{securityKeyType, string(public), application}))
	if err != nil {
		t.Fatal(err)
	}
	return securityKey{private, parsed, flags}
}

func (k securityKey) PublicKey() ssh.PublicKey { return k.public }

func (k securityKey) Sign(_ io.Reader, data []byte) (*ssh.Signature, error) {
	app, message := sha256.Sum256([]byte(application)), sha256.Sum256(data)
	rest := binary.BigEndian.AppendUint32([]byte{k.flags}, 1) // flags and counter
	signed := slices.Concat(app[:], rest, message[:])
	return &ssh.Signature{Format: securityKeyType, Blob: ed25519.Sign(k.private, signed), Rest: rest}, nil
}

func TestTouchIsAskedForAsFromAFile(t *testing.T) {
	t.Parallel()
	w := newTwins(t)
	tests := []struct {
		name  string
		flags byte
		lines string
		want  string
	}{
		{"touched", touched, "KEY", in},
		{"untouched", untouched, "KEY", refused},
		{"untouched, which is allowed", untouched, "no-touch-required KEY", in},
		{"untouched, which is not allowed again", untouched, "no-touch-required,touch-required KEY", refused},
		{"touched, to be verified", touched, "verify-required KEY", refused},
		{"verified", verified, "verify-required,no-pty KEY", "in -pty"},
		{"touched, to be verified no more", touched, "verify-required,no-verify-required KEY", in},
	}
	keys := make([]securityKey, len(tests))
	for i, test := range tests {
		keys[i] = newSecurityKey(t, test.flags)
		key := testmachine.Key{Signer: keys[i]}
		w.text.WriteString(w.fill(test.lines, cast{key, key, key}) + "\n")
	}
	w.publish(t, w.text.String())
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) { w.agree(t, keys[i], test.want) })
	}
}
