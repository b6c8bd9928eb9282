package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/network"
)

// newsroom is a network with an endpoint of which only the watch matters. It runs
// in the time of a bubble.
type newsroom struct {
	network.Local
	watch func(ctx context.Context, etag string) (bool, error)

	mu      sync.Mutex
	watches int
}

func (n *newsroom) Watch(ctx context.Context, _ network.Endpoint, etag string, _ time.Duration) (bool, error) {
	n.mu.Lock()
	n.watches++
	n.mu.Unlock()
	return n.watch(ctx, etag)
}

func (n *newsroom) watched() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.watches
}

// follower is the part of a live daemon that decides when to fetch, with a pass
// that takes no time.
type follower struct {
	watch   *endpointWatch
	config  Config
	pace    pace
	last    metadata.Binding
	fetches int
}

func newFollower(side network.Side) *follower {
	f := &follower{watch: newEndpointWatch(side, slog.New(slog.DiscardHandler)), config: DefaultConfig(), pace: pace{backoff: firstRetry}, last: unknown()}
	f.config.Apply.When = Live
	return f
}

// follow fetches as the daemon does, for that long.
func (f *follower) follow(d time.Duration, fetch func() metadata.Binding) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	defer f.watch.stop()
	for ctx.Err() == nil {
		before := f.last
		f.last = fetch()
		f.fetches++
		f.watch.note(before, f.last)
		f.pace.note(f.last, How{}, &Outcome{}, nil)
		f.watch.hold(ctx, &f.config, f.last)
		timer := time.NewTimer(f.pace.pause(&f.config, f.watch.works()))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-f.watch.news():
		}
		timer.Stop()
	}
}

func tagged(etag string) metadata.Binding {
	b := unbound()
	b.ETag = etag
	return b
}

// TestAWatchThatDoesNotWorkIsOnlyPolling: in an hour, at a poll of a minute, the
// endpoint is asked no oftener than the poll asks for and a few times more.
func TestAWatchThatDoesNotWorkIsOnlyPolling(t *testing.T) {
	t.Parallel()
	const polls = 60
	var told atomic.Bool
	turn := 0
	for name, test := range map[string]struct {
		watch func(ctx context.Context, etag string) (bool, error)
		seen  func() metadata.Binding
	}{
		"fails at once":          {watch: func(context.Context, string) (bool, error) { return false, errors.New("reset") }},
		"has none":               {watch: func(context.Context, string) (bool, error) { return false, metadata.ErrNoWatch }},
		"nothing new, at once":   {watch: func(context.Context, string) (bool, error) { return false, nil }},
		"news that are none":     {watch: func(context.Context, string) (bool, error) { return true, nil }},
		"another ETag each time": {func(context.Context, string) (bool, error) { return true, nil }, func() metadata.Binding { turn++; return tagged(fmt.Sprint(turn)) }},
		"news, then no answer": {func(context.Context, string) (bool, error) { told.Store(true); return true, nil }, func() metadata.Binding {
			if told.Swap(false) {
				return unknown()
			}
			return tagged("a")
		}},
		"hangs until given up": {watch: func(ctx context.Context, _ string) (bool, error) {
			pauseFor(ctx, watchTime+5*time.Second)
			return false, errors.New("no answer in time")
		}},
		"hangs for ever": {watch: func(ctx context.Context, _ string) (bool, error) { <-ctx.Done(); return false, ctx.Err() }},
	} {
		synctest.Test(t, func(t *testing.T) {
			side := &newsroom{watch: test.watch}
			f := newFollower(side)
			f.follow(time.Hour, func() metadata.Binding {
				if test.seen != nil {
					return test.seen()
				}
				return tagged("a")
			})
			if f.fetches < polls-5 || f.fetches > polls+35 || side.watched() > 25 || side.watched() == 0 {
				t.Errorf("%s: %d fetches and %d watches in an hour, want about %d and a few", name, f.fetches, side.watched(), polls)
			}
			if f.watch.works() {
				t.Errorf("%s: that is to be a watch that works", name)
			}
		})
	}
}

// TestAWatchThatWorksReplacesThePolling: but for one now and then.
func TestAWatchThatWorksReplacesThePolling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		side := &newsroom{watch: func(ctx context.Context, _ string) (bool, error) {
			pauseFor(ctx, watchTime)
			return false, ctx.Err()
		}}
		f := newFollower(side)
		f.follow(2*time.Hour, func() metadata.Binding { return tagged("a") })
		if f.fetches < 16 || f.fetches > 50 || side.watched() < 29 || side.watched() > 31 {
			t.Errorf("%d fetches and %d watches in two hours, want about 24+4 and 30", f.fetches, side.watched())
		}
	})
}

// TestAnEndpointThatHasNoWatchAnyMoreIsPolled, and watched again when it has one.
func TestAnEndpointThatHasNoWatchAnyMoreIsPolled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		side := &newsroom{watch: func(ctx context.Context, _ string) (bool, error) {
			pauseFor(ctx, watchTime)
			return false, ctx.Err()
		}}
		f := newFollower(side)
		for _, etag := range []string{"a", "", "b"} {
			watches := side.watched()
			f.follow(30*time.Minute, func() metadata.Binding { return tagged(etag) })
			if watched := side.watched() > watches; watched != (etag != "") {
				t.Errorf("ETag %q: watched %v", etag, watched)
			}
		}
	})
}

// TestAFewChangesInQuickSuccessionAreTakenAtOnce: bind, rebind, unbind, each a second
// after the one before; of whoever goes on so only one in a while.
func TestAFewChangesInQuickSuccessionAreTakenAtOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		lasts    time.Duration
		min, max int
	}{{4500 * time.Millisecond, 5, 6}, {time.Minute, 8, 10}, {time.Hour, 240, 250}} {
		synctest.Test(t, func(t *testing.T) {
			side := &newsroom{watch: func(context.Context, string) (bool, error) { return true, nil }}
			f, turn := newFollower(side), 0
			f.follow(test.lasts, func() metadata.Binding {
				turn++
				b := tagged(fmt.Sprint(turn))
				b.User = fmt.Sprint("user", turn)
				return b
			})
			if f.fetches < test.min || f.fetches > test.max {
				t.Errorf("%d fetches in %v of changes, want %d to %d", f.fetches, test.lasts, test.min, test.max)
			}
		})
	}
}

// TestNoEndpointKeepsItsAgentsBusy: in an hour it is asked a few hundred times at the
// most, whatever it tells of and whatever is there then.
func TestNoEndpointKeepsItsAgentsBusy(t *testing.T) {
	t.Parallel()
	const most = 500
	user := func(turn, of int) metadata.Binding {
		b := tagged(fmt.Sprint(turn))
		b.User = fmt.Sprint("user", turn%of)
		return b
	}
	for name, fetch := range map[string]func(turn int) metadata.Binding{
		"another user, and back": func(turn int) metadata.Binding { return user(turn, 2) },
		"every other unknown": func(turn int) metadata.Binding {
			if turn%2 == 0 {
				return unknown()
			}
			return tagged(fmt.Sprint(turn))
		},
		"every third unknown": func(turn int) metadata.Binding {
			if turn%3 == 0 {
				return unknown()
			}
			return user(turn, 1000)
		},
		"one known in three": func(turn int) metadata.Binding {
			if turn%3 != 0 {
				return unknown()
			}
			return user(turn, 1000)
		},
		"another instance": func(turn int) metadata.Binding {
			b := tagged(fmt.Sprint(turn))
			b.InstanceID = fmt.Sprint("i-", turn)
			return b
		},
	} {
		for watch, ends := range map[string]func(context.Context, string) (bool, error){
			"news":   func(context.Context, string) (bool, error) { return true, nil },
			"failed": func(context.Context, string) (bool, error) { return false, errors.New("reset") },
		} {
			synctest.Test(t, func(t *testing.T) {
				side, turn := &newsroom{watch: ends}, 0
				f := newFollower(side)
				f.follow(time.Hour, func() metadata.Binding { turn++; return fetch(turn) })
				if f.fetches > most || side.watched() > most {
					t.Errorf("%s, %s: %d fetches, %d watches in an hour", name, watch, f.fetches, side.watched())
				}
			})
		}
	}
}

// TestAFailedWatchIsForgivenOnceItWorks: a restart of the endpoint costs seconds.
func TestAFailedWatchIsForgivenOnceItWorks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		changed := make(chan struct{})
		side := &newsroom{watch: func(ctx context.Context, _ string) (bool, error) {
			if !mended.Load() {
				return false, errors.New("reset")
			}
			select {
			case <-changed:
				return true, nil
			case <-ctx.Done():
				return false, ctx.Err()
			}
		}}
		f := newFollower(side)
		f.config.Apply.Poll.Duration = time.Hour
		mends := time.AfterFunc(2*time.Second, func() { mended.Store(true) })
		defer mends.Stop()
		binds := time.AfterFunc(20*time.Second, func() { close(changed) })
		defer binds.Stop()
		var heard time.Duration
		start := time.Now()
		f.follow(21*time.Second, func() metadata.Binding {
			select {
			case <-changed:
				heard = time.Since(start)
				return tagged("b")
			default:
				return tagged("a")
			}
		})
		if heard != 20*time.Second {
			t.Errorf("the change after 20 s was seen after %v", heard)
		}
	})
}

// TestInBootModeNoWatchIsHeld: nor one left from before, since the configuration may change to boot.
func TestInBootModeNoWatchIsHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		side := &newsroom{watch: func(ctx context.Context, _ string) (bool, error) { <-ctx.Done(); return false, ctx.Err() }}
		f := newFollower(side)
		defer f.watch.stop()
		f.watch.hold(t.Context(), &f.config, tagged("a"))
		synctest.Wait()
		f.config.Apply.When = AtBoot
		f.watch.hold(t.Context(), &f.config, tagged("a"))
		f.watch.group.Wait() // in vain for ever, where it still waits
		if f.watch.news() != nil || side.watched() != 1 {
			t.Errorf("a watch is held, after %d", side.watched())
		}
	})
}
