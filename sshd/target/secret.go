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

// passwordGiven judges a password, for the method it came by.
func (c *connection) passwordGiven(meta ssh.ConnMetadata, method string, secret []byte, so *progress) (*ssh.Permissions, error) {
	attempt := Event{User: meta.User(), Method: method}
	return c.try(attempt, so, func(*policy) (proof, error) {
		if !c.server.passwordIs(meta.User(), secret) {
			return proof{}, errors.New("wrong password")
		}
		return proof{method: method}, nil
	})
}

// passwordIs compares in a time that tells nothing about the password, nor whether the user has one.
func (s *Server) passwordIs(user string, secret []byte) bool {
	want := s.options.users[user].Password
	given, expected := sha256.Sum256(secret), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(given[:], expected[:]) == 1 && want != ""
}

type offerKey struct{}

// keyOffered judges a key that the client says it has. Nothing is proved by that: the Permissions
// only carry, to keyProved, the step that the key would be part of.
func (c *connection) keyOffered(meta ssh.ConnMetadata, key ssh.PublicKey, so *progress) (*ssh.Permissions, error) {
	attempt := c.keyAttempt(meta, key)
	p, err := c.policyFor(attempt.User)
	if err != nil {
		return c.fail(attempt, err)
	}
	if err := p.admits(publicKey, so.orBegin(p).left); err != nil {
		return c.fail(attempt, err)
	}
	entry, err := p.authorize(key, time.Now())
	if err != nil {
		return c.fail(attempt, err)
	}
	c.log(attempt, Postponed, nil)
	return offer(entry, so), nil
}

// offer also waives, where the line does, that a security key's user has touched it.
func offer(entry *authkeys.Entry, so *progress) *ssh.Permissions {
	permissions := &ssh.Permissions{ExtraData: map[any]any{offerKey{}: so}}
	if entry.Options.NoTouchRequired {
		permissions.Extensions = map[string]string{"no-touch-required": ""}
	}
	return permissions
}

// keyProved is called once the client's signature has been verified. The files are asked again, as sshd does: a
// key that was taken away since the query does not log in.
func (c *connection) keyProved(meta ssh.ConnMetadata, key ssh.PublicKey, offered *ssh.Permissions, _ string) (*ssh.Permissions, error) {
	so, ok := offered.ExtraData[offerKey{}].(*progress)
	if !ok {
		return nil, errDenied
	}
	attempt := c.keyAttempt(meta, key)
	return c.try(attempt, so, func(p *policy) (proof, error) {
		if so != nil && slices.Contains(so.proof.keys, attempt.Fingerprint) {
			return proof{}, errors.New("the key was used for an earlier step")
		}
		entry, err := p.authorize(key, time.Now())
		if err != nil {
			return proof{}, err
		}
		return proof{method: publicKey, keys: []string{attempt.Fingerprint}, lines: []*authkeys.Options{&entry.Options}}, nil
	})
}

func (c *connection) keyAttempt(meta ssh.ConnMetadata, key ssh.PublicKey) Event {
	return Event{User: meta.User(), Method: publicKey, Fingerprint: ssh.FingerprintSHA256(key)}
}
