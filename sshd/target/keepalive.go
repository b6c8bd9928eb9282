package target

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// watch looks after a connection: [WithIdleTimeout], and once somebody has logged in ClientAliveInterval and
// UnusedConnectionTimeout. It is timers alone; while nothing is due there is no goroutine.
type watch struct {
	mu       sync.Mutex
	idle     *time.Timer // nil where it is not asked for
	alive    *time.Timer
	unused   *time.Timer
	stopped  bool
	channels int // open ones

	interval, unusedFor time.Duration // set before the timers

	// Of the alive timer alone.
	unanswered int
	heard      int64 // what the connection's was at the last interval

	asking atomic.Bool // a request waits for its answer
}

// startWatch is called with the login.
func (c *connection) startWatch(user string) {
	p, err := c.policyFor(user)
	if err != nil {
		return // the login, which asks for the same, has failed
	}
	w := &c.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.interval = p.duration("clientaliveinterval"); w.interval > 0 {
		most := p.count("clientalivecountmax")
		w.alive = time.AfterFunc(w.interval, func() { c.checkAlive(most) })
	}
	if w.unusedFor = p.duration("unusedconnectiontimeout"); w.unusedFor > 0 {
		w.unused = time.AfterFunc(w.unusedFor, c.checkUnused)
	}
}

func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	for _, timer := range []*time.Timer{w.idle, w.alive, w.unused} {
		if timer != nil {
			timer.Stop()
		}
	}
}

// again sets one of the timers, unless the connection is gone.
func (w *watch) again(timer **time.Timer, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		(*timer).Reset(d)
	}
}

// watchIdle cuts the connection after most without a byte in either direction; 0 is never.
func (c *connection) watchIdle(most time.Duration) {
	if most <= 0 {
		return
	}
	w := &c.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle = time.AfterFunc(most, func() { c.checkIdle(most) })
}

// checkIdle looks when the last byte passed only now that the time is up: a deadline that is moved with each read and
// write, as the library offers it, takes more than all else that is done for one.
func (c *connection) checkIdle(most time.Duration) {
	last := max(c.lifetime.heard.Load(), c.said.Load())
	if quiet := time.Since(c.began) - time.Duration(last); quiet < most {
		c.watch.again(&c.watch.idle, most-quiet)
		return
	}
	if f := c.silent.Load(); f != nil {
		c.cut("fault " + f.String())
		return
	}
	c.cut(fmt.Sprintf("idle: nothing was sent or received for %s", most))
}

// checkAlive asks a client that was silent for an interval for a sign of life, and cuts it after most intervals without; 0 is
// never (sshd_config(5), ClientAliveCountMax).
func (c *connection) checkAlive(most int) {
	w := &c.watch
	heard := c.lifetime.heard.Load()
	quiet := time.Since(c.began) - time.Duration(heard)
	if heard != w.heard {
		w.heard, w.unanswered = heard, 0
	}
	if quiet < w.interval {
		w.again(&w.alive, w.interval-quiet)
		return
	}
	if w.unanswered++; most > 0 && w.unanswered > most {
		c.cut(fmt.Sprintf("ClientAliveCountMax: no sign of the client for %s", quiet.Round(time.Millisecond)))
		return
	}
	w.again(&w.alive, w.interval)
	c.askAlive()
}

// askAlive returns with the answer, or when the connection is gone. Not more than one question is on its way at a time: a second would
// tell no more, since the transport below repeats what was lost.
func (c *connection) askAlive() {
	conn := c.loggedInConn()
	if conn == nil || !c.watch.asking.CompareAndSwap(false, true) {
		return
	}
	defer c.watch.asking.Store(false)
	if !c.server.track(func() {}) {
		return
	}
	defer c.server.untrack(func() {})
	_, _, _ = conn.SendRequest("keepalive@openssh.com", true, nil) // any answer is a sign, a refusal too
}

// checkUnused cuts a connection that has no channel open since its timer was set.
func (c *connection) checkUnused() {
	c.watch.mu.Lock()
	unused := c.watch.channels == 0
	c.watch.mu.Unlock()
	if unused {
		c.cut(fmt.Sprintf("UnusedConnectionTimeout: no channel was open for %s", c.watch.unusedFor))
	}
}

// opened counts a channel, until closed.
func (w *watch) opened() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.channels++; w.unused != nil {
		w.unused.Stop()
	}
}

func (w *watch) closed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.channels--; w.channels == 0 && w.unused != nil && !w.stopped {
		w.unused.Reset(w.unusedFor)
	}
}
