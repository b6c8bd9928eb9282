package indexer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/latchkey-ssh/latchkey/authkeys/internal/indexfile"
)

// jobSize is how much is worked on at a time, in bytes. A line that is longer makes its
// job grow.
const jobSize = 128 << 10

// A job is some lines on their way to the layout. It is used again and again.
type job struct {
	data   []byte
	pieces []piece // of data, in order
	batch
	err  error
	done chan struct{} // holds one thing when the batch is made
}

func newJob() any {
	return &job{data: make([]byte, 0, jobSize), done: make(chan struct{}, 1)}
}

// An emitter hands out jobs: to whoever encodes them next, and in order.
type emitter struct {
	ctx   context.Context
	todo  chan *job
	order chan *job
	free  sync.Pool // of *job
	job   *job      // the one that is being filled
}

// all emits what read reads, and its error after that.
func (e *emitter) all(read func(*emitter) error) {
	defer close(e.order)
	defer close(e.todo)
	e.next()
	err := read(e)
	if err == nil {
		err = e.emit()
	}
	if err != nil {
		e.fail(err)
	}
}

// next begins a new job.
func (e *emitter) next() {
	e.job = e.free.Get().(*job)
	e.job.data, e.job.pieces, e.job.err = e.job.data[:0], e.job.pieces[:0], nil
}

// emit hands out the pieces of the job. What is not in one of them begins the next.
func (e *emitter) emit() error {
	full := e.job
	end := 0
	if n := len(full.pieces); n > 0 {
		end = full.pieces[n-1].end
	}
	e.next()
	e.job.data = append(e.job.data, full.data[end:]...)
	for _, to := range []chan *job{e.order, e.todo} {
		select {
		case to <- full:
		case <-e.ctx.Done():
			return e.ctx.Err()
		}
	}
	return nil
}

// fail makes err the end of what is emitted.
func (e *emitter) fail(err error) {
	e.job.err = err
	e.job.done <- struct{}{}
	select {
	case e.order <- e.job:
	case <-e.ctx.Done():
	}
}

// lines emits all lines of a user's file.
func (e *emitter) lines(r io.Reader, user, file string) error {
	p := piece{user: user, file: file, line: 1}
	for from := len(e.job.data); ; {
		end, err := e.fill(r)
		if err != nil {
			return fmt.Errorf("read %s: %w", file, cause(err))
		}
		p.end = len(e.job.data)
		if !end {
			p.end = bytes.LastIndexByte(e.job.data, '\n') + 1
		}
		p.end = max(p.end, from) // a newline further ahead is another file's
		switch whole := e.job.data[from:p.end]; {
		case len(whole) > 0:
			e.job.pieces = append(e.job.pieces, p)
			p.line += bytes.Count(whole, []byte{'\n'})
		case len(e.job.data)-from > indexfile.MaxLine+len("\r"):
			return fmt.Errorf("%s:%d: %w", file, p.line, errLong)
		case from == 0 && !end:
			e.job.data = slices.Grow(e.job.data, len(e.job.data))
			continue
		}
		if end && len(e.job.data) < jobSize/2 {
			return nil
		}
		if err := e.emit(); err != nil || end {
			return err
		}
		from = 0
	}
}

// fill reads until the job's memory is full, or there is no more.
func (e *emitter) fill(r io.Reader) (end bool, err error) {
	data := e.job.data
	if len(data) == cap(data) {
		data = slices.Grow(data, jobSize)
	}
	n, err := io.ReadFull(r, data[len(data):cap(data)])
	e.job.data = data[:len(data)+n]
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true, nil
	}
	return false, err
}
