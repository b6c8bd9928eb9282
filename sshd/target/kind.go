package target

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// accepts tells whether PubkeyAcceptedAlgorithms has the algorithm.
func (p *policy) accepts(algorithm string) bool { return p.has(pubkeyList, algorithm) }

// algorithmsOf are the names under which a key can be used.
func algorithmsOf(key ssh.PublicKey) []string {
	switch key.Type() {
	case ssh.KeyAlgoRSA:
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA}
	case ssh.CertAlgoRSAv01:
		return []string{ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01, ssh.CertAlgoRSAv01}
	}
	return []string{key.Type()}
}

// acceptsKind tells why a key of this type or size may not be used by this user.
func (p *policy) acceptsKind(key ssh.PublicKey) error {
	if !slices.ContainsFunc(algorithmsOf(key), p.accepts) {
		return fmt.Errorf("no algorithm of %s is in PubkeyAcceptedAlgorithms", key.Type())
	}
	public, ok := plainKey(key).(ssh.CryptoPublicKey)
	if !ok {
		return fmt.Errorf("a %s key of no known form", key.Type())
	}
	rsaKey, isRSA := public.CryptoPublicKey().(*rsa.PublicKey)
	if !isRSA {
		return nil
	}
	least := p.number("requiredrsasize", 1024)
	if n := rsaKey.N.BitLen(); n < least {
		return fmt.Errorf("RSA key of %d bits, RequiredRSASize is %d", n, least)
	}
	return nil
}

// acceptsSignature tells why a signature by this algorithm, the plain key's, may not be used by this user.
func (p *policy) acceptsSignature(key ssh.PublicKey, algorithm string) error {
	if _, certified := key.(*ssh.Certificate); certified {
		algorithm = certificateOf(algorithm)
	}
	if !p.accepts(algorithm) {
		return fmt.Errorf("algorithm %s is not in PubkeyAcceptedAlgorithms", algorithm)
	}
	return nil
}

// isSecurityKey tells whether the key is held by a token, which says with each signature whether its user was there.
func isSecurityKey(key ssh.PublicKey) bool { return strings.HasPrefix(key.Type(), "sk-") }

var errVerifyRequired = errors.New("verify-required is not supported by this server for security keys")
