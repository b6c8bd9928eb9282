// Package commits is what the stores of one process share: their commits one after another,
// and those who watch told of each before the next begins. So the order of the calls is the order
// of the commits without a queue, and nothing is left to deliver when a store is closed.
package commits

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"unicode/utf8"
)

// ErrClosed is the error of a store that was closed.
var ErrClosed = errors.New("the store is closed")

// MaxKeyBytes is the length of the longest key, as keypair.Store has it.
const MaxKeyBytes = 1024

// CheckKey holds a key that is put to what keypair.Store says of keys.
func CheckKey(key string) error {
	if key == "" || len(key) > MaxKeyBytes || !utf8.ValidString(key) {
		return fmt.Errorf("key %.40q of %d bytes: want UTF-8 of 1 to %d bytes", key, len(key), MaxKeyBytes)
	}
	return nil
}

// Sequence puts commits one after another.
type Sequence struct {
	turn   chan struct{} // holds one element while a commit is under way, and for ever once closed
	closed chan struct{}

	mu       sync.Mutex // of watchers
	watchers []*watcher
}

// New returns a Sequence without watchers.
func New() *Sequence {
	return &Sequence{turn: make(chan struct{}, 1), closed: make(chan struct{})}
}

// Do waits until no other commit is under way, or the context is over, and runs commit, which
// returns the keys that it has changed. Then it tells the watchers.
func (s *Sequence) Do(ctx context.Context, commit func() (keys []string, err error)) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer func() { <-s.turn }()
	keys, err := commit()
	if err == nil && len(keys) > 0 {
		s.tell(keys)
	}
	return err
}

func (s *Sequence) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-s.closed:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close waits for the commit under way and runs end; every later Do is ErrClosed. A second
// Close does nothing.
func (s *Sequence) Close(end func() error) error {
	if err := s.begin(context.Background()); err != nil {
		return nil
	}
	close(s.closed)
	return end()
}

// watcher is one that is told of commits.
type watcher struct {
	mu      sync.Mutex // held during a call
	stopped bool
	changed func(keys []string)
}

// Watch lets changed be told of commits, as keypair.Store has it.
func (s *Sequence) Watch(changed func(keys []string)) (stop func()) {
	w := &watcher{changed: changed}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, w)
	return func() {
		s.forget(w)
		w.mu.Lock() // a call may be under way
		defer w.mu.Unlock()
		w.stopped = true
	}
}

func (s *Sequence) forget(w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = slices.DeleteFunc(s.watchers, func(other *watcher) bool { return other == w })
}

// tell does not hold s.mu while it calls: changed may take its time, and may Watch.
func (s *Sequence) tell(keys []string) {
	s.mu.Lock()
	watchers := slices.Clone(s.watchers)
	s.mu.Unlock()
	for _, w := range watchers {
		w.tell(slices.Clone(keys))
	}
}

func (w *watcher) tell(keys []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.changed(keys)
	}
}

// Keys are those that a transaction has changed.
type Keys map[string]struct{}

// Add counts a key as changed.
func (k Keys) Add(key string) { k[key] = struct{}{} }

// List returns them in order.
func (k Keys) List() []string {
	list := make([]string, 0, len(k))
	for key := range k {
		list = append(list, key)
	}
	slices.Sort(list)
	return list
}
