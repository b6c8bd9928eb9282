package authkeys

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// certReader reads the fields of a certificate. The first fault stays.
type certReader struct {
	rest []byte
	err  error
}

func (r *certReader) bytes() []byte {
	var value []byte
	if r.err == nil {
		value, r.rest, r.err = cutString(r.rest)
	}
	return value
}

func (r *certReader) uint32() uint32 {
	if r.err != nil || len(r.rest) < 4 {
		r.fail()
		return 0
	}
	n := binary.BigEndian.Uint32(r.rest)
	r.rest = r.rest[4:]
	return n
}

func (r *certReader) uint64() uint64 {
	high := r.uint32()
	return uint64(high)<<32 | uint64(r.uint32())
}

func (r *certReader) fail() {
	if r.err == nil {
		r.err = errShort
	}
}

// read takes the blob apart: the fields of the plain key, and what is said about it.
func (c *Certificate) read(plain *keyType) error {
	r := &certReader{rest: c.Blob}
	if name := r.bytes(); r.err == nil && string(name) != c.Type {
		return fmt.Errorf("%w: it is not of the type that the line says", ErrCertificate)
	}
	legacy := strings.HasSuffix(c.Type, suffixV00)
	if !legacy {
		r.bytes() // the nonce, which makes the signature hard to forge
	}
	c.readKey(r, plain)
	if !legacy {
		c.Serial = r.uint64()
	}
	kind := r.uint32()
	c.KeyID = string(r.bytes())
	c.Principals = r.names()
	c.ValidAfter, c.ValidBefore = validAfter(r.uint64()), validBefore(r.uint64())
	if legacy {
		c.readConstraints(r)
	} else {
		c.Critical, c.Extensions = r.options(), r.options()
	}
	r.bytes() // reserved
	authority := r.bytes()
	signed := c.Blob[:len(c.Blob)-len(r.rest)]
	signature := r.bytes()
	switch {
	case r.err != nil:
		return fmt.Errorf("%w: %w", ErrCertificate, r.err)
	case len(r.rest) > 0:
		return fmt.Errorf("%w: %w", ErrCertificate, errTrailing)
	case kind != ssh.UserCert && kind != ssh.HostCert:
		return fmt.Errorf("%w: it is neither a user's nor a host's", ErrCertificate)
	}
	c.Host = kind == ssh.HostCert
	c.Authority = fingerprint(authority)
	return verify(authority, signed, signature)
}

// readKey takes the fields of the plain key and puts them under its own name.
func (c *Certificate) readKey(r *certReader, plain *keyType) {
	c.KeyBlob = appendString(nil, []byte(plain.name))
	for range plain.fields {
		c.KeyBlob = appendString(c.KeyBlob, r.bytes())
	}
	if r.err == nil {
		r.err = CheckSound(c.KeyBlob)
	}
}

// readConstraints takes the one list of a v00 certificate, and what OpenSSH 6.9 has
// after it instead of before the key, the nonce.
func (c *Certificate) readConstraints(r *certReader) {
	c.Critical, c.Extensions = r.options(), map[string][]byte{}
	for name, value := range c.Critical {
		if _, permits := permissions[name]; permits {
			c.Extensions[name] = value
			delete(c.Critical, name)
		}
	}
	r.bytes()
}

// names reads a string of strings.
func (r *certReader) names() []string {
	inner := certReader{rest: r.bytes(), err: r.err}
	var names []string
	for len(inner.rest) > 0 && inner.err == nil {
		names = append(names, string(inner.bytes()))
	}
	r.err = inner.err
	return names
}

// options reads a string of names and values, each name at most once.
func (r *certReader) options() map[string][]byte {
	inner := certReader{rest: r.bytes(), err: r.err}
	options := map[string][]byte{}
	for len(inner.rest) > 0 && inner.err == nil {
		name, value := string(inner.bytes()), inner.bytes()
		if _, twice := options[name]; twice && inner.err == nil {
			inner.err = errField
		}
		options[name] = value
	}
	r.err = inner.err
	return options
}

// lastTime is the last one that YYYYMMDDHHMMSS can name in any zone.
var lastTime = time.Date(9999, 12, 30, 0, 0, 0, 0, time.UTC)

// validBefore is the end of a validity; the zero time for none (PROTOCOL.certkeys: all
// bits set).
func validBefore(seconds uint64) time.Time {
	if seconds == math.MaxUint64 {
		return time.Time{}
	}
	return time.Unix(int64(min(seconds, uint64(lastTime.Unix()))), 0).UTC()
}

// validAfter is its begin; the zero time for none.
func validAfter(seconds uint64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(int64(min(seconds, uint64(lastTime.Unix()))), 0).UTC()
}

// verify checks the signature of a certificate by the key that it names.
func verify(authority, signed, signature []byte) error {
	if name, _, err := cutString(authority); err != nil || IsCertificate(string(name)) {
		return fmt.Errorf("%w: its authority is no plain key", ErrCertificate)
	}
	if err := CheckSound(authority); err != nil {
		return fmt.Errorf("%w: its authority's key: %w", ErrCertificate, err)
	}
	key, err := ssh.ParsePublicKey(authority)
	if err != nil {
		return fmt.Errorf("%w: its authority's key cannot be read", ErrCertificate)
	}
	var s ssh.Signature
	if err := ssh.Unmarshal(signature, &s); err != nil {
		return fmt.Errorf("%w: its signature cannot be read", ErrCertificate)
	}
	if err := key.Verify(signed, &s); err != nil {
		return ErrCertificateSignature
	}
	return nil
}
