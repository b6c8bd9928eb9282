package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	maxWaiting = 1024        // lines that wait to be written
	flushTime  = time.Second // at most, at the end
)

// logQueue writes lines one after another, in the background: a log that nobody reads holds up neither a login nor the
// end of the program. Lines that find too many others waiting are lost, which is told as soon as there is room.
type logQueue struct {
	to   io.Writer
	note func(lost int) []byte
	done chan struct{} // closed when all is written

	mu     sync.Mutex
	lines  chan []byte
	lost   int  // since the last note
	ever   bool // whether one was lost
	closed bool
}

func newLogQueue(to io.Writer, note func(lost int) []byte) *logQueue {
	q := &logQueue{to: to, note: note, lines: make(chan []byte, maxWaiting), done: make(chan struct{})}
	go q.write()
	return q
}

func (q *logQueue) write() {
	defer close(q.done)
	for line := range q.lines {
		_, _ = q.to.Write(line) // who reads the log may be gone; logins go on
	}
}

// Write takes one line, whatever becomes of it.
func (q *logQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed && !(q.noted() && q.add(bytes.Clone(line))) {
		q.lost++
		q.ever = true
	}
	return len(line), nil
}

// noted tells whether it is said how many were lost.
func (q *logQueue) noted() bool {
	if q.lost > 0 && !q.add(q.note(q.lost)) {
		return false
	}
	q.lost = 0
	return true
}

// add tells whether there was room.
func (q *logQueue) add(line []byte) bool {
	select {
	case q.lines <- line:
		return true
	default:
		return false
	}
}

// flush ends it, and waits until all is written, for a while. It tells whether every line is.
func (q *logQueue) flush() bool {
	q.mu.Lock()
	q.closed = true
	_ = q.noted()
	close(q.lines)
	q.mu.Unlock()
	late := time.NewTimer(flushTime)
	defer late.Stop()
	select {
	case <-q.done:
		return !q.ever
	case <-late.C:
		return false
	}
}

func lostText(lost int) string { return fmt.Sprintf("%d events are lost: nobody read them", lost) }

// lostLine is a line of the log for events that are not in it.
func lostLine(lost int) []byte { return []byte("latchkey-sshd: " + lostText(lost) + "\n") }
