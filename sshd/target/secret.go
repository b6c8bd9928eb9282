package target

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/authkeys"
)

// passwordGiven judges a password.
func (c *connection) passwordGiven(meta ssh.ConnMetadata, secret []byte, so *progress) (*ssh.Permissions, error) {
	attempt := Event{User: meta.User(), Method: password}
	return c.try(meta, attempt, so, func(*policy) (proof, error) {
		if !c.server.passwordIs(meta.User(), secret) {
			return proof{}, errors.New("wrong password")
		}
		return proof{method: password}, nil
	})
}

func (s *Server) passwordIs(user string, secret []byte) bool {
	return sameSecret(string(secret), s.options.users[user].Password)
}

// sameSecret compares in a time that tells nothing about the secret, nor whether there is one: an empty one is none.
func sameSecret(given, secret string) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && secret != ""
}

type offerKey struct{}

// keyOffered judges a key that the client says it has. Nothing is proved by that: the Permissions
// only carry, to keyProved, the step that the key would be part of.
func (c *connection) keyOffered(meta ssh.ConnMetadata, key ssh.PublicKey, so *progress) (*ssh.Permissions, error) {
	attempt := c.keyAttempt(meta, key)
	p, err := c.policyOf(meta)
	if err != nil {
		return c.fail(attempt, err)
	}
	if err := p.admits(publicKey, so.orBegin(p).left); err != nil {
		return c.fail(attempt, err)
	}
	granted, err := p.useOf(key, attempt, so)
	if err != nil {
		return c.fail(attempt, err)
	}
	c.log(attempt, Postponed, nil)
	return offer(granted, so), nil
}

// offer also waives, where the line does, that a security key's user has touched it.
func offer(granted *authkeys.Options, so *progress) *ssh.Permissions {
	permissions := &ssh.Permissions{ExtraData: map[any]any{offerKey{}: so}}
	if granted.NoTouchRequired {
		permissions.Extensions = map[string]string{"no-touch-required": ""}
	}
	return permissions
}

// keyProved is called once the client's signature has been verified. The files are asked again, as sshd does: a
// key that was taken away since the query does not log in.
func (c *connection) keyProved(meta ssh.ConnMetadata, key ssh.PublicKey, offered *ssh.Permissions, algorithm string) (*ssh.Permissions, error) {
	so, ok := offered.ExtraData[offerKey{}].(*progress)
	if !ok {
		return nil, errDenied
	}
	attempt := c.keyAttempt(meta, key)
	return c.try(meta, attempt, so, func(p *policy) (proof, error) {
		if err := p.acceptsSignature(key, algorithm); err != nil {
			return proof{}, err
		}
		granted, err := p.useOf(key, attempt, so)
		if err != nil {
			return proof{}, err
		}
		return proof{method: publicKey, keys: []string{attempt.Fingerprint}, lines: []*authkeys.Options{granted}}, nil
	})
}

// useOf is what the key is granted as the next step after so. One key serves for one step, with a certificate or without.
func (p *policy) useOf(key ssh.PublicKey, attempt Event, so *progress) (*authkeys.Options, error) {
	if so != nil && slices.Contains(so.proof.keys, attempt.Fingerprint) {
		return nil, errors.New("the key was used for an earlier step")
	}
	return p.authorize(key, time.Now())
}

// keyAttempt names the plain key, and the certificate that it came with.
func (*connection) keyAttempt(meta ssh.ConnMetadata, key ssh.PublicKey) Event {
	attempt := Event{User: meta.User(), Method: publicKey, Fingerprint: ssh.FingerprintSHA256(plainKey(key))}
	if cert, certified := key.(*ssh.Certificate); certified {
		attempt.Certificate = cert.KeyId
	}
	return attempt
}
