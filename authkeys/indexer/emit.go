package indexer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"iter"
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

// end is where the last piece ends.
func (j *job) end() int {
	if len(j.pieces) == 0 {
		return 0
	}
	return j.pieces[len(j.pieces)-1].end
}

// A part of what is read is independent of the others.
type part func(*emitter) error

const (
	// maxParts are read at a time: to read many files is mostly to wait for the disk.
	maxParts = 16
	// maxJobs of a part wait for those before them.
	maxJobs = 4
)

// An emitter hands out the jobs of a part, in order. They are encoded meanwhile.
type emitter struct {
	ctx  context.Context
	wait *sync.WaitGroup
	free *sync.Pool // of *job
	jobs chan *job
	job  *job // the one that is being filled
}

// emitAll begins the parts, several at a time, and returns their emitters in order. It
// counts in wait what goes on, which ends with ctx.
func emitAll(ctx context.Context, wait *sync.WaitGroup, parts iter.Seq[part]) <-chan *emitter {
	begun := make(chan *emitter, maxParts)
	free := &sync.Pool{New: newJob}
	wait.Go(func() {
		defer close(begun)
		for read := range parts {
			e := &emitter{ctx: ctx, wait: wait, free: free, jobs: make(chan *job, maxJobs)}
			select {
			case begun <- e:
				wait.Go(func() { e.all(read) })
			case <-ctx.Done():
				return
			}
		}
	})
	return begun
}

// all emits what read reads, and its error with the last job.
func (e *emitter) all(read part) {
	defer close(e.jobs)
	e.next()
	err := read(e)
	e.job.err = err   // that of the job which is being filled by now
	_ = e.hand(e.job) // fails when nobody wants it any more
}

// next begins a new job.
func (e *emitter) next() {
	e.job = e.free.Get().(*job)
	e.job.data, e.job.pieces, e.job.err = e.job.data[:0], e.job.pieces[:0], nil
}

// emit hands out the pieces of the job. What is not in one of them begins the next.
func (e *emitter) emit() error {
	full := e.job
	e.next()
	e.job.data = append(e.job.data, full.data[full.end():]...)
	return e.hand(full)
}

func (e *emitter) hand(j *job) error {
	select {
	case e.jobs <- j:
		e.wait.Go(j.encode)
		return nil
	case <-e.ctx.Done():
		return e.ctx.Err()
	}
}

// lines emits all lines of a user's file; next is the first that it could not read.
func (e *emitter) lines(r io.Reader, user, file string) (next int, err error) {
	p := piece{user: user, file: file, line: 1}
	from := len(e.job.data)
	for {
		end, err := e.fill(r)
		if err != nil {
			return p.line, err
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
			return 0, nil // what comes next goes into the same job
		case len(e.job.pieces) > 0:
			if err := e.emit(); err != nil || end {
				return 0, err
			}
			from = 0
		case len(e.job.data) > indexfile.MaxLine+len("\r"):
			if err := e.shorten(r); err != nil {
				return p.line, err
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

// leaveOut emits that a file is left out from a line on; 0 is the whole file.
func (e *emitter) leaveOut(file string, line int, why error) {
	end := e.job.end()
	e.job.data = e.job.data[:end] // what has been read of that line
	e.job.pieces = append(e.job.pieces, piece{file: file, line: line, why: why, end: end})
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
