package imds

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// sendTime is how long an answer may take to be made, and then how long its client may take
// to make room for it: nobody who still waits needs any.
const sendTime = time.Second

// parked is a connection whose request waits. It was taken over from net/http, whose
// goroutine and buffers (some 15 kB) have gone; what is left is this, the connection and a
// timer. That the client hangs up is told by hangups.
type parked struct {
	endpoint *Endpoint
	conn     net.Conn
	timer    *time.Timer
	number   uint64 // among the hangups
	at       string // the path
	token    string
	head     bool // the method is HEAD
}

// park takes the request's connection over, or returns nil where it has to stay with its
// handler: HTTP/2 has many requests on one, TLS a state of its own, and what HTTP/1.0
// needs is not worth the code.
func (e *Endpoint) park(w http.ResponseWriter, r *http.Request) *parked {
	if r.ProtoMajor != 1 || r.ProtoMinor != 1 || r.TLS != nil {
		return nil
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	// Clones, since what net/http gives are parts of the whole request.
	return &parked{
		endpoint: e,
		conn:     conn,
		at:       strings.Clone(r.URL.Path),
		token:    strings.Clone(tokenOf(r)),
		head:     r.Method == http.MethodHead,
	}
}

// wait lets the connection wait, and returns at once.
func (p *parked) wait(since string, limit time.Duration) {
	arm := func() {
		p.timer = time.AfterFunc(limit, p.expire)
		p.number = p.endpoint.hangups.add(p)
	}
	switch p.endpoint.enter(p, since, arm) {
	case refused:
		p.send(func(w http.ResponseWriter, _ *http.Request) {
			reply(w, http.StatusServiceUnavailable, "Service Unavailable")
		})
	case ready:
		p.send(p.endpoint.answer)
	}
}

// disarm gives back what arm took.
func (p *parked) disarm() {
	p.timer.Stop()
	p.endpoint.hangups.remove(p.number)
}

func (p *parked) path() string { return p.at }

func (p *parked) answer() {
	p.disarm()
	p.send(p.endpoint.answer)
}

func (p *parked) hangUp() {
	p.disarm()
	_ = p.conn.Close()
}

// expire is called when the time is over.
func (p *parked) expire() {
	if !p.endpoint.state.Load().fault.silences(p.at) && p.endpoint.leave(p) {
		p.answer()
	}
}

// gone is called when the client has hung up.
func (p *parked) gone() {
	if p.endpoint.leave(p) {
		p.hangUp()
	}
}

// send sends the handler's answer to the request, and hangs up.
func (p *parked) send(handler http.HandlerFunc) {
	defer p.conn.Close()
	w := &lastAnswer{conn: p.conn, header: http.Header{}, head: p.head}
	defer w.send() // also where the handler gave up in the middle
	defer func() {
		fault := recover()
		if err, _ := fault.(error); fault != nil && !errors.Is(err, http.ErrAbortHandler) {
			panic(fault)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), sendTime)
	defer cancel()
	handler(w, p.request(ctx))
}

// request is the request as far as an answer depends on it.
func (p *parked) request(ctx context.Context) *http.Request {
	r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: p.at}, Header: http.Header{}}
	if p.head {
		r.Method = http.MethodHead
	}
	if p.token != "" {
		r.Header.Set(tokenHeader, p.token)
	}
	return r.WithContext(ctx)
}
