package signature

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"time"
)

// AccessKey is what a client signs with.
type AccessKey struct {
	ID            string
	Secret        string
	SecurityToken string // of temporary keys (STS); else empty
}

// ErrIncomplete is a signature that is not of the form it has to have.
var ErrIncomplete = errors.New("the signature does not have the form of V1 or V3")

// MissingError is a part of the signature that is not there.
type MissingError struct {
	Parameter string // in V1's words, such as "SignatureNonce"
	Name      string // where it should have been: the parameter or the header, such as "x-acs-signature-nonce"
}

func (e *MissingError) Error() string { return e.Name + " is missing" }

// Version is one of the two ways to sign.
type Version int

// The ways to sign.
const (
	V1 Version = 1 // HMAC-SHA1
	V3 Version = 3 // ACS3-HMAC-SHA256
)

// Claim is who a request says it is from, not believed until Matches.
type Claim struct {
	Version      Version
	AccessKeyID  string
	Nonce        string
	Time         string // as it is written; see ParseTime
	StringToSign string // what the verifier holds to be signed

	// CanonicalRequest is what V3's StringToSign has the hash of, for people to compare. It is
	// empty where it holds what should not be repeated: a security token, or a header that need not be signed, which
	// something on the way may have put in.
	CanonicalRequest string

	signature string
}

// Matches tells whether the signature was made with that secret.
func (c Claim) Matches(secret string) bool {
	want := sign(c.Version, secret, c.StringToSign)
	return hmac.Equal([]byte(want), []byte(c.signature))
}

func sign(v Version, secret, stringToSign string) string {
	if v == V1 {
		mac := hmac.New(sha1.New, []byte(secret+"&"))
		mac.Write([]byte(stringToSign))
		return base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(stringToSign))
	return hex.EncodeToString(mac.Sum(nil))
}

const timeLayout = "2006-01-02T15:04:05Z"

// ParseTime reads a time as both signatures write it, in UTC: "2006-01-02T15:04:05Z".
func ParseTime(text string) (time.Time, error) {
	t, err := time.Parse(timeLayout, text)
	if err == nil && t.Format(timeLayout) != text { // Parse lets a fraction of a second in
		err = errors.New("time: want " + timeLayout)
	}
	return t, err
}

func formatTime(t time.Time) string { return t.UTC().Format(timeLayout) }
