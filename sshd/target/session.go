package target

import (
	"context"
	"io"
	"net"

	glssh "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"
)

// Session is one command, or shell, of a user who has logged in.
type Session struct {
	User        string
	Method      string // the last one of the login, as in RFC 4252
	Fingerprint string // of the key that was proved, SHA256:…; of several the last; "" for none

	Command  string // what to run; "" for a shell
	Original string // what the client asked for, where Command was put in its place
	Forced   bool   // Command is that of the key's line or of ForceCommand

	Home           string // "" where the user has no account
	Remote, Local  net.Addr
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// serveChannel serves one session channel. The library grants whatever it is asked for on it (agent forwarding,
// any environment) and stops at requests whose receiver is not listening, so it is given only what it does right.
func (s *Server) serveChannel(server *glssh.Server, conn *ssh.ServerConn, channel ssh.NewChannel, ctx glssh.Context) {
	defer logPanic("session")
	a := ctx.Value(contextKey{}).(*authentication)
	if !s.track(func() {}) {
		return
	}
	defer s.untrack(func() {})
	defer a.sessions.Add(-1)
	if a.sessions.Add(1) > a.maxSessions() {
		_ = channel.Reject(ssh.ResourceShortage, "too many sessions")
		return
	}
	open, end := context.WithCancel(ctx)
	defer end()
	glssh.DefaultSessionHandler(server, conn, filteredChannel{channel}, sessionContext{ctx, open})
}

func (a *authentication) maxSessions() int64 {
	p, err := a.policyFor("")
	if err != nil {
		return 0
	}
	return int64(p.number("maxsessions", 0))
}

// sessionContext ends with the session's channel, where the library's own ends with the connection.
type sessionContext struct {
	glssh.Context
	open context.Context
}

func (c sessionContext) Done() <-chan struct{} { return c.open.Done() }
func (c sessionContext) Err() error            { return c.open.Err() }

// filteredChannel lets the requests for a command or a shell through, and refuses every other one:
// terminals, environment, agent and X11 forwarding, subsystems, signals, and what is not known.
type filteredChannel struct{ ssh.NewChannel }

func (c filteredChannel) Accept() (ssh.Channel, <-chan *ssh.Request, error) {
	channel, requests, err := c.NewChannel.Accept()
	if err != nil {
		return nil, nil, err
	}
	passed := make(chan *ssh.Request)
	go func() {
		defer close(passed)
		for request := range requests {
			if request.Type == "exec" || request.Type == "shell" {
				passed <- request
				continue
			}
			_ = request.Reply(false, nil)
		}
	}()
	return channel, passed, nil
}

// countSession is called before a session begins, in order; [Server.Close] waits for it from then on.
func (s *Server) countSession(glssh.Session, string) bool {
	return s.track(func() {})
}

// runSession runs what the user may run and reports how it ended. The library would report success where nothing is.
func (s *Server) runSession(channel glssh.Session) {
	defer s.untrack(func() {})
	status := 255
	defer func() { _ = channel.Exit(status) }()
	defer logPanic("session")
	if session, ok := s.sessionOf(channel); ok {
		status = s.options.Run(channel.Context(), session)
	}
}

// sessionOf describes the session. Who its user is comes from the finished connection alone; without a proof
// there is no session.
func (s *Server) sessionOf(channel glssh.Session) (Session, bool) {
	conn, ok := channel.Context().Value(glssh.ContextKeyConn).(*ssh.ServerConn)
	if !ok || conn.Permissions == nil {
		return Session{}, false
	}
	did, ok := conn.Permissions.ExtraData[proofKey{}].(proof)
	if !ok {
		return Session{}, false
	}
	a := channel.Context().Value(contextKey{}).(*authentication)
	p, err := a.policyFor(conn.User())
	if err != nil {
		return Session{}, false
	}
	session := Session{
		User: conn.User(), Method: did.method, Command: channel.RawCommand(), Home: p.home,
		Remote: conn.RemoteAddr(), Local: conn.LocalAddr(),
		Stdin: channel, Stdout: channel, Stderr: channel.Stderr(),
	}
	if n := len(did.keys); n > 0 {
		session.Fingerprint = did.keys[n-1]
	}
	session.force(p, did)
	return session, true
}

// force puts ForceCommand, else the key line's command, in the place of what was asked for.
func (s *Session) force(p *policy, did proof) {
	command, forced := p.forcedCommand()
	if !forced {
		command, forced = did.forcedCommand()
	}
	if forced {
		s.Original, s.Command, s.Forced = s.Command, command, true
	}
}
