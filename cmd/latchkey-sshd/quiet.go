package main

import (
	"runtime"
	"sync"
	"time"

	"github.com/latchkey-ssh/latchkey/internal/idle"
	"github.com/latchkey-ssh/latchkey/sshd/target"
)

// quietFor is how long nothing may have happened before memory is given back.
const quietFor = time.Second

// quiet gives memory back, once, when the server has had nothing to tell for a while. Logins leave garbage, and stacks that
// were deep; connections that are merely held would keep it for minutes.
type quiet struct {
	mu    sync.Mutex
	timer *time.Timer // nil while there is nothing to give back
	last  time.Time   // event
}

// told takes note of an event.
func (q *quiet) told(e target.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last = e.Time
	if q.timer == nil {
		q.timer = time.AfterFunc(quietFor, q.look)
	}
}

// look gives back, unless something has happened meanwhile.
func (q *quiet) look() {
	if q.isQuiet() {
		runtime.GC() // each collection halves a stack at the most
		idle.GiveBack()
	}
}

// isQuiet tells whether nothing has happened for long enough; else the timer is set again.
func (q *quiet) isQuiet() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if left := quietFor - time.Since(q.last); left > 0 {
		q.timer.Reset(left)
		return false
	}
	q.timer = nil
	return true
}
