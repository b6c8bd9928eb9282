package authkeys

import (
	"bytes"
	"crypto/ecdh"
	"encoding/binary"
	"errors"
	"fmt"
)

// A keyType is a kind of public key as it stands in a blob: its name, then its
// fields.
type keyType struct {
	name   string // the name that sshd writes
	inside string // a further name, in any case, that sshd takes inside a blob
	fields []field
}

// keyTypes maps each label that may stand on a line to the type it stands for.
// ssh-dss is among them because an sshd before 10.0 still takes it.
var keyTypes = map[string]*keyType{
	"ssh-ed25519":                        &typeEd25519,
	"sk-ssh-ed25519@openssh.com":         &typeEd25519SK,
	"ssh-rsa":                            &typeRSA,
	"rsa-sha2-256":                       &typeRSA,
	"rsa-sha2-512":                       &typeRSA,
	"ssh-dss":                            &typeDSA,
	"ecdsa-sha2-nistp256":                &typeP256,
	"ecdsa-sha2-nistp384":                &typeP384,
	"ecdsa-sha2-nistp521":                &typeP521,
	"sk-ecdsa-sha2-nistp256@openssh.com": &typeP256SK,
	"webauthn-sk-ecdsa-sha2-nistp256@openssh.com": &typeP256SK,
}

var (
	typeEd25519   = keyType{"ssh-ed25519", "ed25519", []field{ed25519Point}}
	typeEd25519SK = keyType{"sk-ssh-ed25519@openssh.com", "ed25519-sk", []field{ed25519Point, application}}
	typeRSA       = keyType{"ssh-rsa", "rsa", []field{integer, rsaModulus}}
	typeDSA       = keyType{"ssh-dss", "dsa", []field{integer, integer, integer, integer}}
	typeP256      = keyType{"ecdsa-sha2-nistp256", "", []field{word("nistp256"), point(ecdh.P256())}}
	typeP384      = keyType{"ecdsa-sha2-nistp384", "", []field{word("nistp384"), point(ecdh.P384())}}
	typeP521      = keyType{"ecdsa-sha2-nistp521", "", []field{word("nistp521"), point(ecdh.P521())}}
	typeP256SK    = keyType{
		"sk-ecdsa-sha2-nistp256@openssh.com", "",
		[]field{word("nistp256"), point(ecdh.P256()), application},
	}
)

// A field checks one string of a blob and returns it as sshd writes it.
type field func([]byte) ([]byte, error)

var (
	errShort    = errors.New("the key is cut short")
	errTrailing = errors.New("there is more after the key")
	errField    = errors.New("the key's parts are not those of its type")
)

// canonical checks the structure of a blob and returns it as sshd would write
// it: under the type's own name, numbers without needless zeros.
func (t *keyType) canonical(blob []byte) ([]byte, error) {
	name, rest, err := cutString(blob)
	if err != nil {
		return nil, err
	}
	if !t.named(string(name)) {
		return nil, fmt.Errorf("the label is %s, the key is not", t.name)
	}
	out := appendString(make([]byte, 0, len(blob)), []byte(t.name))
	for _, check := range t.fields {
		var value []byte
		if value, rest, err = cutString(rest); err != nil {
			return nil, err
		}
		if value, err = check(value); err != nil {
			return nil, err
		}
		out = appendString(out, value)
	}
	if len(rest) > 0 {
		return nil, errTrailing
	}
	return out, nil
}

func (t *keyType) named(name string) bool {
	return keyTypes[name] == t || t.inside != "" && asciiLower(name) == t.inside
}

func cutString(b []byte) (value, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errShort
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, errShort
	}
	return b[4 : 4+n], b[4+n:], nil
}

func appendString(b, value []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(value))), value...)
}

func word(want string) field {
	return func(b []byte) ([]byte, error) {
		if string(b) != want {
			return nil, errField
		}
		return b, nil
	}
}

func ed25519Point(b []byte) ([]byte, error) {
	if len(b) != 32 {
		return nil, errField
	}
	return b, nil
}

// point takes an uncompressed point on the curve (RFC 5656 section 3.1).
func point(curve ecdh.Curve) field {
	return func(b []byte) ([]byte, error) {
		if _, err := curve.NewPublicKey(b); err != nil {
			return nil, errField
		}
		return b, nil
	}
}

// application is a security key's application, a C string to sshd: a NUL may
// only end it, and is then no part of it.
func application(b []byte) ([]byte, error) {
	b = bytes.TrimSuffix(b, []byte{0})
	if bytes.IndexByte(b, 0) >= 0 {
		return nil, errField
	}
	return b, nil
}

// maxIntegerBytes is sshd's limit for a number of a key: 16384 bits.
const maxIntegerBytes = 2048

// integer takes an mpint (RFC 4251 section 5) that is not negative.
func integer(b []byte) ([]byte, error) {
	if len(b) > 0 && b[0]&0x80 != 0 || len(b) > maxIntegerBytes+1 {
		return nil, errField
	}
	b = bytes.TrimLeft(b, "\x00")
	if len(b) > maxIntegerBytes {
		return nil, errField
	}
	if len(b) > 0 && b[0]&0x80 != 0 {
		b = append([]byte{0}, b...)
	}
	return b, nil
}

// rsaModulus refuses what sshd refuses before it looks at RequiredRSASize: less
// than 1024 bits.
func rsaModulus(b []byte) ([]byte, error) {
	n, err := integer(b)
	if err != nil {
		return nil, err
	}
	if digits := bytes.TrimLeft(n, "\x00"); len(digits) < 128 || len(digits) == 128 && digits[0]&0x80 == 0 {
		return nil, errors.New("an RSA key below 1024 bits")
	}
	return n, nil
}
