package metadata

import (
	"bytes"
	"crypto/ecdh"
	"encoding/binary"
	"errors"
	"fmt"
)

// Limits of RSA moduli that OpenSSH takes, in bits (sshkey.h, SSH_RSA_MINIMUM_MODULUS_SIZE
// and OPENSSL_RSA_MAX_MODULUS_BITS).
const (
	minRSABits = 1024
	maxRSABits = 16384
)

// errBlob is all that is said about a blob that is no key: details would quote it.
var errBlob = errors.New("the key's data is malformed")

// wire reads the fields of a public key blob (RFC 4251 section 5). The first fault stays.
type wire struct {
	rest []byte
	err  error
}

// checkBlob reads the whole blob as a key of the type and refuses anything left over.
func checkBlob(keyType string, blob []byte) error {
	w := &wire{rest: blob}
	if named := w.bytes(); w.err == nil && string(named) != keyType {
		return fmt.Errorf("the key's data is not of the stated type %s", keyType)
	}
	if (Key{Type: keyType}).IsCertificate() {
		w.certificate(keyType)
	} else {
		w.key(keyType)
	}
	if w.err == nil && len(w.rest) > 0 {
		w.fail(errBlob)
	}
	return w.err
}

// key reads the fields that follow the type. A type that is not known here is held to the
// framing that all of them share.
func (w *wire) key(keyType string) {
	switch keyType {
	case "ssh-rsa":
		w.rsa()
	case "ssh-dss":
		w.dss()
	case "ssh-ed25519":
		w.ed25519()
	case "ecdsa-sha2-nistp256":
		w.point("nistp256", ecdh.P256())
	case "ecdsa-sha2-nistp384":
		w.point("nistp384", ecdh.P384())
	case "ecdsa-sha2-nistp521":
		w.point("nistp521", ecdh.P521())
	case "sk-ssh-ed25519@openssh.com":
		w.ed25519()
		w.application()
	case "sk-ecdsa-sha2-nistp256@openssh.com":
		w.point("nistp256", ecdh.P256())
		w.application()
	default:
		w.strings()
	}
}

func (w *wire) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// bytes reads one length-prefixed string.
func (w *wire) bytes() []byte {
	if w.err != nil || len(w.rest) < 4 {
		w.fail(errBlob)
		return nil
	}
	size := uint64(binary.BigEndian.Uint32(w.rest))
	if size > uint64(len(w.rest)-4) {
		w.fail(errBlob)
		return nil
	}
	value := w.rest[4 : 4+size]
	w.rest = w.rest[4+size:]
	return value
}

// positive reads an mpint that is above zero and in its only shortest form, so that one key
// has one blob and one fingerprint. It returns the magnitude.
func (w *wire) positive() []byte {
	n := w.bytes()
	switch {
	case len(n) == 0 || n[0] > 0x7f:
		w.fail(errBlob)
	case n[0] == 0 && (len(n) == 1 || n[1] < 0x80):
		w.fail(errBlob)
	case n[0] == 0:
		return n[1:]
	}
	return n
}

// rsa reads the exponent and the modulus (RFC 4253 section 6.6).
func (w *wire) rsa() {
	exponent, modulus := w.positive(), w.positive()
	if w.err != nil {
		return
	}
	if isEven(exponent) || isEven(modulus) {
		w.fail(errBlob)
		return
	}
	if bitLen(exponent) == 1 {
		w.fail(errWeak)
		return
	}
	if bits := bitLen(modulus); bits < minRSABits || bits > maxRSABits {
		w.fail(fmt.Errorf("RSA key of %d bits, OpenSSH takes %d to %d", bits, minRSABits, maxRSABits))
	}
}

func isEven(magnitude []byte) bool { return magnitude[len(magnitude)-1]&1 == 0 }

func bitLen(magnitude []byte) int {
	bits := len(magnitude) * 8
	for mask := byte(0x80); mask > 0 && magnitude[0]&mask == 0; mask >>= 1 {
		bits--
	}
	return bits
}

// point reads the curve's name and a point that lies on it, uncompressed (RFC 5656 section 3.1).
func (w *wire) point(name string, curve ecdh.Curve) {
	named, point := w.bytes(), w.bytes()
	if w.err != nil {
		return
	}
	if _, err := curve.NewPublicKey(point); err != nil || string(named) != name {
		w.fail(errBlob)
	}
}

// application reads the name a security key is bound to, normally "ssh:" (OpenSSH, PROTOCOL.u2f).
// A NUL is no part of it to sshd, so with one the same key would have two blobs.
func (w *wire) application() {
	if name := w.bytes(); len(name) == 0 || bytes.IndexByte(name, 0) >= 0 {
		w.fail(errBlob)
	}
}

// strings reads one or more strings to the end.
func (w *wire) strings() {
	for more := true; more && w.err == nil; more = len(w.rest) > 0 {
		w.bytes()
	}
}
