package ecscli

import (
	"context"
	"strings"
	"testing"

	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

// held keeps a private key where a test can see it.
type held struct{ strings.Builder }

func (*held) name() string { return "" }
func (*held) release()     {}
func (h *held) write(privateKey []byte) error {
	_, err := h.Write(privateKey)
	return err
}

func TestAPrivateKeyIsKeptAloneOrNotAtAll(t *testing.T) {
	key := map[string]string{}
	for _, keyType := range []string{keypair.RSA, keypair.ECDSA, keypair.Ed25519} {
		_, private, err := keypair.Generate(keyType)
		if err != nil {
			t.Fatal(err)
		}
		key[keyType] = string(private)
	}
	pem := key[keypair.RSA]
	header := strings.Replace(pem, "KEY-----\n", "KEY-----\nComment: \x1b]0;pwned\x07\n\n", 1)
	tests := map[string]struct{ keyType, body, want string }{
		"rsa":                 {"rsa", pem, pem},
		"ecdsa":               {"ecdsa", key["ecdsa"], key["ecdsa"]},
		"ed25519":             {"ed25519", key["ed25519"], key["ed25519"]},
		"white space":         {"rsa", "\r\n \t" + pem + " \n\n", pem},
		"lines end with CRLF": {"rsa", strings.ReplaceAll(pem, "\n", "\r\n"), pem},
		"a preamble":          {"rsa", "Host *\n" + pem, ""},
		"a preamble of ESC":   {"rsa", "\x1b[2J\n" + pem, ""},
		"a trailer":           {"rsa", pem + "\x1b[2J\nProxyCommand x\n", ""},
		"twice":               {"rsa", pem + pem, ""},
		"one that is broken":  {"rsa", "-----BEGIN RSA PRIVATE KEY-----\n\x1b\n" + pem, ""},
		"headers":             {"rsa", header, ""},
		"no key":              {"rsa", "-----BEGIN NOTE-----\nAAAA\n-----END NOTE-----\n", ""},
		"nothing":             {"rsa", "", ""},
		"of another type":     {"ed25519", pem, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var kept held
			created := &ecsclient.Created{PrivateKey: []byte(test.body)}
			_, err := keepPrivateKey(context.Background(), &kept, created, test.keyType)
			if (err == nil) != (test.want != "") || kept.String() != test.want {
				t.Errorf("err %v, kept %q", err, kept.String())
			}
		})
	}
}
