package authkeys

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// An Entry is what a key line grants.
type Entry struct {
	// Options are the line's options as they are in force.
	Options Options

	// Type is the key's label on the line, such as "ssh-ed25519". An RSA key
	// may be labelled "ssh-rsa", "rsa-sha2-256" or "rsa-sha2-512".
	Type string

	// Blob is the key in the wire format of RFC 4253 section 6.6, as sshd
	// compares it: a client that holds this key offers exactly these bytes.
	Blob []byte

	// Comment is the rest of the line without its line end. sshd ignores it.
	Comment string
}

// Fingerprint returns the key's fingerprint as ssh-keygen -l shows it: "SHA256:"
// and unpadded base64 of the blob's SHA-256.
func (e *Entry) Fingerprint() string {
	sum := sha256.Sum256(e.Blob)
	return fingerprintPrefix + base64.RawStdEncoding.EncodeToString(sum[:])
}

const fingerprintPrefix = "SHA256:"

var errNoKey = errors.New("no key: expected a key type, a blank and the key in base64")

// parseKey reads "type base64 [comment]".
func parseKey(text string) (*Entry, error) {
	label, rest, found := cutField(text)
	if !found {
		return nil, errNoKey
	}
	keyType, known := keyTypes[label]
	if !known {
		return nil, unknownType(label)
	}
	encoded, comment, _ := cutField(rest)
	blob, err := decodeBase64(encoded)
	if err != nil {
		return nil, fmt.Errorf("%s key: %w", label, err)
	}
	canonical, err := keyType.canonical(blob)
	if err != nil {
		return nil, fmt.Errorf("%s key: %w", label, err)
	}
	return &Entry{Type: label, Blob: canonical, Comment: strings.TrimSuffix(comment, "\r")}, nil
}

// unknownType names a label that is no key type of sshd's, unless it may hold
// anything but a name: the word can be a key whose type got lost.
func unknownType(label string) error {
	switch {
	case strings.Contains(label, "-cert-v01@"):
		return errors.New("a certificate is no authorized key; list its authority with cert-authority")
	case strings.HasPrefix(label, "ssh-") && len(label) < 40:
		return fmt.Errorf("unknown key type %q", label)
	}
	return errNoKey
}

// cutField splits text around its first run of blanks.
func cutField(text string) (field, rest string, found bool) {
	i := strings.IndexAny(text, blanks)
	if i < 0 {
		return text, "", false
	}
	return text[:i], strings.TrimLeft(text[i:], blanks), true
}

var errBase64 = errors.New("the base64 is damaged")

// decodeBase64 reads padded base64. As for the decoder sshd uses, the white
// space of C's isspace may stand anywhere in it and nothing else may.
func decodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, whiteSpace) {
		s = strings.Join(strings.FieldsFunc(s, isWhiteSpace), "")
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, errBase64
	}
	return blob, nil
}

// whiteSpace is what C's isspace accepts.
const whiteSpace = "\t\n\v\f\r "

func isWhiteSpace(r rune) bool { return strings.ContainsRune(whiteSpace, r) }
