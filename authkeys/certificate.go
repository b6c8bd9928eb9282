package authkeys

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Why a certificate is refused. Errors that wrap one of these say more about the case.
var (
	ErrCertificate            = errors.New("the certificate is malformed")
	ErrCertificateSignature   = errors.New("the certificate's signature is not its authority's")
	ErrHostCertificate        = errors.New("the certificate is a host's: it lets no user in")
	ErrCertificateExpired     = errors.New("the certificate has expired")
	ErrCertificateNotYet      = errors.New("the certificate is not valid yet")
	ErrCertificatePrincipal   = errors.New("the certificate does not name the logon user")
	ErrCertificateRestriction = errors.New("the certificate is bound in a way that no option of authorized_keys can express")
)

// A Certificate is an OpenSSH certificate (PROTOCOL.certkeys): a plain key, and the
// bounds within which its authority wants it used. sshd lets no such line in by itself;
// AuthorizedKey writes the plain key with the same bounds as options.
type Certificate struct {
	Type    string // the label, such as "ssh-ed25519-cert-v01@openssh.com"
	Blob    []byte // the whole certificate in wire format
	Comment string // of the line, may be empty

	KeyType string // of the plain key, such as "ssh-ed25519"
	KeyBlob []byte // the plain key in wire format, as a client offers it (RFC 4253 section 6.6)

	KeyID       string
	Serial      uint64 // 0 in a v00 certificate, which has none
	Host        bool   // it is for a host, not for a user
	Principals  []string
	ValidAfter  time.Time // the first second; zero: from ever
	ValidBefore time.Time // the first second at which it is not valid any more; zero: for ever

	// Critical are the options that have to be understood and Extensions those that
	// need not, by name. A v00 certificate has one list, all of it critical: what
	// permits something is in Extensions here, the rest in Critical.
	Critical, Extensions map[string][]byte

	Authority string // fingerprint of the key that signed it, "SHA256:…"
}

// Types of certificates. The legacy v00 format is that of OpenSSH 5.4 to 6.9, which had
// it for RSA and DSA alone.
const (
	suffixV01 = "-cert-v01@openssh.com"
	suffixV00 = "-cert-v00@openssh.com"
)

// certificateTypes maps each label of a certificate to the type of its plain key.
var certificateTypes = map[string]*keyType{
	"ssh-rsa" + suffixV01:                &typeRSA,
	"ssh-dss" + suffixV01:                &typeDSA,
	"ecdsa-sha2-nistp256" + suffixV01:    &typeP256,
	"ecdsa-sha2-nistp384" + suffixV01:    &typeP384,
	"ecdsa-sha2-nistp521" + suffixV01:    &typeP521,
	"ssh-ed25519" + suffixV01:            &typeEd25519,
	"sk-ssh-ed25519" + suffixV01:         &typeEd25519SK,
	"sk-ecdsa-sha2-nistp256" + suffixV01: &typeP256SK,
	"ssh-rsa" + suffixV00:                &typeRSA,
	"ssh-dss" + suffixV00:                &typeDSA,
}

// IsCertificate tells whether a label stands for a certificate, known or not.
func IsCertificate(label string) bool { return strings.Contains(label, "-cert-v") }

// ParseCertificate reads a certificate as it stands in a -cert.pub file: "type base64
// [comment]" on one line, which a newline may end. It has to be whole, of the type that
// the line says, and signed by the authority it names; whether that one is to be trusted
// is for whoever binds the certificate. Errors wrap ErrCertificate or
// ErrCertificateSignature, and never quote the line.
func ParseCertificate(line string) (*Certificate, error) {
	line = strings.TrimRight(strings.TrimSuffix(line, "\n"), "\r")
	if !utf8.ValidString(line) || strings.ContainsFunc(line, isControl) {
		return nil, fmt.Errorf("%w: not one line of text", ErrCertificate)
	}
	label, rest, _ := cutField(strings.TrimLeft(line, blanks))
	encoded, comment, _ := cutField(rest)
	plain, known := certificateTypes[label]
	if !known {
		return nil, fmt.Errorf("%w: its type is none that OpenSSH has", ErrCertificate)
	}
	blob, err := decodeBase64(encoded)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	c := &Certificate{Type: label, Blob: blob, Comment: comment, KeyType: plain.name}
	if err := c.read(plain); err != nil {
		return nil, err
	}
	return c, nil
}

// Fingerprint is that of the plain key, as ssh-keygen -l shows it of a certificate.
func (c *Certificate) Fingerprint() string { return fingerprint(c.KeyBlob) }

func fingerprint(blob []byte) string {
	sum := sha256.Sum256(blob)
	return fingerprintPrefix + base64.RawStdEncoding.EncodeToString(sum[:])
}

// Check tells why nobody will ever be let in with the certificate from now on: it is a
// host's, it has expired, or it is bound in a way that cannot be kept. The error wraps
// ErrHostCertificate, ErrCertificateExpired or ErrCertificateRestriction.
func (c *Certificate) Check(now time.Time) error {
	if c.Host {
		return ErrHostCertificate
	}
	if !c.ValidBefore.IsZero() && !now.Before(c.ValidBefore) {
		return fmt.Errorf("%w, on %s", ErrCertificateExpired, c.ValidBefore.Format(time.RFC3339))
	}
	_, err := c.bounds(time.UTC)
	return err
}

// Usable tells why user cannot be let in with the certificate now: what Check finds, or
// an error that wraps ErrCertificateNotYet or ErrCertificatePrincipal. A certificate
// without principals is for any user (PROTOCOL.certkeys, "valid principals").
func (c *Certificate) Usable(user string, now time.Time) error {
	if err := c.Check(now); err != nil {
		return err
	}
	if now.Before(c.ValidAfter) {
		return fmt.Errorf("%w, only from %s on", ErrCertificateNotYet, c.ValidAfter.Format(time.RFC3339))
	}
	if !c.names(user) {
		return fmt.Errorf("%w %s, only %s", ErrCertificatePrincipal, user, strings.Join(printables(c.Principals), ", "))
	}
	return nil
}

func (c *Certificate) names(user string) bool {
	for _, principal := range c.Principals {
		if principal == user {
			return true
		}
	}
	return len(c.Principals) == 0
}

// printables are names from outside in a form that a terminal shows as it is.
func printables(names []string) []string {
	var out []string
	for _, name := range names {
		quoted := fmt.Sprintf("%+q", name)
		out = append(out, quoted[1:len(quoted)-1])
	}
	return out
}

// AuthorizedKey is the certificate's plain key as one line of user's authorized_keys,
// without a newline: what it grants is nothing that the certificate does not grant, and
// WithManaged takes it. The error is that of Usable. zone is the zone of sshd's local
// time, in which sshd reads times before OpenSSH 9.1.
func (c *Certificate) AuthorizedKey(user string, now time.Time, zone *time.Location) (string, error) {
	if err := c.Usable(user, now); err != nil {
		return "", err
	}
	options, err := c.bounds(zone)
	if err != nil {
		return "", err
	}
	key := Entry{Type: c.KeyType, Blob: c.KeyBlob, Comment: c.Comment}
	return options + " " + strings.TrimSuffix(key.bareLine(), "\n"), nil
}
