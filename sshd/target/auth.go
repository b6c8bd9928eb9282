package target

import (
	"slices"

	glssh "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"
)

// serverConfig is what the library asks for before each handshake. Without a callback for "none" it would let anybody in.
func serverConfig(ctx glssh.Context) *ssh.ServerConfig {
	c := connectionOf(ctx)
	config := &ssh.ServerConfig{
		Config:                    c.algorithms().config(),
		NoClientAuth:              true, // only so that none is asked, and refuses
		NoClientAuthCallback:      c.none,
		PreAuthConnCallback:       func(ssh.ServerPreAuthConn) { c.exchanged.Store(true) },
		BannerCallback:            c.firstAttempt,
		VerifiedPublicKeyCallback: c.signed,
		AuthLogCallback:           c.attempted,
		MaxAuthTries:              c.maxAuthTries(c.config.anybodys.authTries),
		PublicKeyAuthAlgorithms:   c.config.anybodys.signatures,
	}
	anybody, err := c.policyFor("")
	if err != nil {
		return config // nothing is offered
	}
	offered := c.callbacks(anybody.ways().first(), nil)
	config.PublicKeyCallback = offered.PublicKeyCallback
	config.PasswordCallback = offered.PasswordCallback
	config.KeyboardInteractiveCallback = offered.KeyboardInteractiveCallback
	return config
}

// firstAttempt is called before the first attempt is looked at.
func (c *connection) firstAttempt(meta ssh.ConnMetadata) string {
	c.mu.Lock()
	c.client = string(meta.ClientVersion())
	c.mu.Unlock()
	if !c.reach(AtAuth) {
		return ""
	}
	return c.banner(meta)
}

// none refuses the method of that name, always. It is the first that a client tries, and the first time
// the user is known: where a Match block gives this user other methods than those that were announced for anybody, they are
// announced now, which the protocol has no other form for than a partial success.
func (c *connection) none(meta ssh.ConnMetadata) (*ssh.Permissions, error) {
	anybody, err := c.policyFor("")
	if err != nil {
		return nil, errDenied
	}
	p, err := c.policyOf(meta)
	if err != nil {
		return nil, errDenied
	}
	offered := p.ways().first()
	if slices.Equal(anybody.ways().first(), offered) || len(offered) == 0 {
		return nil, errDenied
	}
	return nil, &ssh.PartialSuccessError{Next: c.callbacks(offered, nil)}
}

// progress is what was proved so far on the way to a login, and what is left; nil before the first proof.
type progress struct {
	left  ways
	proof proof
}

// orBegin is the progress itself, or the beginning of all ways that are open to a user.
func (so *progress) orBegin(p *policy) *progress {
	if so == nil {
		return &progress{left: p.ways()}
	}
	return so
}

// callbacks are those for the methods offered as the next step after so.
func (c *connection) callbacks(offered []string, so *progress) ssh.ServerAuthCallbacks {
	var next ssh.ServerAuthCallbacks
	if slices.Contains(offered, publicKey) {
		next.PublicKeyCallback = func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			return c.keyOffered(meta, key, so)
		}
	}
	if slices.Contains(offered, password) {
		next.PasswordCallback = func(meta ssh.ConnMetadata, secret []byte) (*ssh.Permissions, error) {
			return c.passwordGiven(meta, secret, so)
		}
	}
	if slices.Contains(offered, keyboardInteractive) {
		next.KeyboardInteractiveCallback = func(meta ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			return c.askPrompts(meta, ask, so)
		}
	}
	return c.misbehaving(next)
}

// try judges one attempt, and logs what came of it. check says what the attempt has proved.
func (c *connection) try(meta ssh.ConnMetadata, attempt Event, so *progress, check func(*policy) (proof, error)) (*ssh.Permissions, error) {
	p, err := c.policyOf(meta)
	if err != nil {
		return c.fail(attempt, err)
	}
	so = so.orBegin(p)
	if err := p.admits(attempt.Method, so.left); err != nil {
		return c.fail(attempt, err)
	}
	did, err := check(p)
	if err != nil {
		return c.fail(attempt, err)
	}
	if err := p.admitsRoot(did); err != nil {
		return c.fail(attempt, err)
	}
	if !so.proof.agreesWith(did) {
		return c.fail(attempt, errCommandsDiffer)
	}
	return c.advance(attempt, &progress{left: so.left, proof: so.proof.with(did)})
}

// advance is what follows a proof: the login, or the next method.
func (c *connection) advance(attempt Event, so *progress) (*ssh.Permissions, error) {
	left, done := so.left.after(attempt.Method)
	if !done {
		c.log(attempt, Partial, nil)
		so.left = left
		return nil, &ssh.PartialSuccessError{Next: c.callbacks(left.first(), so)}
	}
	c.log(attempt, Accepted, nil)
	return so.proof.permissions(), nil
}

// fail tells the log why, and the client nothing.
func (c *connection) fail(attempt Event, why error) (*ssh.Permissions, error) {
	c.log(attempt, Failed, why)
	return nil, &refusal{attempt: attempt, why: why}
}

type proofKey struct{}

// permissions are those of the connection that the proof lets in.
func (p proof) permissions() *ssh.Permissions {
	return &ssh.Permissions{ExtraData: map[any]any{proofKey{}: p}}
}

func (c *connection) log(attempt Event, verdict Verdict, why error) {
	attempt.Kind, attempt.Verdict = Auth, verdict
	if why != nil {
		attempt.Reason = why.Error()
	}
	c.tell(attempt)
}
