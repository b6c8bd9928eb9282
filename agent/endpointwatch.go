package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/network"
)

const (
	// watchTime is how long the endpoint is asked to wait at a time: a connection
	// that is silent for longer may be forgotten on the way.
	watchTime = 4 * time.Minute
	// hasty is sooner than any endpoint answers that has waited in vain.
	hasty = time.Second
	// lastRewatch bounds the pause before a watch that fails is tried again.
	lastRewatch = 10 * time.Minute
	// watchBurst watches may begin as soon as there is reason to, as when somebody
	// binds, rebinds and unbinds; after those one in watchEvery.
	watchBurst = 5
	watchEvery = 15 * time.Second
)

// endpointWatch is how a live agent hears at once that the endpoint has news: a
// request that the endpoint answers when what is bound changes. It is a shortcut
// only. What is bound is always fetched, and the endpoint is polled as one without a
// watch until this one has shown that it works: by news that were true, or by
// waiting in vain for as long as it said. One that fails is tried again after
// pauses that double, whatever way it fails. One that always has news, true or not,
// is held once in watchEvery, so that no endpoint can make its agents ask it, and
// pass after pass, without end. It is the loop's alone, apart from what it holds.
type endpointWatch struct {
	side   network.Side
	log    *slog.Logger
	group  sync.WaitGroup
	from   network.Endpoint // what the rest is about
	held   *heldWatch       // nil when none is
	worked bool             // since it last failed
	faults int              // in a row
	heard  time.Time        // when it last had news
	spent  time.Time        // when watchBurst may begin at once again
}

// heldWatch is one that is waiting, or pausing before it does.
type heldWatch struct {
	etag   string
	cancel context.CancelFunc
	worked atomic.Bool   // it has waited in vain
	ended  chan struct{} // closed when there is news, or no watch any more
	err    error         // why there is none, from then on
}

func newEndpointWatch(side network.Side, log *slog.Logger) *endpointWatch {
	return &endpointWatch{side: side, log: log}
}

// stop ends the watch and waits for its end.
func (w *endpointWatch) stop() {
	w.drop()
	w.group.Wait()
}

// works tells whether the endpoint need not be polled.
func (w *endpointWatch) works() bool { return w.held != nil && (w.worked || w.held.worked.Load()) }

// sound tells whether one is held and nothing speaks against it.
func (w *endpointWatch) sound() bool { return w.held != nil && w.faults == 0 }

// news is closed when the endpoint is to be asked again; nil is never.
func (w *endpointWatch) news() <-chan struct{} {
	if w.held == nil {
		return nil
	}
	return w.held.ended
}

// Watches that did not fail, and yet were of no use.
var (
	errFalseNews  = errors.New("it told of news and there were none")
	errMissedNews = errors.New("there were news and it did not tell")
	errUnseenNews = errors.New("it told of news, and then there was no answer that counts")
)

// note takes in what the watch was worth, now that the endpoint was asked again.
func (w *endpointWatch) note(before, seen metadata.Binding) {
	if w.held == nil {
		return
	}
	if w.held.worked.Load() {
		w.succeed()
	}
	select {
	case <-w.held.ended:
		w.noteEnd(w.held.err, before, seen)
		w.drop()
	default:
		if seen.ETag != "" && seen.ETag != w.held.etag {
			w.fail(errMissedNews)
		}
	}
}

func (w *endpointWatch) noteEnd(err error, before, seen metadata.Binding) {
	w.heard = time.Now()
	switch {
	case err != nil:
		w.fail(err)
	case seen.State == metadata.Unknown:
		w.fail(errUnseenNews)
	case saysTheSame(before, seen):
		w.fail(errFalseNews)
	default:
		w.succeed()
	}
}

// saysTheSame is stricter than Same: a new name for a key is news, too.
func saysTheSame(a, b metadata.Binding) bool {
	a.At, a.ETag, b.At, b.ETag = time.Time{}, "", time.Time{}, ""
	return stamp(a) == stamp(b)
}

func (w *endpointWatch) succeed() { w.worked, w.faults = true, 0 }

func (w *endpointWatch) fail(err error) {
	if w.faults == 0 {
		w.log.Warn("the endpoint's watch failed; it is polled until that works again", slog.Any("error", err))
	}
	w.worked = false
	w.faults++
}

// hold sees to it that what is waited for is a change of what was seen last, and
// that nothing is where the agent or the endpoint has no watch. It tells whether
// one begins.
func (w *endpointWatch) hold(ctx context.Context, config *Config, seen metadata.Binding) bool {
	from := config.endpoint(seen.InstanceID)
	if w.held != nil && w.from == from && w.held.etag == seen.ETag && config.Apply.When == Live {
		return false
	}
	w.drop()
	if seen.ETag == "" || config.Apply.When != Live {
		return false
	}
	if w.from != from {
		w.from, w.worked, w.faults = from, false, 0
	}
	w.begin(ctx, seen.ETag)
	return true
}

func (w *endpointWatch) drop() {
	if w.held != nil {
		w.held.cancel()
	}
	w.held = nil
}

func (w *endpointWatch) begin(ctx context.Context, etag string) {
	ctx, cancel := context.WithCancel(ctx)
	held := &heldWatch{etag: etag, cancel: cancel, ended: make(chan struct{})}
	w.held = held
	from, pause := w.from, max(w.pause(), w.spend())
	w.group.Go(func() {
		defer close(held.ended)
		pauseFor(ctx, pause)
		held.err = held.wait(ctx, w.side, from)
	})
}

// pause is how long no watch is to begin because of how the last one ended. News that
// come meanwhile are told when it begins.
func (w *endpointWatch) pause() time.Duration {
	if w.faults == 0 {
		return time.Until(w.heard.Add(passGap))
	}
	return jittered(min(firstRetry<<min(w.faults-1, 16), lastRewatch))
}

// spend counts a watch, and returns how long it has to wait for those before it.
func (w *endpointWatch) spend() time.Duration {
	if now := time.Now(); w.spent.Before(now) {
		w.spent = now
	}
	w.spent = w.spent.Add(watchEvery)
	return time.Until(w.spent) - watchBurst*watchEvery
}

// wait returns when there is news, or why it cannot wait. Agents whose watches an
// endpoint has ended all at once are not to come back to it all at once.
func (h *heldWatch) wait(ctx context.Context, side network.Side, from network.Endpoint) error {
	for ctx.Err() == nil {
		began := time.Now()
		changed, err := side.Watch(ctx, from, h.etag, watchTime)
		if err == nil && changed {
			return nil
		}
		if err == nil && time.Since(began) < hasty {
			err = metadata.ErrNoWatch
		}
		if err != nil {
			pauseFor(ctx, jittered(firstRetry))
			return err
		}
		h.worked.Store(true)
	}
	return ctx.Err()
}

// pauseFor returns when d is over, or ctx has ended.
func pauseFor(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
