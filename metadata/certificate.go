package metadata

import (
	"encoding/binary"
	"errors"
	"strings"
)

// Suffixes of the types of OpenSSH certificates (PROTOCOL.certkeys). The legacy v00 is
// what OpenSSH 5.4 to 6.9 made, of RSA and DSA keys alone.
const (
	suffixV01 = "-cert-v01@openssh.com"
	suffixV00 = "-cert-v00@openssh.com"
)

// errCertificateType is about a word that may hold anything, so it is not quoted.
var errCertificateType = errors.New("the type of certificate is none that OpenSSH has")

// IsCertificate reports whether the key came with bounds, as an OpenSSH certificate. Who
// uses it has to keep to those: only its framing has been checked.
func (k Key) IsCertificate() bool { return strings.Contains(k.Type, "-cert-v0") }

// plainType is the type of the key that a type of certificate is about.
func plainType(certificate string) (plain string, legacy bool, err error) {
	if plain, legacy = strings.CutSuffix(certificate, suffixV00); legacy {
		if plain != "ssh-rsa" && plain != "ssh-dss" {
			return "", false, errCertificateType
		}
		return plain, true, nil
	}
	plain, known := strings.CutSuffix(certificate, suffixV01)
	switch plain {
	case "ssh-rsa", "ssh-dss", "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521":
	case "sk-ssh-ed25519", "sk-ecdsa-sha2-nistp256":
		plain += "@openssh.com"
	default:
		known = false
	}
	if !known {
		return "", false, errCertificateType
	}
	return plain, false, nil
}

// certificate reads the fields that follow the type of a certificate, and returns the
// blob of the plain key among them.
func (w *wire) certificate(certificate string) []byte {
	plain, legacy, err := plainType(certificate)
	if err != nil {
		w.fail(err)
		return nil
	}
	if !legacy {
		w.bytes() // nonce
	}
	key := w.rest
	w.key(plain)
	key = key[:len(key)-len(w.rest)]
	if !legacy {
		w.skip(8) // serial
	}
	w.skip(4) // user or host
	w.bytes() // key id
	w.list()  // principals
	w.skip(16)
	w.list() // critical options, or the constraints of v00
	if legacy {
		w.bytes() // nonce
	} else {
		w.list() // extensions
	}
	w.bytes() // reserved
	w.bytes() // the authority's key
	w.bytes() // its signature
	name := binary.BigEndian.AppendUint32(nil, uint32(len(plain)))
	return append(append(name, plain...), key...)
}

// skip passes over numbers of fixed size.
func (w *wire) skip(size int) {
	if w.err != nil || len(w.rest) < size {
		w.fail(errBlob)
		return
	}
	w.rest = w.rest[size:]
}

// list reads a string that is made of strings itself, perhaps of none.
func (w *wire) list() {
	inner := &wire{rest: w.bytes()}
	for inner.err == nil && len(inner.rest) > 0 {
		inner.bytes()
	}
	if inner.err != nil {
		w.fail(inner.err)
	}
}

// plainBlob is the blob of the key itself: a certificate's is in it.
func (k Key) plainBlob() []byte {
	if !k.IsCertificate() {
		return k.Blob
	}
	w := &wire{rest: k.Blob}
	w.bytes()
	if plain := w.certificate(k.Type); w.err == nil {
		return plain
	}
	return k.Blob
}
