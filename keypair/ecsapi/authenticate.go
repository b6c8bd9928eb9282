package ecsapi

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/latchkey-ssh/latchkey/keypair/ecsapi/signature"
)

// window is how far a request's time may be from ours, either way.
const window = 15 * time.Minute

// usedNonce is a request's nonce, and when the request will count no longer.
type usedNonce struct {
	text  string
	until time.Time
}

// authenticate proves who sends a request. Only a request with the right signature uses its nonce
// up: else anybody could use up another's.
func (a *API) authenticate(ctx context.Context, q *request) (usedNonce, error) {
	claim, err := q.claim()
	if err != nil {
		return usedNonce{}, err
	}
	if !isNonce(claim.Nonce) {
		return usedNonce{}, incompleteSignature(claim.StringToSign)
	}
	key, err := a.region.AccessKey(ctx, claim.AccessKeyID)
	if err != nil {
		return usedNonce{}, err
	}
	q.accessKey = key.ID
	if key.Disabled {
		return usedNonce{}, accessKeyInactive()
	}
	at, err := signature.ParseTime(claim.Time)
	if err != nil {
		return usedNonce{}, timeFormat()
	}
	now := time.Now()
	if now.Sub(at).Abs() > window {
		return usedNonce{}, timeExpired()
	}
	if !claim.Matches(key.Secret) {
		return usedNonce{}, doesNotMatch(claim)
	}
	if !a.nonces.use(key.ID, claim.Nonce, now) {
		return usedNonce{}, nonceUsed()
	}
	return usedNonce{claim.Nonce, at.Add(window)}, nil
}

// isNonce takes what clients make: visible ASCII, which has one form only.
func isNonce(text string) bool {
	visible := func(r rune) bool { return r > ' ' && r < 0x7f }
	return len(text) <= 128 && !strings.ContainsFunc(text, func(r rune) bool { return !visible(r) })
}

// claim reads the signature, of either version.
func (q *request) claim() (signature.Claim, error) {
	var claim signature.Claim
	var err error
	if signature.IsV3(q.Request) {
		claim, err = signature.ReadV3(q.Request, q.query, q.body)
	} else {
		claim, err = signature.ReadV1(q.Method, q.parameters)
	}
	missing := new(signature.MissingError)
	switch {
	case errors.As(err, &missing):
		return claim, missingPart(missing.Parameter, missing.Name)
	case err != nil:
		return claim, incompleteSignature(claim.StringToSign)
	}
	return claim, nil
}

func doesNotMatch(claim signature.Claim) *Error {
	if claim.Version == signature.V3 {
		return signatureDoesNotMatchV3(claim.StringToSign, claim.CanonicalRequest)
	}
	return signatureDoesNotMatchV1(claim.StringToSign)
}
