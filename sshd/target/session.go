package target

import (
	"context"
	"fmt"
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

// serveSession serves one session channel.
func (c *connection) serveSession(l *login, conn *ssh.ServerConn, channel ssh.NewChannel, ctx glssh.Context) {
	defer c.sessions.Add(-1)
	if c.sessions.Add(1) > c.maxSessions() {
		_ = channel.Reject(ssh.ResourceShortage, "too many sessions")
		return
	}
	open, end := context.WithCancel(ctx)
	defer end()
	server := &glssh.Server{Handler: c.runSession, SessionRequestCallback: c.countSession}
	glssh.DefaultSessionHandler(server, conn, filteredChannel{channel}, sessionContext{ctx, open})
}

func (c *connection) maxSessions() int64 {
	p, err := c.policyFor("")
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
func (c *connection) countSession(glssh.Session, string) bool {
	return c.server.track(func() {})
}

// runSession runs what the user may run and reports how it ended. The library would report success where nothing is.
func (c *connection) runSession(channel glssh.Session) {
	defer c.server.untrack(func() {})
	status := 255
	defer func() { _ = channel.Exit(status) }()
	defer c.panicked()
	session := c.sessionOf(c.loggedIn(), channel)
	status = c.server.options.run(channel.Context(), session)
}

func (c *connection) sessionOf(l *login, channel glssh.Session) *Session {
	session := &Session{
		User: l.user, Method: l.proof.method, Command: channel.RawCommand(), Home: l.policy.home,
		Remote: channel.RemoteAddr(), Local: channel.LocalAddr(),
		Stdin: channel, Stdout: channel, Stderr: channel.Stderr(),
	}
	if n := len(l.proof.keys); n > 0 {
		session.Fingerprint = l.proof.keys[n-1]
	}
	if command, forced := l.forcedCommand(); forced {
		session.Original, session.Command, session.Forced = session.Command, command, true
	}
	return session
}

// NotFound runs nothing, and says so as a shell does.
func NotFound(_ context.Context, s *Session) int {
	fmt.Fprintf(s.Stderr, "%s: command not found\n", s.Command)
	return 127
}
