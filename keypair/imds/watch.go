package imds

import (
	"errors"
	"net/http"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"
)

// Limits of watches.
const (
	// MaxWait is how long a watch is held that does not say it, and at most.
	MaxWait = 300 * time.Second
	// DefaultWatchers is how many watches of one instance are held, where nothing else is
	// said. An agent holds one.
	DefaultWatchers = 64
)

// wait returns how long the request is to be held: 0 when it is answered at once. The words
// are Google Compute Engine's ("View and query VM metadata", section "Wait for changes"):
// wait_for_change=true, last_etag, timeout_sec in whole seconds.
func (s *state) wait(r *http.Request) (time.Duration, error) {
	if r.URL.RawQuery == "" {
		return 0, nil
	}
	if path, ok := withoutVersion(r.URL.Path); !ok || !onKeys(path) {
		return 0, nil
	}
	query := r.URL.Query()
	if query.Get("wait_for_change") != "true" {
		return 0, nil
	}
	wait := MaxWait
	if query.Has("timeout_sec") {
		seconds, err := strconv.ParseUint(query.Get("timeout_sec"), 10, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return 0, err
		}
		wait = time.Duration(min(seconds, uint64(MaxWait/time.Second))) * time.Second
	}
	if query.Has("last_etag") && query.Get("last_etag") != s.tag() {
		return 0, nil
	}
	return wait, nil
}

// watcher is a request that waits. Once it is taken out of Endpoint.waiting, whoever did
// that ends it, by one of answer and hangUp.
type watcher interface {
	path() string
	answer() // as of now
	hangUp() // without an answer
}

// verdict is what becomes of a request that would wait.
type verdict int

const (
	waits   verdict = iota
	ready           // something has changed meanwhile
	refused         // too many wait, or the endpoint ends
)

// watch holds the request until the ETag is another than since, or the time is over.
func (e *Endpoint) watch(w http.ResponseWriter, r *http.Request, since string, wait time.Duration) {
	if p := e.park(w, r); p != nil {
		p.wait(since, wait)
		return
	}
	e.hold(w, r, since, wait)
}

// enter has the watcher wait, unless there is nothing to wait for. arm is called just before
// the watcher can be found by others.
func (e *Endpoint) enter(w watcher, since string, arm func()) verdict {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch now := e.state.Load(); {
	case now.tag() != since || now.closed():
		return ready
	case e.closed || len(e.waiting) >= e.limit:
		return refused
	}
	arm()
	if e.waiting == nil {
		e.waiting = map[watcher]struct{}{}
	}
	e.waiting[w] = struct{}{}
	return waits
}

// leave takes the watcher out, and reports whether it was still there.
func (e *Endpoint) leave(w watcher) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok := e.waiting[w]
	delete(e.waiting, w)
	return ok
}

// release takes out all that are to be answered. The caller holds e.mu.
func (e *Endpoint) release() []watcher {
	waiting, fault := e.waiting, e.state.Load().fault
	e.waiting = nil
	all := make([]watcher, 0, len(waiting))
	for w := range waiting {
		if !fault.silences(w.path()) {
			all = append(all, w)
			continue
		}
		if e.waiting == nil {
			e.waiting = map[watcher]struct{}{}
		}
		e.waiting[w] = struct{}{}
	}
	return all
}

// answerAll answers them, a few at a time, and does not wait for that. Where every answer
// is late, all are at a time.
func answerAll(all []watcher, f fault) {
	workers := min(len(all), runtime.GOMAXPROCS(0))
	if f.kind == Slow {
		workers = len(all)
	}
	next := new(atomic.Int64)
	for range workers {
		go func() {
			for n := next.Add(1); n <= int64(len(all)); n = next.Add(1) {
				all[n-1].answer()
			}
		}()
	}
}

// Waiting returns how many watches are held.
func (e *Endpoint) Waiting() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.waiting)
}

// HangUp ends all watches that are held without an answer, as happens to them when a server
// ends. An http.Server does not do it, neither by Close nor by Shutdown: the connections are
// no longer its own.
func (e *Endpoint) HangUp() {
	e.mu.Lock()
	waiting := e.waiting
	e.waiting = nil
	e.mu.Unlock()
	for w := range waiting {
		w.hangUp()
	}
}

// end hangs up and holds no further watch.
func (e *Endpoint) end() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.HangUp()
}

// held is a request that waits in its handler, where its connection cannot be parked.
type held struct {
	at    string
	ended chan bool // whether there is an answer
}

func (h *held) path() string { return h.at }
func (h *held) answer()      { h.ended <- true }
func (h *held) hangUp()      { h.ended <- false }

// hold waits in the handler.
func (e *Endpoint) hold(w http.ResponseWriter, r *http.Request, since string, wait time.Duration) {
	h := &held{at: r.URL.Path, ended: make(chan bool, 1)}
	switch e.enter(h, since, func() {}) {
	case refused:
		reply(w, http.StatusServiceUnavailable, "Service Unavailable")
		return
	case waits:
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // HTTP/2 counts the wait, too
		if !e.over(h, r, wait) {
			panic(http.ErrAbortHandler)
		}
		limitAgain(w, r)
	}
	e.answer(w, r)
}

// limitAgain has the server's limit for an answer count from here.
func limitAgain(w http.ResponseWriter, r *http.Request) {
	server, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if ok && server.WriteTimeout > 0 {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(server.WriteTimeout))
	}
}

// over waits until the watch is over, and reports whether there is somebody to answer.
func (e *Endpoint) over(h *held, r *http.Request, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case answer := <-h.ended:
		return answer
	case <-timer.C:
		e.leave(h)
		return true
	case <-r.Context().Done():
		e.leave(h)
		return false
	}
}
