package target

import (
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	glssh "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// authentication is that of one connection, under the configuration in force when it began.
//
// Nothing in it is an identity. What has been proved is handed from one step to the next through the callbacks'
// own arguments, and ends in the Permissions of the finished connection; a key that was only asked about
// leaves no trace.
type authentication struct {
	server   *Server
	config   *Config
	remote   string
	conn     sshd.Connection // without its user
	deadline *time.Timer
	left     sync.Once
	sessions atomic.Int64
}

// authenticate begins one. The connection is closed when no one has logged in within LoginGraceTime.
func (s *Server) authenticate(conn net.Conn) (*authentication, error) {
	if s.starting.Add(1) > maxStarting {
		s.starting.Add(-1)
		return nil, errors.New("too many connections that have not logged in yet")
	}
	a := &authentication{server: s, config: s.config.Load(), remote: host(conn.RemoteAddr())}
	a.conn = sshd.Connection{
		Host: a.remote, Addr: a.remote,
		LAddr: host(conn.LocalAddr()), LPort: port(conn.LocalAddr()),
	}
	a.deadline = time.AfterFunc(a.config.loginGrace(), func() { _ = conn.Close() })
	return a, nil
}

// over ends the time for logging in: the user has, or the connection is gone.
func (a *authentication) over() {
	a.left.Do(func() {
		a.deadline.Stop()
		a.server.starting.Add(-1)
	})
}

type contextKey struct{}

// beginConn ties the connection's authentication to the library's context.
func (s *Server) beginConn(ctx glssh.Context, conn net.Conn) net.Conn {
	ctx.SetValue(contextKey{}, conn.(*tiedConn).auth)
	return conn
}

// serverConfig is what the library asks for before each handshake.
func serverConfig(ctx glssh.Context) *ssh.ServerConfig {
	a := ctx.Value(contextKey{}).(*authentication)
	anybody, err := a.policyFor("")
	if err != nil {
		return &ssh.ServerConfig{} // check lets no such configuration through; here it offers nothing
	}
	offered := a.callbacks(anybody.ways().first(), nil)
	return &ssh.ServerConfig{
		NoClientAuth:                true, // only so that none is asked, and refuses
		NoClientAuthCallback:        a.none,
		PublicKeyCallback:           offered.PublicKeyCallback,
		PasswordCallback:            offered.PasswordCallback,
		KeyboardInteractiveCallback: offered.KeyboardInteractiveCallback,
		VerifiedPublicKeyCallback:   a.keyProved,
		AuthLogCallback:             a.loggedIn,
		MaxAuthTries:                anybody.number("maxauthtries", 6),
		PublicKeyAuthAlgorithms:     anybody.keyAlgorithms(),
	}
}

func (a *authentication) loggedIn(_ ssh.ConnMetadata, _ string, err error) {
	if err == nil {
		a.over()
	}
}

// errDenied is all that the client's side is told of any refusal.
var errDenied = errors.New("permission denied")

// none refuses the method of that name, always. It is the first that a client tries, and the first time
// the user is known: where a Match block gives this user other methods than those that were announced for anybody, they are
// announced now, which the protocol has no other form for than a partial success.
func (a *authentication) none(meta ssh.ConnMetadata) (*ssh.Permissions, error) {
	anybody, err := a.policyFor("")
	if err != nil {
		return nil, errDenied
	}
	p, err := a.policyFor(meta.User())
	if err != nil {
		return nil, errDenied
	}
	offered := p.ways().first()
	if slices.Equal(anybody.ways().first(), offered) || len(offered) == 0 {
		return nil, errDenied
	}
	return nil, &ssh.PartialSuccessError{Next: a.callbacks(offered, nil)}
}

func (a *authentication) policyFor(user string) (*policy, error) {
	conn := a.conn
	conn.User = user
	return a.server.policyFor(a.config, conn)
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

// proof is what stands behind a session.
type proof struct {
	method string              // the last one
	keys   []string            // fingerprints of the keys that were proved
	lines  []*authkeys.Options // of the lines they are on
}

// with is the proof with another one after it.
func (p proof) with(next proof) proof {
	next.keys = append(slices.Clip(p.keys), next.keys...)
	next.lines = append(slices.Clip(p.lines), next.lines...)
	return next
}

// forcedCommand is what the keys' lines let the session run instead of what its user asks for.
func (p proof) forcedCommand() (string, bool) {
	for _, line := range p.lines {
		if line.Command != nil {
			return *line.Command, true
		}
	}
	return "", false
}

// callbacks are those for the methods offered as the next step after so.
func (a *authentication) callbacks(offered []string, so *progress) ssh.ServerAuthCallbacks {
	var next ssh.ServerAuthCallbacks
	if slices.Contains(offered, publicKey) {
		next.PublicKeyCallback = func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			return a.keyOffered(meta, key, so)
		}
	}
	if slices.Contains(offered, password) {
		next.PasswordCallback = func(meta ssh.ConnMetadata, secret []byte) (*ssh.Permissions, error) {
			return a.passwordGiven(meta, password, secret, so)
		}
	}
	if slices.Contains(offered, keyboardInteractive) {
		next.KeyboardInteractiveCallback = func(meta ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			answers, err := ask("", "", []string{"Password: "}, []bool{false})
			if err != nil || len(answers) != 1 {
				return nil, errDenied
			}
			return a.passwordGiven(meta, keyboardInteractive, []byte(answers[0]), so)
		}
	}
	return next
}

// try judges one attempt, and logs what came of it. check says what the attempt has proved.
func (a *authentication) try(attempt Attempt, so *progress, check func(*policy) (proof, error)) (*ssh.Permissions, error) {
	p, err := a.policyFor(attempt.User)
	if err != nil {
		return a.fail(attempt, err)
	}
	so = so.orBegin(p)
	if err := p.admits(attempt.Method, so.left); err != nil {
		return a.fail(attempt, err)
	}
	did, err := check(p)
	if err != nil {
		return a.fail(attempt, err)
	}
	if err := p.admitsRoot(did); err != nil {
		return a.fail(attempt, err)
	}
	return a.advance(attempt, &progress{left: so.left, proof: so.proof.with(did)})
}

// advance is what follows a proof: the login, or the next method.
func (a *authentication) advance(attempt Attempt, so *progress) (*ssh.Permissions, error) {
	left, done := so.left.after(attempt.Method)
	if !done {
		a.log(attempt, Partial, nil)
		so.left = left
		return nil, &ssh.PartialSuccessError{Next: a.callbacks(left.first(), so)}
	}
	a.log(attempt, Accepted, nil)
	return so.proof.permissions(), nil
}

// fail tells the log why, and the client nothing.
func (a *authentication) fail(attempt Attempt, why error) (*ssh.Permissions, error) {
	a.log(attempt, Failed, why)
	return nil, errDenied
}

type proofKey struct{}

// permissions are those of the connection that the proof lets in.
func (p proof) permissions() *ssh.Permissions {
	return &ssh.Permissions{ExtraData: map[any]any{proofKey{}: p}}
}

func (a *authentication) log(attempt Attempt, verdict Verdict, why error) {
	attempt.Verdict = verdict
	if why != nil {
		attempt.Reason = why.Error()
	}
	if a.server.options.Log != nil {
		a.server.options.Log(attempt)
	}
}
