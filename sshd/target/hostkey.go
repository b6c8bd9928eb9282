package target

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/crypto/ssh"
)

// newHostKey makes an ed25519 key that is gone with the process.
func newHostKey() (ssh.Signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(private)
}

// readHostKeys reads private keys in OpenSSH's or PEM's format, without passphrase.
func readHostKeys(root string, files []string) ([]ssh.Signer, error) {
	var keys []ssh.Signer
	for _, name := range files {
		file := filepath.Join(root, name)
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read host key: %w", err)
		}
		key, err := ssh.ParsePrivateKey(data)
		if err != nil {
			return nil, fmt.Errorf("read host key %s: %w", file, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// firstOfEachType is what is used of the host keys: as in sshd, a second one of a type is not.
func firstOfEachType(keys []ssh.Signer) []ssh.Signer {
	var first []ssh.Signer
	for _, key := range keys {
		kind := key.PublicKey().Type()
		if !slices.ContainsFunc(first, func(k ssh.Signer) bool { return k.PublicKey().Type() == kind }) {
			first = append(first, key)
		}
	}
	return first
}
