package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// replySlack is how much longer than the asking itself its reply may take.
const replySlack = 2 * time.Second

// longest bounds a question without a deadline of its own.
const longest = 30 * time.Second

// Remote has another process touch the network. It keeps the connections to it
// for the next question until Rest.
type Remote struct {
	// ways lead to such a process, the best confined first.
	ways []way
	log  *slog.Logger

	mu     sync.Mutex
	idle   []*net.UnixConn
	warned bool // that a better way leads nowhere
}

// way starts a process, or finds one, and connects to it.
type way func(ctx context.Context) (*net.UnixConn, error)

// Fetch is Side's.
func (r *Remote) Fetch(ctx context.Context, from Endpoint) metadata.Binding {
	got, files, err := r.ask(ctx, request{Fetch: &from})
	closeAll(files)
	switch {
	case err != nil:
		return unknownAt(err)
	case got.Binding == nil:
		return unknownAt(errNoReply)
	}
	if err := got.Binding.Validate(); err != nil {
		return unknownAt(err)
	}
	return *got.Binding
}

// Ask is Side's.
func (r *Remote) Ask(ctx context.Context, q sshd.Question, persist bool) sshd.Answer {
	got, files, err := r.ask(ctx, request{Ask: &q, Persist: persist})
	closeAll(files)
	if err == nil && got.Answer == nil {
		err = errNoReply
	}
	if err == nil {
		err = got.Answer.Validate()
	}
	if err != nil {
		return sshd.Answer{Key: sshd.Unknown, Reason: err.Error()}
	}
	return *got.Answer
}

// Loopback is Side's.
func (r *Remote) Loopback(ctx context.Context) (net.Conn, *os.File, error) {
	_, files, err := r.ask(ctx, request{Loopback: true})
	if err != nil {
		closeAll(files)
		return nil, nil, err
	}
	return pair(files)
}

// Rest is Side's: the processes that were asked end.
func (r *Remote) Rest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range r.idle {
		_ = conn.Close()
	}
	r.idle = nil
}

// errNoReply is a reply without what was asked for.
var errNoReply = errors.New("the network process replied with something else")

func unknownAt(err error) metadata.Binding {
	return metadata.Binding{State: metadata.Unknown, Reason: err.Error(), At: time.Now().UTC()}
}

// attempts is how often a question is asked of a process that dies over it.
const attempts = 2

// ask sends a request over a connection from before, else over a new one. A
// process that died is followed by another, of the same way.
func (r *Remote) ask(ctx context.Context, what request) (got reply, files []*os.File, err error) {
	for range attempts {
		conn := r.take()
		if conn == nil {
			if conn, err = r.connect(ctx); err != nil {
				break
			}
		}
		if got, files, err = r.over(ctx, conn, what); err == nil {
			return got, files, nil
		}
		closeAll(files)
		var refused *refusedError
		if errors.As(err, &refused) || ctx.Err() != nil {
			break
		}
		r.Rest() // others that rested may be as dead
	}
	return reply{}, nil, fmt.Errorf("ask the network process: %w", err)
}

// connect takes the first way at whose end a process greets. One that leads
// nowhere, such as a unit that cannot be started here, must not be the end of
// it. But a process that has greeted, and then dies over what it reads, is never
// followed by one that is less confined: it is what the reading could be after.
func (r *Remote) connect(ctx context.Context) (*net.UnixConn, error) {
	var faults []error
	for _, connect := range r.ways {
		conn, err := connect(ctx)
		if err == nil {
			err = awaitGreeting(ctx, conn)
		}
		if err == nil {
			r.warn(errors.Join(faults...))
			return conn, nil
		}
		if !errors.Is(err, fs.ErrNotExist) { // else there is no such way here
			faults = append(faults, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(append(faults, errNoWay)...)
}

// warn says once that a way which is there could not be taken.
func (r *Remote) warn(fault error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if fault != nil && !r.warned {
		r.log.Warn("the network process of systemd cannot be had, a child of this one without its confinement asks instead; see systemctl status 'latchkey-network@*'",
			slog.Any("error", fault))
		r.warned = true
	}
}

// errNoWay is what every way came to.
var errNoWay = errors.New("no network process could be started")

// awaitGreeting waits for the process to say that it is there.
func awaitGreeting(ctx context.Context, conn *net.UnixConn) error {
	_ = conn.SetDeadline(time.Now().Add(longest))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	files, err := receive(conn, &reply{})
	closeAll(files)
	if err != nil {
		_ = conn.Close()
		return fmt.Errorf("no network process answers: %w", err)
	}
	return nil
}

// take takes an idle connection, nil when there is none.
func (r *Remote) take() *net.UnixConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.idle) == 0 {
		return nil
	}
	last := len(r.idle) - 1
	conn := r.idle[last]
	r.idle = slices.Delete(r.idle, last, last+1)
	return conn
}

// over asks over one connection. One on which anything went wrong is not used
// again.
func (r *Remote) over(ctx context.Context, conn *net.UnixConn, what request) (reply, []*os.File, error) {
	got, files, err := exchange(ctx, conn, what)
	if err != nil {
		_ = conn.Close()
		return got, files, err
	}
	r.mu.Lock()
	r.idle = append(r.idle, conn)
	r.mu.Unlock()
	if got.Error != "" {
		return got, files, &refusedError{got.Error}
	}
	return got, files, nil
}

// refusedError is what the process said that could not do what was asked.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return fmt.Sprintf("%+.200q", e.text) }

// exchange sends a request and waits for the reply, never longer than ctx.
func exchange(ctx context.Context, conn *net.UnixConn, what request) (reply, []*os.File, error) {
	deadline, limited := ctx.Deadline()
	if !limited {
		deadline = time.Now().Add(longest)
	}
	what.Within = max(time.Until(deadline), time.Millisecond)
	_ = conn.SetDeadline(deadline.Add(replySlack))
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			_ = conn.SetDeadline(time.Unix(1, 0))
		}
	})
	defer stop()
	if err := send(conn, what); err != nil {
		return reply{}, nil, err
	}
	var got reply
	files, err := receive(conn, &got)
	return got, files, err
}
