package target

import (
	"errors"

	glssh "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"
)

// channelServer serves a channel of somebody who has logged in.
type channelServer = func(*connection, *login, *ssh.ServerConn, ssh.NewChannel, glssh.Context)

// answerNoMoreSessions is no-more-sessions@openssh.com (OpenSSH's PROTOCOL, section 2.2), by which a client gives up
// what somebody who takes it over could ask for.
//
// Requests and channels reach us on different ways. A session that was asked for before is still let in, since it has
// begun by the time at which the client has answered a question.
func (c *connection) answerNoMoreSessions(_ *login, conn *ssh.ServerConn, request *ssh.Request, _ glssh.Context) (bool, []byte) {
	_, _, _ = conn.SendRequest("keepalive@openssh.com", true, nil)
	c.noMoreSessions.Store(true)
	c.tell(Event{Kind: Request, Request: request.Type, Verdict: Accepted})
	return true, nil
}

// unlessNoMore ends the connection of a client that asks for a session after it has promised not to, as sshd does.
func unlessNoMore(serve channelServer) channelServer {
	return func(c *connection, l *login, conn *ssh.ServerConn, channel ssh.NewChannel, ctx glssh.Context) {
		if c.noMoreSessions.Load() {
			c.tell(Event{Kind: Request, Request: channel.ChannelType(), Verdict: Failed, Reason: "asked for after no-more-sessions@openssh.com"})
			_ = conn.Close()
			return
		}
		serve(c, l, conn, channel, ctx)
	}
}

// refuseChannel refuses a type of channel that there is none of: X11, tunnels, and what is not known. The code is sshd's.
func (c *connection) refuseChannel(_ *login, _ *ssh.ServerConn, channel ssh.NewChannel, _ glssh.Context) {
	event := Event{Kind: Request, Request: channel.ChannelType()}
	c.rejectForward(channel, event, ssh.ConnectionFailed, errors.New("no such channel here"))
}
