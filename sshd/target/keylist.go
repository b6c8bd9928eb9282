package target

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

var (
	errRevoked = errors.New("the key, or the authority of its certificate, is listed in RevokedKeys")
	errKRL     = errors.New("a key revocation list in binary form is not read by this server, only by sshd")
)

// notRevoked refuses a key that RevokedKeys lists, and every key where the list cannot be read.
func (p *policy) notRevoked(key ssh.PublicKey) error {
	if !p.sets("revokedkeys") {
		return nil
	}
	mine := [][]byte{plainKey(key).Marshal()}
	if cert, certified := key.(*ssh.Certificate); certified {
		mine = append(mine, cert.SignatureKey.Marshal())
	}
	revoked, err := listsKey(p.path(p.value("revokedkeys")), func(listed ssh.PublicKey) bool {
		return slices.ContainsFunc(mine, func(own []byte) bool { return bytes.Equal(own, plainKey(listed).Marshal()) })
	})
	if err == nil && revoked {
		err = errRevoked
	}
	return err
}

// plainKey is the key that a certificate is about, or else the key itself.
func plainKey(key ssh.PublicKey) ssh.PublicKey {
	if cert, certified := key.(*ssh.Certificate); certified {
		return cert.Key
	}
	return key
}

// checkRevoked refuses a configuration with a list that this server cannot read. One that is not there yet can still come.
func checkRevoked(root, file string) error {
	_, err := listsKey(filepath.Join("/", root, file), func(ssh.PublicKey) bool { return false })
	if errors.Is(err, errKRL) {
		return err
	}
	return nil
}

// listsKey looks through a file with a public key on each line, "type base64 [comment]", for one that matches. As in sshd, a line
// that is neither that nor a comment is an error, unless the key was found before it.
func listsKey(path string, matches func(ssh.PublicKey) bool) (bool, error) {
	data, err := readRegular(path, maxKeysFile)
	if err != nil {
		return false, err
	}
	if bytes.HasPrefix(data, []byte("SSHKRL\n\x00")) {
		return false, fmt.Errorf("read %s: %w", path, errKRL)
	}
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		key, err := publicKeyOf(fields)
		if err != nil {
			return false, fmt.Errorf("%s:%d: %w", path, number, err)
		}
		if matches(key) {
			return true, nil
		}
	}
	return false, nil
}

var errNoPublicKey = errors.New("not a public key")

func publicKeyOf(fields []string) (ssh.PublicKey, error) {
	if len(fields) < 2 {
		return nil, errNoPublicKey
	}
	blob, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return nil, errNoPublicKey
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil || !isLabelOf(fields[0], key) {
		return nil, errNoPublicKey
	}
	return key, nil
}

// isLabelOf tells whether a key's line may begin with the label: its type, and for RSA a signature algorithm too.
func isLabelOf(label string, key ssh.PublicKey) bool {
	return label == key.Type() || key.Type() == ssh.KeyAlgoRSA && strings.HasPrefix(label, "rsa-sha2-")
}
