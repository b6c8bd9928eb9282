package indexer

import (
	"bytes"
	"cmp"
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
	from := len(e.job.data)
	for {
		end, err := e.fill(r)
		if err != nil {
			return fmt.Errorf("read %s: %w", file, cause(err))
		}
		fresh := e.job.data[from:]
		if !end {
			fresh = fresh[:bytes.LastIndexByte(fresh, '\n')+1]
		}
		if len(fresh) > 0 {
			p.end = from + len(fresh)
			e.job.pieces = append(e.job.pieces, p)
			p.line += bytes.Count(fresh, []byte{'\n'})
		}
		switch {
		case end && len(e.job.data) < jobSize/2:
			return nil // what comes next goes into the same job
		case len(e.job.pieces) > 0:
			if err := e.emit(); err != nil || end {
				return err
			}
			from = 0
		case len(e.job.data) > indexfile.MaxLine+len("\r"):
			if err := e.shorten(r); err != nil {
				return fmt.Errorf("read %s: %w", file, cause(err))
			}
		}
	}
}

// shorten reads on to the end of a line that is too long for the index, and keeps no more
// of it than shows that.
func (e *emitter) shorten(r io.Reader) error {
	kept := e.job.data[:indexfile.MaxLine+len("\r")+1]
	buf := slices.Grow(kept, jobSize)[len(kept) : len(kept)+jobSize]
	for {
		n, err := io.ReadFull(r, buf)
		if at := bytes.IndexByte(buf[:n], '\n'); at >= 0 {
			e.job.data = append(kept, buf[at:n]...)
			return nil
		}
		e.job.data = kept
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil // fill comes to the same end
		}
		if err := cmp.Or(err, e.ctx.Err()); err != nil {
			return err
		}
	}
}

// maxPieces of a job keep files that are left out, of which there is nothing to read, from
// filling the memory.
const maxPieces = 4096

// leaveOut emits that a file is left out.
func (e *emitter) leaveOut(file string, why error) error {
	e.job.pieces = append(e.job.pieces, piece{file: file, why: why, end: len(e.job.data)})
	if len(e.job.pieces) < maxPieces {
		return nil
	}
	return e.emit()
}

// fill reads until the job's memory is full, which grows when it is already, or there
// is no more.
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
