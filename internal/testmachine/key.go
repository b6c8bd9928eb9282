package testmachine

import (
	"crypto"
	"crypto/dsa" //lint:ignore SA1019 sshd must be seen to refuse such keys
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// Key is a key pair made for one test.
type Key struct {
	Signer ssh.Signer
	// Line is the authorized_keys line: type, base64 and a comment, without a
	// newline.
	Line string
	// PEM is the path of the private key as OpenSSH's client reads it, mode
	// 0600; empty for "dss", which that format as we write it lacks.
	PEM string
}

// NewKey makes a key pair. Kinds: ed25519, rsa-1024, rsa-2048, rsa-3072,
// rsa-4096, ecdsa-256, ecdsa-384, ecdsa-521, dss. A long RSA key takes a second.
func NewKey(t testing.TB, kind string) Key {
	t.Helper()
	private, err := generate(kind)
	if err != nil {
		t.Fatalf("make %s key: %v", kind, err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatalf("make %s key: %v", kind, err)
	}
	key := Key{Signer: signer, Line: authorizedLine(signer.PublicKey(), kind+"-test-key")}
	if kind != "dss" {
		key.PEM = writePEM(t, private)
	}
	return key
}

func authorizedLine(key ssh.PublicKey, comment string) string {
	line := ssh.MarshalAuthorizedKey(key) // ends in a newline
	return string(line[:len(line)-1]) + " " + comment
}

func generate(kind string) (crypto.PrivateKey, error) {
	curves := map[string]elliptic.Curve{
		"ecdsa-256": elliptic.P256(), "ecdsa-384": elliptic.P384(), "ecdsa-521": elliptic.P521(),
	}
	bits := map[string]int{"rsa-1024": 1024, "rsa-2048": 2048, "rsa-3072": 3072, "rsa-4096": 4096}
	switch {
	case kind == "ed25519":
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	case kind == "dss":
		return generateDSS()
	case curves[kind] != nil:
		return ecdsa.GenerateKey(curves[kind], rand.Reader)
	case bits[kind] != 0:
		return rsa.GenerateKey(rand.Reader, bits[kind])
	}
	return nil, fmt.Errorf("unknown kind %q", kind)
}

func generateDSS() (*dsa.PrivateKey, error) {
	private := new(dsa.PrivateKey)
	if err := dsa.GenerateParameters(&private.Parameters, rand.Reader, dsa.L1024N160); err != nil {
		return nil, err
	}
	return private, dsa.GenerateKey(private, rand.Reader)
}

func writePEM(t testing.TB, private crypto.PrivateKey) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(private, "test key")
	if err != nil {
		t.Fatalf("encode private key: %v", err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// writeHostKeys gives the machine two host keys, and makes the first, which
// sshd and clients prefer, the one that this package's logins insist on.
func (m *Machine) writeHostKeys() {
	m.t.Helper()
	for _, kind := range []string{"ed25519", "ecdsa-256"} {
		key := NewKey(m.t, kind)
		private, err := os.ReadFile(key.PEM)
		if err != nil {
			m.t.Fatal(err)
		}
		name, _, _ := strings.Cut(kind, "-")
		m.WriteFile("/etc/ssh/ssh_host_"+name+"_key", string(private), 0o600)
		m.WriteFile("/etc/ssh/ssh_host_"+name+"_key.pub", key.Line+"\n", 0o644)
		if m.HostKey == nil {
			m.HostKey = key.Signer.PublicKey()
		}
	}
}
