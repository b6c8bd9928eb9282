package metadata

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxLine is the longest public key line taken, in bytes: what OpenSSH before 7.8 reads
// as one line, and six times what the largest RSA key needs.
const maxLine = 16 << 10

// Key is one public key as the endpoint handed it out: a key and nothing else, or an
// OpenSSH certificate over one, which narrows what the key may be used for.
type Key struct {
	Type    string `json:"type"`              // as in RFC 4253 section 6.6, such as "ssh-ed25519", or of a certificate
	Blob    []byte `json:"blob"`              // the key in SSH wire format (RFC 4253 section 6.6), or the certificate
	Comment string `json:"comment,omitempty"` // free text, may be empty
	Name    string `json:"name,omitempty"`    // the names it was listed under, joined by commas; numbers are left out
}

// ParseKey reads exactly one line "TYPE BASE64 [COMMENT]" without its newline, the form of
// a .pub file (sshd(8), AUTHORIZED_KEYS FILE FORMAT). It takes less than sshd does, because
// the line comes from a network and ends up in authorized_keys: no options, no control
// character anywhere, at most 16 KiB, strict base64, and a blob of the stated type that is
// whole and without a byte to spare. A certificate is held to its framing; who signed it,
// and what for, is not looked at. Errors never quote the line.
func ParseKey(line string) (Key, error) {
	key, err := parseKey(line)
	if err != nil {
		return Key{}, fmt.Errorf("public key: %w", err)
	}
	return key, nil
}

func parseKey(line string) (Key, error) {
	if len(line) > maxLine {
		return Key{}, fmt.Errorf("line is longer than %d bytes", maxLine)
	}
	if err := checkText(line); err != nil {
		return Key{}, err
	}
	keyType, rest, _ := strings.Cut(strings.TrimLeft(line, " "), " ")
	if err := checkType(keyType); err != nil {
		return Key{}, err
	}
	encoded, comment, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	blob, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return Key{}, errors.New("what follows the key type is not base64")
	}
	if err := checkBlob(keyType, blob); err != nil {
		return Key{}, err
	}
	return Key{Type: keyType, Blob: blob, Comment: strings.Trim(comment, " ")}, nil
}

// Line returns the key as "TYPE BASE64[ COMMENT]", without a newline.
func (k Key) Line() string {
	line := k.Type + " " + base64.StdEncoding.EncodeToString(k.Blob)
	if k.Comment != "" {
		line += " " + k.Comment
	}
	return line
}

// Fingerprint returns "SHA256:" and the unpadded base64 of the blob's SHA-256, as
// ssh-keygen -l prints it: of a certificate, that of the plain key in it.
func (k Key) Fingerprint() string {
	sum := sha256.Sum256(k.plainBlob())
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// sameKey reports whether both are the same key, whatever they are called.
func sameKey(a, b Key) bool {
	return a.Type == b.Type && bytes.Equal(a.Blob, b.Blob)
}

// validate holds a key that came over a pipe to what ParseKey promises.
func (k Key) validate() error {
	parsed, err := ParseKey(k.Line())
	if err != nil {
		return err
	}
	if !sameKey(parsed, k) || parsed.Comment != k.Comment {
		return errors.New("public key: its fields are not those of its line")
	}
	return validateNames(k.Name)
}

func validateNames(names string) error {
	if names == "" {
		return nil
	}
	for name := range strings.SplitSeq(names, ",") {
		if !validName(name) {
			return errors.New("public key: listed under a malformed name")
		}
	}
	return nil
}

// checkText refuses what could end a line, or deceive whoever reads it on a terminal.
func checkText(text string) error {
	if !utf8.ValidString(text) {
		return errors.New("line is not UTF-8")
	}
	for _, r := range text {
		switch {
		case r == '\n' || r == '\r':
			return errors.New("more than one line")
		case !printable(r):
			return fmt.Errorf("control character %U", r)
		}
	}
	return nil
}

// printable reports whether r is neither a control character nor a line separator nor one
// that reorders the text around it.
func printable(r rune) bool {
	return !unicode.IsControl(r) && r != '\u2028' && r != '\u2029' && !unicode.Is(unicode.Bidi_Control, r)
}

// checkType takes a word that sshd reads as a key type and never as an option: options
// have no name with these beginnings. The word is not quoted, it may be a key body.
func checkType(word string) error {
	if !startsLikeType(word) || strings.ContainsFunc(word, notInType) {
		return errors.New(`line does not begin with a key type, want "TYPE BASE64 [COMMENT]" without options`)
	}
	return nil
}

func startsLikeType(word string) bool {
	return strings.HasPrefix(word, "ssh-") || strings.HasPrefix(word, "ecdsa-") || strings.HasPrefix(word, "sk-")
}

func notInType(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("-.@", r)
}
