package network

import (
	"context"
	"errors"
	"fmt"
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
	// ways lead to such a process. The first that works is taken.
	ways []way

	mu   sync.Mutex
	idle []*net.UnixConn
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

// ask sends a request over a connection from before, else over each way in
// turn: one that is there but leads nowhere, such as a unit that cannot be
// started here, must not be the end of it.
func (r *Remote) ask(ctx context.Context, what request) (reply, []*os.File, error) {
	ways := r.ways
	if conn := r.take(); conn != nil {
		kept := func(context.Context) (*net.UnixConn, error) { return conn, nil }
		ways = append([]way{kept}, ways...)
	}
	var faults []error
	for _, connect := range ways {
		got, files, err := r.over(ctx, connect, what)
		if err == nil {
			return got, files, nil
		}
		closeAll(files)
		faults = append(faults, err)
		if ctx.Err() != nil {
			break
		}
	}
	return reply{}, nil, fmt.Errorf("ask the network process: %w", faults[len(faults)-1])
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

// over asks by one way. A connection on which anything went wrong is not used
// again.
func (r *Remote) over(ctx context.Context, connect way, what request) (reply, []*os.File, error) {
	conn, err := connect(ctx)
	if err != nil {
		return reply{}, nil, err
	}
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
