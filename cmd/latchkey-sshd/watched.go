package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
)

var errIncomplete = errors.New("the record is not complete")

// watched is what the record is written to. Once a line is lost no more are written, rather than some: it ends
// where it stops being true.
type watched struct {
	name string
	to   io.Writer
	warn io.Writer

	mu   sync.Mutex
	lost bool
}

// Write writes a line. It says once when one is lost; who logs in is served all the same.
func (w *watched) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost {
		return 0, errIncomplete
	}
	n, err := w.to.Write(line)
	if err != nil {
		w.lost = true
		fmt.Fprintf(w.warn, "latchkey-sshd: --record %s: %v: what happens from here on is not recorded\n", w.name, withoutPath(err))
	}
	return n, err
}

// withoutPath is the system's word for what is wrong.
func withoutPath(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// check tells whether all that was to be written is; so does one that is nil.
func (w *watched) check() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost {
		return errIncomplete
	}
	return nil
}
