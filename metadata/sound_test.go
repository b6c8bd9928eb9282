package metadata

import (
	"strings"
	"testing"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// Part of invariant 8: a key that lets in whoever knows how is not that one key.
func TestAKeyThatLetsInAnybodyIsRefused(t *testing.T) {
	for name, line := range testmachine.WeakKeys(t) {
		if _, err := ParseKey(line); err == nil {
			t.Errorf("%s was taken", name)
		}
		keyType, body, _ := strings.Cut(line, " ")
		blob := decode(t, body)
		for certificate, cert := range certificates(map[string][]byte{keyType: blob}) {
			if _, err := ParseKey(certificate + " " + encode(cert)); err == nil {
				t.Errorf("%s was taken in a %s", name, certificate)
			}
		}
	}
}

// TestAnEd25519PointHasOneEncoding: y is below 2^255-19 (RFC 8032 section 5.1.3).
func TestAnEd25519PointHasOneEncoding(t *testing.T) {
	high := strings.Repeat("\xff", 30) + "\x7f"
	for first, want := range map[string]bool{"\xeb": true, "\xef": false, "\xf0": false, "\xff": false} {
		_, err := ParseKey("ssh-ed25519 " + encode(fields("ssh-ed25519", first+high)))
		if taken := err == nil; taken != want {
			t.Errorf("%x: %v", first, err)
		}
	}
}
