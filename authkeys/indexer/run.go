package indexer

import (
	"context"
	"iter"
	"sync"
	"time"
)

// A run brings lines into a layout: what is read and encoded at the same time is added in
// order.
type run struct {
	layout   *layout
	progress func(Progress)                         // may be nil
	skipped  func(file string, line int, why error) // may be nil
	left     func(file string, line int, why error) // may be nil

	skippedLines, leftOut int // how many
	shown                 time.Time
	fault                 error // of what was read, as opposed to what was written
}

// progressEvery is about how often somebody who looks on is told.
const progressEvery = 100 * time.Millisecond

// all adds what the parts emit, in their order.
func (r *run) all(ctx context.Context, parts iter.Seq[part]) error {
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	for e := range emitAll(ctx, &wait, parts) {
		for j := range e.jobs {
			if err := r.add(ctx, j); err != nil {
				return err
			}
			e.free.Put(j)
		}
	}
	r.show()
	return ctx.Err()
}

// add waits for the job, and adds what it became.
func (r *run) add(ctx context.Context, j *job) error {
	select {
	case <-j.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if j.err != nil {
		r.fault = j.err
		return r.fault
	}
	for _, s := range j.skipped {
		if s.left {
			r.leaveOut(s.file, s.line, s.why)
		} else {
			r.skip(s.file, s.line, s.why)
		}
	}
	if time.Since(r.shown) > progressEvery {
		r.show()
	}
	return r.layout.addJob(j)
}

func (r *run) skip(file string, line int, why error) {
	r.skippedLines++
	if r.skipped != nil {
		r.skipped(file, line, why)
	}
}

func (r *run) leaveOut(file string, line int, why error) {
	r.leftOut++
	if r.left != nil {
		r.left(file, line, why)
	}
}

func (r *run) show() {
	r.shown = time.Now()
	if r.progress != nil {
		r.progress(Progress{int(r.layout.header.Users), int(r.layout.header.Lines)})
	}
}
