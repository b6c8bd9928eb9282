package ecscli

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

// keepPrivateKey stores the private key, if it is what was asked for, and returns its public half.
func keepPrivateKey(ctx context.Context, keep keeper, created *ecsclient.Created, keyType string) (ssh.PublicKey, error) {
	defer clear(created.PrivateKey)
	if ctx.Err() != nil {
		return nil, errors.New("interrupted")
	}
	text, err := pemAlone(created.PrivateKey)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, errNoPrivateKey
	}
	if kind := key.PublicKey().Type(); !strings.Contains(kind, keyType) {
		return nil, fmt.Errorf("the service made a key of type %s: it knows no --type %s (make one with ssh-keygen, and import it)", kind, keyType)
	}
	return key.PublicKey(), keep.write(text)
}

var errNoPrivateKey = errors.New("read the private key in the answer: it is no private key in PEM")

// pemAlone is the one PEM block (RFC 7468) that a text is to consist of, encoded anew: what a file or a terminal gets
// holds nothing that the service could choose but the key.
func pemAlone(text []byte) ([]byte, error) {
	text = bytes.TrimSpace(text)
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, errNoPrivateKey
	}
	defer clear(block.Bytes)
	begin := []byte("-----BEGIN " + block.Type + "-----")
	if !bytes.HasPrefix(text, begin) || bytes.Count(text, begin) > 1 || len(rest) > 0 || len(block.Headers) > 0 {
		return nil, errors.New("the answer holds more than a private key in PEM")
	}
	return pem.EncodeToMemory(block), nil
}
