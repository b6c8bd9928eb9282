package keypair

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/authkeys"
)

// MaxPublicKey is the longest line that is imported, in bytes: what instances take.
const MaxPublicKey = 16 << 10

// PublicKey is the public half of a key pair, or a certificate over one.
type PublicKey struct {
	Type    string // as in the blob, such as "ssh-ed25519"
	Blob    []byte // the wire format of RFC 4253 section 6.6, or of PROTOCOL.certkeys
	Comment string
}

// Why a line is no public key to import. Each comes with ErrPublicKey; what is wrong with
// a key's fields or a certificate is one of authkeys's errors.
var (
	errText    = errors.New("want one line of text, \"type base64 [comment]\", of at most 16 KiB")
	errOptions = errors.New("the line does not begin with a key type that can be imported; options are not taken")
	errType    = errors.New("the type on the line is not that of the key")
)

// keyWords maps the words that may begin a line to the types that the key may have then.
// The short ones are what ECS documents besides OpenSSH's own.
var keyWords = map[string][]string{
	"rsa":                                {"ssh-rsa"},
	"dsa":                                {"ssh-dss"},
	"ecdsa":                              {"ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"},
	"ssh-rsa":                            {"ssh-rsa"},
	"ssh-dss":                            {"ssh-dss"},
	"ssh-ed25519":                        {"ssh-ed25519"},
	"ecdsa-sha2-nistp256":                {"ecdsa-sha2-nistp256"},
	"ecdsa-sha2-nistp384":                {"ecdsa-sha2-nistp384"},
	"ecdsa-sha2-nistp521":                {"ecdsa-sha2-nistp521"},
	"sk-ssh-ed25519@openssh.com":         {"sk-ssh-ed25519@openssh.com"},
	"sk-ecdsa-sha2-nistp256@openssh.com": {"sk-ecdsa-sha2-nistp256@openssh.com"},
}

// ParsePublicKey reads what ImportKeyPair takes: one key on one line, "type base64
// [comment]", without options, in one of the types of docs/KEYTYPES.md, in its only form
// (authkeys.CheckSound), so that an instance takes whatever is imported. A certificate has
// to be a user's, signed by the authority it names, of use at now or later, and bound in
// no way that an instance could not keep. What is wrong is an ErrPublicKey that says so and
// never quotes the line; of a key's fields or a certificate it wraps authkeys's error too.
func ParsePublicKey(line string, now time.Time) (PublicKey, error) {
	key, err := parsePublicKey(strings.TrimRight(line, "\r\n"), now)
	if err == nil && len(key.Line()) > MaxPublicKey {
		err = errText // the type's own name is longer than what stood for it
	}
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrPublicKey, err)
	}
	return key, nil
}

func parsePublicKey(line string, now time.Time) (PublicKey, error) {
	if len(line) > MaxPublicKey || !utf8.ValidString(line) || strings.ContainsFunc(line, isUnfit) {
		return PublicKey{}, errText
	}
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return PublicKey{}, errText
	}
	word, encoded, comment := fields[0], fields[1], strings.Join(fields[2:], " ")
	if authkeys.IsCertificate(word) {
		return parseCertificate(word+" "+encoded, comment, now)
	}
	return parsePlain(word, encoded, comment)
}

// isUnfit tells a character that could end a line, or deceive whoever reads it.
func isUnfit(r rune) bool {
	return r != '\t' && unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r)
}

func parsePlain(word, encoded, comment string) (PublicKey, error) {
	types, known := keyWords[word]
	if !known {
		return PublicKey{}, errOptions
	}
	keyType, blob, err := decodeKey(encoded, types)
	if err != nil {
		return PublicKey{}, err
	}
	if err := checkKey(blob); err != nil {
		return PublicKey{}, err
	}
	return PublicKey{Type: keyType, Blob: blob, Comment: comment}, nil
}

// decodeKey returns the key and the type that it says itself it has, one of types.
func decodeKey(encoded string, types []string) (keyType string, blob []byte, err error) {
	blob, err = base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return "", nil, errors.New("what follows the key type is not base64")
	}
	for _, keyType := range types {
		name := ssh.Marshal(struct{ Name string }{keyType})
		if bytes.HasPrefix(blob, name) {
			return keyType, blob, nil
		}
	}
	return "", nil, errType
}

// checkKey tells why a plain key could not be used, by those who hold its private half
// alone: it is not sound, or has an RSA exponent that is too large for many.
func checkKey(blob []byte) error {
	if err := authkeys.CheckSound(blob); err != nil {
		return err
	}
	if _, err := ssh.ParsePublicKey(blob); err != nil {
		return fmt.Errorf("%w: %w", authkeys.ErrUnsound, err)
	}
	return nil
}

func parseCertificate(line, comment string, now time.Time) (PublicKey, error) {
	certificate, err := authkeys.ParseCertificate(line)
	if err != nil {
		return PublicKey{}, err
	}
	if err := certificate.Check(now); err != nil {
		return PublicKey{}, err
	}
	if err := checkKey(certificate.KeyBlob); err != nil {
		return PublicKey{}, err
	}
	return PublicKey{Type: certificate.Type, Blob: certificate.Blob, Comment: comment}, nil
}

// Line is the key as one line of authorized_keys, without a newline.
func (k PublicKey) Line() string {
	line := k.Type + " " + base64.StdEncoding.EncodeToString(k.Blob)
	if k.Comment != "" {
		line += " " + k.Comment
	}
	return line
}

// MD5 is the fingerprint that ECS shows (RFC 4716 section 4): sixteen pairs of lower-case
// hexadecimal digits, joined by colons. Like SHA256 and ssh-keygen -l, it is that of the
// plain key where k is a certificate.
func (k PublicKey) MD5() string {
	sum := md5.Sum(k.plainBlob())
	pairs := make([]string, len(sum))
	for i := range sum {
		pairs[i] = hex.EncodeToString(sum[i : i+1])
	}
	return strings.Join(pairs, ":")
}

// SHA256 is the fingerprint as ssh-keygen -l shows it: "SHA256:" and unpadded base64.
func (k PublicKey) SHA256() string {
	sum := sha256.Sum256(k.plainBlob())
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

func (k PublicKey) plainBlob() []byte {
	if !authkeys.IsCertificate(k.Type) {
		return k.Blob
	}
	certificate, err := authkeys.ParseCertificate(k.Line())
	if err != nil {
		return k.Blob
	}
	return certificate.KeyBlob
}
