package target

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
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

	context  glssh.Context // the library's
	deadline *time.Timer   // LoginGraceTime
	left     sync.Once     // it is no longer on its way to a login

	gone   chan struct{} // closed as soon as the connection is
	ending sync.Once
	cause  string // why the server cut it; to be read when gone is closed
	failed error  // of the handshake

	watch  watch
	silent atomic.Bool // by a fault: nothing is said any more, and nothing heard
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
		c.server.startups.leave(c.source)
	})
}

// cut ends the connection.
func (c *connection) cut(cause string) {
	c.end(cause)
	_ = c.net.Close()
}

// end is called when the connection is at its end, by whoever sees it first. Only the server's own causes have a name.
func (c *connection) end(cause string) {
	c.ending.Do(func() {
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

// reason is why the connection ended, as far as that is known.
func (c *connection) reason() string {
	if c.cause != "" {
		return c.cause
	}
	err := c.failed
	if conn := c.loggedInConn(); conn != nil {
		err = conn.Wait()
	}
	var refused *ssh.ServerAuthError
	if errors.As(err, &refused) {
		err = io.EOF
		if n := len(refused.Errors); n > 0 && strings.Contains(refused.Errors[n-1].Error(), "too many authentication") {
			err = refused.Errors[n-1]
		}
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("idle: nothing was sent or received for %s", c.server.options.idle)
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the client left"
	}
	return strings.TrimPrefix(err.Error(), "ssh: ")
}

// loggedInConn is the finished connection; nil before somebody has logged in.
func (c *connection) loggedInConn() *ssh.ServerConn {
	if c.context == nil {
		return nil
	}
	conn, _ := c.context.Value(glssh.ContextKeyConn).(*ssh.ServerConn)
	return conn
}

// wire is the connection as the library has it: it knows when the client was last heard, and faults strike what is written.
type wire struct {
	net.Conn
	connection *connection
	written    written
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	for err == nil && w.connection.silent.Load() {
		n, err = w.Conn.Read(p)
	}
	if n > 0 {
		w.connection.heard.Store(int64(time.Since(w.connection.began)))
	}
	if err != nil {
		w.connection.end("")
	}
	return n, err
}

func (w *wire) Write(p []byte) (int, error) {
	if len(w.connection.faults) > 0 {
		return w.writeFaulty(p)
	}
	return w.Conn.Write(p)
}
