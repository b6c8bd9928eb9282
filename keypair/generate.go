package keypair

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// The types of key that Generate makes.
const (
	RSA     = "rsa"     // 2048 bits, as ECS makes them
	ECDSA   = "ecdsa"   // nistp256
	Ed25519 = "ed25519" // as OpenSSH makes them
)

// rsaBits is the size of ECS's own key pairs.
const rsaBits = 2048

// Generate makes a key of a type, in letters of either case, RSA where it is empty; any
// other type is an ErrKeyType. The private half is PEM without a password, as every OpenSSH reads it: "RSA PRIVATE KEY"
// (PKCS #1, RFC 8017), "EC PRIVATE KEY" (SEC 1, RFC 5915) or "OPENSSH PRIVATE KEY"
// (PROTOCOL.key). Who has handed it out clears it.
func Generate(keyType string) (public PublicKey, private []byte, err error) {
	switch strings.ToLower(keyType) {
	case "", RSA:
		return generateRSA()
	case ECDSA:
		return generateECDSA()
	case Ed25519:
		return generateEd25519()
	}
	return PublicKey{}, nil, fmt.Errorf("%w: want %s, %s or %s", ErrKeyType, RSA, ECDSA, Ed25519)
}

func generateRSA() (PublicKey, []byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return PublicKey{}, nil, fmt.Errorf("make an RSA key: %w", err)
	}
	return halves(&key.PublicKey, &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

func generateECDSA() (PublicKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return PublicKey{}, nil, fmt.Errorf("make an ECDSA key: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return PublicKey{}, nil, fmt.Errorf("encode an ECDSA key: %w", err)
	}
	return halves(&key.PublicKey, &pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

func generateEd25519() (PublicKey, []byte, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return PublicKey{}, nil, fmt.Errorf("make an Ed25519 key: %w", err)
	}
	defer clear(private)
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return PublicKey{}, nil, fmt.Errorf("encode an Ed25519 key: %w", err)
	}
	return halves(public, block)
}

// halves encodes both halves of a key, and clears what the private one was encoded from.
func halves(public any, private *pem.Block) (PublicKey, []byte, error) {
	defer clear(private.Bytes)
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return PublicKey{}, nil, fmt.Errorf("encode a public key: %w", err)
	}
	return PublicKey{Type: key.Type(), Blob: key.Marshal()}, pem.EncodeToMemory(private), nil
}
