package target

import (
	"context"
	"io"
	"net"
	"strings"

	glssh "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"
)

// Session is one command, shell or subsystem of a user who has logged in. A [Handler] gets it once the client has been
// told that it runs; everything that has to be asked for before that (terminal, environment, agent) is settled then.
type Session struct {
	User        string
	Method      string // the last one of the login, as in RFC 4252
	Fingerprint string // of the key that was proved, SHA256:…; of several the last; "" for none

	Request   string // what the client asked for: "exec", "shell" or "subsystem" (RFC 4254 section 6.5)
	Command   string // what to run; "" for a shell
	Original  string // what the client asked for, where Command was put in its place; a subsystem's is its command
	Forced    bool   // Command is that of the key's line or of ForceCommand
	Subsystem string // name of the subsystem, also where Command was put in its place

	Home  string // "" where the user has no account
	Shell string // path of the account's shell; /bin/sh where the user has no account

	// Env is the whole environment, NAME=value, each name once: sshd's own variables, those of the client that AcceptEnv
	// lets in, environment= of the key's line and ~/.ssh/environment as PermitUserEnvironment says, and SetEnv.
	Env []string

	PTY *PTY // nil where the client has no terminal, or may not have one

	// Windows has the size of the client's terminal after each change; of several that were not fetched, the last.
	Windows <-chan Window

	// Signals has the signals that the client sends, without SIG (RFC 4254 section 6.9), and "BREAK" for a break (RFC 4335
	// section 3). The client is told that one which finds sixteen others waiting was not delivered. As in sshd, a forced
	// command and a subsystem get none.
	Signals <-chan string

	// Agent is the path of a socket at which the client's agent answers as long as the session lasts; "" where the client
	// did not ask for that, or may not. It is SSH_AUTH_SOCK of Env too.
	Agent string

	Remote, Local net.Addr

	// Stdin ends when the client has sent everything. With a PTY, Stdout and Stderr are one stream in which each line
	// ends in CR LF, whether or not it was written so.
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	// ExitSignal, when a Handler sets it, is reported in place of the exit status.
	ExitSignal *ExitSignal
}

// Getenv is the value of a variable of Env, "" when it is not there.
func (s *Session) Getenv(name string) string {
	for _, variable := range s.Env {
		if value, ok := strings.CutPrefix(variable, name+"="); ok {
			return value
		}
	}
	return ""
}

// event is an event about the session.
func (s *Session) event(kind Kind) Event {
	return Event{Kind: kind, Request: s.Request, Command: s.Command, Original: s.Original, Subsystem: s.Subsystem}
}

// serveSession serves one session channel (RFC 4254 section 6.1). One that is too many is refused in sshd's words.
func (c *connection) serveSession(l *login, conn *ssh.ServerConn, offer ssh.NewChannel, ctx glssh.Context) {
	slot, ok := c.takeSlot(l)
	if !ok {
		c.tell(Event{Kind: Request, Request: "session", Verdict: Failed, Reason: "more sessions than MaxSessions"})
		_ = offer.Reject(ssh.ConnectionFailed, "open failed")
		return
	}
	defer slot.free()
	if !c.reach(AtSession) {
		return
	}
	channel, requests, err := offer.Accept()
	if err != nil {
		return
	}
	defer channel.Close()
	open, end := context.WithCancel(ctx)
	s := newSessionChannel(c, l, conn, channel, slot)
	defer s.release()
	defer end()
	s.serve(open, requests)
}

// takeSlot counts a session, unless there are MaxSessions of them.
func (c *connection) takeSlot(l *login) (*slot, bool) {
	if c.sessions.Add(1) > int64(l.policy.number("maxsessions", 0)) {
		c.sessions.Add(-1)
		return nil, false
	}
	return &slot{connection: c}, true
}
