package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// replySlack is how much longer than the asking itself its reply may take.
const replySlack = 2 * time.Second

// longest bounds a question without a deadline of its own.
const longest = 30 * time.Second

// watchGrace is how much longer than the endpoint waits a watch may take: for a
// token, for the instance's id, and for an endpoint that is late.
const watchGrace = 20 * time.Second

// linkLife is the age at which a process that was asked before is not asked
// again. systemd ends one after 15 minutes (RuntimeMaxSec= of its unit), which is
// not to happen in the middle of a watch.
const linkLife = 8 * time.Minute

// Remote has other processes touch the network, one for each thing that is
// asked at the same time. It keeps the connections to them for the next question
// until Rest.
type Remote struct {
	connect connect

	mu   sync.Mutex
	idle []*link
}

// connect starts a process, or has one started, and connects to it.
type connect func(ctx context.Context) (*link, error)

// link is a connection to a process.
type link struct {
	*net.UnixConn
	child *os.Process // nil where another has started it
	since time.Time   // when it was met
}

// drop ends a conversation, and a process that is ours with it. A hostile one may
// have queued a descriptor that takes long to close, so nobody waits for that.
func (l *link) drop() {
	if l.child != nil {
		_ = l.child.Kill()
	}
	go func() { _ = l.Close() }()
}

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

// Watch is Side's.
func (r *Remote) Watch(ctx context.Context, from Endpoint, etag string, timeout time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout+watchGrace)
	defer cancel()
	got, files, err := r.ask(ctx, request{Watch: &from, ETag: etag})
	closeAll(files)
	if err == nil && got.Changed == nil {
		err = errNoReply
	}
	if err != nil {
		return false, err
	}
	return *got.Changed, nil
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
	for _, l := range r.idle {
		l.drop()
	}
	r.idle = nil
}

// errNoReply is a reply without what was asked for.
var errNoReply = errors.New("the network process replied with something else")

func unknownAt(err error) metadata.Binding {
	reason := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, err.Error())
	return metadata.Binding{State: metadata.Unknown, Reason: reason[:min(len(reason), maxReason)], At: time.Now().UTC()}
}

// maxReason is how long a reason may be, in bytes.
const maxReason = 1000

// attempts is how often a question is asked of a process that dies over it.
const attempts = 2

// ask sends a request over a connection from before, else over a new one. A
// process that died is followed by another.
func (r *Remote) ask(ctx context.Context, what request) (got reply, files []*os.File, err error) {
	for range attempts {
		l := r.take()
		if l == nil {
			if l, err = r.meet(ctx); err != nil {
				break
			}
		}
		if got, files, err = r.over(ctx, l, what); err == nil {
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

// meet connects to a process and waits for it to say that it is there.
func (r *Remote) meet(ctx context.Context) (*link, error) {
	l, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	_ = l.SetDeadline(time.Now().Add(longest))
	stop := context.AfterFunc(ctx, func() { _ = l.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	files, err := receive(l.UnixConn, &reply{})
	closeAll(files)
	if err != nil {
		l.drop()
		return nil, fmt.Errorf("%w: %w", errMute, err)
	}
	l.since = time.Now()
	return l, nil
}

// errMute is a process that was to be there and is not.
var errMute = errors.New("it does not answer, see \"systemctl status 'latchkey-network@*'\"; " +
	"where systemd cannot confine it: systemctl disable --now latchkey-network.socket")

// take takes an idle connection, nil when there is none. It ends those that have
// become too old.
func (r *Remote) take() *link {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.idle = slices.DeleteFunc(r.idle, func(l *link) bool {
		old := time.Since(l.since) > linkLife
		if old {
			l.drop()
		}
		return old
	})
	if len(r.idle) == 0 {
		return nil
	}
	last := len(r.idle) - 1
	l := r.idle[last]
	r.idle = slices.Delete(r.idle, last, last+1)
	return l
}

// over asks over one connection. One on which anything went wrong is not used
// again.
func (r *Remote) over(ctx context.Context, l *link, what request) (reply, []*os.File, error) {
	got, files, err := exchange(ctx, l.UnixConn, what)
	if err != nil {
		l.drop()
		return got, files, err
	}
	r.keep(l)
	if got.Error != "" {
		return got, files, &refusedError{got.Error}
	}
	return got, files, nil
}

// keep keeps a connection for the next question.
func (r *Remote) keep(l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.idle = append(r.idle, l)
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
