package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/keypair"
)

var watches = []promise{
	{"WatchersHearOfACommitBeforeItsUpdateReturns", watchersHear},
	{"WatchersHearNothingWhereNothingChanged", watchersHearNothing},
	{"WatchersHearCommitsInOrderOneAtATime", watchersHearInOrder},
	{"AWatcherMayViewAndSeesTheCommit", watcherMayView},
	{"StopWaitsForTheCallUnderWay", stopWaits},
	{"NoCallFollowsAStop", noCallFollows},
}

// hearing collects what a watcher hears, the keys of each call in order.
type hearing struct {
	mu    sync.Mutex
	calls [][]string
}

func (h *hearing) changed(keys []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, slices.Sorted(slices.Values(keys)))
}

func (h *hearing) heard() [][]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

func watchersHear(t *testing.T, store keypair.Store) {
	update(t, store, map[string][]byte{"before": []byte("1")})
	var one, two hearing
	defer store.Watch(one.changed)()
	defer store.Watch(two.changed)()
	steps := []struct {
		changes map[string][]byte
		want    []string
	}{
		{map[string][]byte{"b": []byte("1"), "a": []byte("1")}, []string{"a", "b"}},
		{map[string][]byte{"a": []byte("2")}, []string{"a"}},
		{map[string][]byte{"a": nil, "before": nil, "c": {}}, []string{"a", "before", "c"}},
	}
	var want [][]string
	for _, step := range steps {
		update(t, store, step.changes)
		want = append(want, step.want)
		for name, h := range map[string]*hearing{"first": &one, "second": &two} {
			if diff := cmp.Diff(want, h.heard()); diff != "" {
				t.Fatalf("the %s watcher heard (-want +got):\n%s", name, diff)
			}
		}
	}
}

func watchersHearNothing(t *testing.T, store keypair.Store) {
	update(t, store, map[string][]byte{"a": []byte("1")})
	var h hearing
	defer store.Watch(h.changed)()
	read := func(tx keypair.Tx) error { _, err := scan(tx, ""); return err }
	if err := errors.Join(store.View(t.Context(), read), store.Update(t.Context(), read)); err != nil {
		t.Error(err)
	}
	mine := errors.New("mine")
	if err := store.Update(t.Context(), func(tx keypair.Tx) error { return errors.Join(spoil(tx), mine) }); !errors.Is(err, mine) {
		t.Errorf("error %v, want %v", err, mine)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if store.Update(ctx, func(tx keypair.Tx) error { cancel(); return spoil(tx) }) == nil {
		t.Error("Update under a context that is over succeeded")
	}
	if heard := h.heard(); len(heard) > 0 {
		t.Errorf("heard of %q", heard)
	}
}

// watchersHearInOrder has every commit name its place in the order by the key it puts.
func watchersHearInOrder(t *testing.T, store keypair.Store) {
	var h hearing
	var under atomic.Int32
	defer store.Watch(func(keys []string) {
		if under.Add(1) != 1 {
			t.Error("two calls at a time")
		}
		h.changed(slices.DeleteFunc(keys, func(key string) bool { return key == "counter" }))
		under.Add(-1)
	})()
	together(func(int) {
		for range rounds {
			mine, err := putNext(t, store)
			if err != nil || !slices.ContainsFunc(h.heard(), func(keys []string) bool { return slices.Contains(keys, mine) }) {
				t.Errorf("Update returned before the watcher had heard of %q (%v)", mine, err)
			}
		}
	})
	var want [][]string
	for i := range workers * rounds {
		want = append(want, []string{placed(i + 1)})
	}
	if diff := cmp.Diff(want, h.heard()); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
}

func placed(n int) string { return fmt.Sprintf("commit %04d", n) }

func putNext(t *testing.T, store keypair.Store) (key string, err error) {
	err = store.Update(t.Context(), func(tx keypair.Tx) error {
		n, err := number(tx, "counter")
		key = placed(n + 1)
		return errors.Join(err, putNumber(tx, "counter", n+1), tx.Put(key, nil))
	})
	return key, err
}

func watcherMayView(t *testing.T, store keypair.Store) {
	var seen []map[string]string
	defer store.Watch(func([]string) { seen = append(seen, content(t, store)) })()
	update(t, store, map[string][]byte{"a": []byte("1")})
	update(t, store, map[string][]byte{"a": []byte("2")})
	if diff := cmp.Diff([]map[string]string{{"a": "1"}, {"a": "2"}}, seen); diff != "" {
		t.Errorf("the watcher saw (-want +got):\n%s", diff)
	}
}

func stopWaits(t *testing.T, store keypair.Store) {
	called, stopped := make(chan struct{}), make(chan struct{})
	var early atomic.Bool
	stop := store.Watch(func([]string) {
		close(called)
		select {
		case <-stopped:
			early.Store(true)
		case <-time.After(restraint):
		}
	})
	updated := make(chan struct{})
	go func() {
		defer close(updated)
		update(t, store, map[string][]byte{"a": []byte("1")})
	}()
	await(t, "call of the watcher", called)
	stop()
	close(stopped)
	await(t, "update", updated)
	if early.Load() {
		t.Error("stop returned while a call was under way")
	}
}

func noCallFollows(t *testing.T, store keypair.Store) {
	var stays, goes hearing
	defer store.Watch(stays.changed)()
	stop := store.Watch(goes.changed)
	update(t, store, map[string][]byte{"a": []byte("1")})
	stop()
	stop() // as a deferred one after another
	update(t, store, map[string][]byte{"a": []byte("2")})
	if diff := cmp.Diff([][]string{{"a"}}, goes.heard()); diff != "" {
		t.Errorf("the watcher that was stopped heard (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([][]string{{"a"}, {"a"}}, stays.heard()); diff != "" {
		t.Errorf("the other watcher heard (-want +got):\n%s", diff)
	}
}
