package testmachine

import (
	"crypto/ed25519"
	"encoding/binary"
	"testing"
)

// TestAWeakPointNeedsNoPrivateHalf: the signature that is the same for all of them, the
// neutral element and zero, is good for one message in eight at least.
func TestAWeakPointNeedsNoPrivateHalf(t *testing.T) {
	t.Parallel()
	signature := make([]byte, ed25519.SignatureSize)
	signature[0] = 1
	for _, point := range WeakPoints(t) {
		forged := false
		for i := uint64(0); i < 200 && !forged; i++ {
			forged = ed25519.Verify(point, binary.BigEndian.AppendUint64(nil, i), signature)
		}
		if !forged {
			t.Errorf("%x: no signature could be forged; it is none of the weak ones", point)
		}
	}
}
