package target

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net"

	glssh "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"
)

// library is the library's server for this connection alone: what it finds out during the handshake it does not tell
// otherwise to whom it belongs.
func (c *connection) library() *glssh.Server {
	shared := c.server.ssh
	return &glssh.Server{
		Version:     shared.Version,
		HostSigners: c.hostKeys(),
		ConnCallback: func(ctx glssh.Context, conn net.Conn) net.Conn {
			ctx.SetValue(contextKey{}, c)
			c.context = ctx
			return conn
		},
		ServerConfigCallback:     serverConfig,
		ConnectionFailedCallback: func(_ net.Conn, err error) { c.failed = err },
		ChannelHandlers:          shared.ChannelHandlers,
		RequestHandlers:          shared.RequestHandlers,
		SubsystemHandlers:        shared.SubsystemHandlers,
	}
}

// hostKeys are those for this connection. Without any, where one could not be made, the handshake fails.
func (c *connection) hostKeys() []glssh.Signer {
	var key ssh.Signer
	var err error
	switch {
	case c.fault(faultChangeHostKey):
		key, err = newHostKey()
	case c.fault(faultOldAlgorithms):
		key, err = c.server.agedHostKey()
	default:
		return c.config.hostKeys
	}
	if err != nil {
		c.failed = err
		return nil
	}
	return []glssh.Signer{key}
}

// algorithms are those for this connection.
func (c *connection) algorithms() algorithms {
	if c.has(faultOldAlgorithms) {
		return agedAlgorithms
	}
	return c.config.algorithms
}

// newAgedHostKey is an RSA key that signs with SHA-1 alone: one of keys, else one that is gone with the process.
func newAgedHostKey(keys []ssh.Signer) (ssh.Signer, error) {
	for _, key := range keys {
		if key.PublicKey().Type() == ssh.KeyAlgoRSA {
			return ssh.NewSignerWithAlgorithms(key.(ssh.AlgorithmSigner), agedAlgorithms.hostKeys)
		}
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("make an RSA host key: %w", err)
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, fmt.Errorf("make an RSA host key: %w", err)
	}
	return ssh.NewSignerWithAlgorithms(key.(ssh.AlgorithmSigner), agedAlgorithms.hostKeys)
}
