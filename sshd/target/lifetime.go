package target

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	glssh "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"
)

// lifetime is when a connection began, what may end it, and why it did.
type lifetime struct {
	began  time.Time
	source netip.Prefix // what PerSourceMaxStartups counts it by
	heard  atomic.Int64 // when the client was last heard, in nanoseconds since it began
	said   atomic.Int64 // when something was last said to it, likewise

	context  glssh.Context // the library's
	deadline *time.Timer   // LoginGraceTime
	left     sync.Once     // it is no longer on its way to a login

	gone      chan struct{} // closed as soon as the connection is
	ending    sync.Once
	cause     string      // why the server cut it; to be read when gone is closed
	failed    error       // of the handshake
	exchanged atomic.Bool // keys, so that the client has taken the host key

	watch  watch
	silent atomic.Pointer[Fault] // the one by which nothing is said any more, and nothing heard or done
}

// begin admits the connection, unless a limit is reached. It is cut when no one has logged in within LoginGraceTime.
func (c *connection) begin() error {
	l := c.config.limits
	c.source = l.block.sourceOf(c.net.RemoteAddr())
	if err := c.server.startups.enter(l, c.source); err != nil {
		c.refuse(err)
		return err
	}
	c.deadline = time.AfterFunc(l.grace, func() {
		c.cut(fmt.Sprintf("LoginGraceTime: nobody has logged in within %s", l.grace))
	})
	c.watchIdle(c.server.options.idle)
	c.tell(Event{Kind: Connected})
	return nil
}

// refuse tells the client as much as sshd does, unless it would have to be waited for.
func (c *connection) refuse(why error) {
	c.tell(Event{Kind: Refused, Reason: why.Error()})
	if c.net.SetWriteDeadline(time.Now().Add(acceptPause)) == nil {
		_, _ = io.WriteString(c.net, dropNotice)
	}
}

// over ends the time for logging in: the user has, or the connection is gone.
func (c *connection) over() {
	c.left.Do(func() {
		c.deadline.Stop()
		c.deadline = nil
		c.server.startups.leave(c.source)
	})
}

// cut ends the connection.
func (c *connection) cut(cause string) {
	c.end(cause)
	_ = c.net.Close()
}

// close ends the connection with the server. What a client in its key exchange has sent is read to the end all the same, though not
// answered: the client may have left because of it, and the record is to say so.
func (c *connection) close() {
	c.end(causeClosed)
	half, ok := c.net.(interface{ CloseRead() error })
	if !ok || c.exchanged.Load() || c.net.SetWriteDeadline(time.Now()) != nil || half.CloseRead() != nil {
		_ = c.net.Close()
		return
	}
	time.AfterFunc(closePatience, func() { _ = c.net.Close() })
}

// closePatience is how long a client may go on sending that is to be read to the end.
const closePatience = time.Second

// end is called when the connection is at its end, by whoever sees it first. Only the server's own causes have a name; a fault
// that has struck is one, whoever could bear it no longer.
func (c *connection) end(cause string) {
	c.ending.Do(func() {
		if f := c.silent.Load(); f != nil && cause == "" {
			cause = "fault " + f.String()
		}
		c.cause = cause
		close(c.gone)
	})
}

// finish is what is left to do when the connection is gone.
func (c *connection) finish() {
	c.end("")
	c.over()
	c.watch.stop()
	if conn := c.loggedInConn(); conn != nil {
		c.loginOf(conn) // who it was, if nothing was asked for yet
	}
	c.await()
	c.tell(Event{Kind: Disconnected, Reason: c.reason()})
}

// pause waits, but not for longer than the connection lasts.
func (c *connection) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.gone:
	}
}

// maxFailureDelay is what a refusal may take before it is not delayed any further.
const maxFailureDelay = 5 * time.Second

// delayRefusal keeps the time that an attempt takes from telling what it failed for. As in sshd, the least time is doubled until it is
// more than what has passed. An attempt begins when the client was last heard; who sends on meanwhile waits longer.
func (c *connection) delayRefusal(method string, refusal error) {
	var partial *ssh.PartialSuccessError
	least := c.server.options.failureDelay
	if method == "none" || least <= 0 || errors.As(refusal, &partial) {
		return
	}
	c.pause(remainingDelay(least, time.Since(c.began)-time.Duration(c.heard.Load())))
}

func remainingDelay(least, passed time.Duration) time.Duration {
	if passed > maxFailureDelay {
		return 0
	}
	for least < passed {
		least *= 2
	}
	return least - passed
}

// causeClosed is the one cause that can come between what a client did wrong and the server's seeing it.
const causeClosed = "the server was closed"

// reason is why the connection ended, as far as that is known.
func (c *connection) reason() string {
	if c.cause != "" && c.cause != causeClosed {
		return c.cause
	}
	err := c.failed
	if conn := c.loggedInConn(); conn != nil {
		err = conn.Wait()
	}
	var refused *ssh.ServerAuthError
	switch tooMany := errors.As(err, &refused) && endsWithTooMany(refused); {
	case tooMany:
		return c.tooManyTries(c.maxAuthTries(c.config.anybodys.authTries))
	case refused == nil && !isEndOfStream(err):
		return c.whatClientDid(strings.TrimPrefix(err.Error(), "ssh: "))
	case c.cause != "":
		return c.cause
	}
	return "the client left" + c.stage()
}

// whatClientDid is what the library says of it, which for a farewell (RFC 4253 section 11.1) is its text.
func (c *connection) whatClientDid(said string) string {
	if strings.HasPrefix(said, "disconnect, reason ") {
		return "the client left" + c.stage() + ": " + said
	}
	return said
}

// stage is how far a client got that has left, where that is not past its login.
func (c *connection) stage() string {
	switch {
	case c.loggedInConn() != nil:
		return ""
	case c.exchanged.Load() && c.attempts.failures > 0:
		return fmt.Sprintf(" after the key exchange, before logging in; attempts that failed: %d", c.attempts.failures)
	case c.exchanged.Load():
		return " after the key exchange, before logging in"
	case c.heard.Load() > 0:
		return " during the key exchange"
	}
	return " before the key exchange"
}

func endsWithTooMany(refused *ssh.ServerAuthError) bool {
	n := len(refused.Errors)
	return n > 0 && strings.Contains(refused.Errors[n-1].Error(), "too many authentication")
}

// isEndOfStream tells whether an error says no more than that there is no connection any longer.
func isEndOfStream(err error) bool {
	if err == nil {
		return true
	}
	return slices.ContainsFunc([]error{
		io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE,
	}, func(end error) bool { return errors.Is(err, end) })
}

// loggedInConn is the finished connection; nil before somebody has logged in.
func (c *connection) loggedInConn() *ssh.ServerConn {
	if c.context == nil {
		return nil
	}
	conn, _ := c.context.Value(glssh.ContextKeyConn).(*ssh.ServerConn)
	return conn
}

// wire is the connection as the library has it: it knows when something was last heard or said, and faults strike what is written.
type wire struct {
	net.Conn
	connection *connection
	written    written

	identification identification
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	for err == nil && w.connection.silent.Load() != nil {
		n, err = w.Conn.Read(p)
	}
	if n > 0 {
		w.connection.heard.Store(int64(time.Since(w.connection.began)))
	}
	if err == nil && !w.identification.over {
		if err = w.identification.add(p[:n]); err != nil {
			w.connection.refuseIdentification(err)
		}
	}
	if err != nil {
		w.connection.end("")
	}
	return n, err
}

// SetDeadline is called by the library with each read and write, to say that there is no deadline.
func (*wire) SetDeadline(time.Time) error { return nil }

func (w *wire) Write(p []byte) (int, error) {
	w.connection.said.Store(int64(time.Since(w.connection.began)))
	if len(w.connection.faults) > 0 {
		return w.writeFaulty(p)
	}
	return w.Conn.Write(p)
}
