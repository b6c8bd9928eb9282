package commits

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func nothing() ([]string, error) { return nil, nil }

func TestWaitingForATurnEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		release := make(chan struct{})
		go func() {
			_ = s.Do(context.Background(), func() ([]string, error) { <-release; return nil, nil })
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		if err := s.Do(ctx, nothing); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second {
			t.Errorf("after %s: %v, want the context's error after a second", time.Since(begin), err)
		}
		close(release)
	})
}

func TestWaitingForATurnEndsWithTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		closing, waiting := make(chan struct{}), make(chan error, 1)
		go func() { _ = s.Close(func() error { <-closing; return nil }) }()
		synctest.Wait()
		go func() { waiting <- s.Do(context.Background(), nothing) }()
		synctest.Wait()
		close(closing)
		if err := <-waiting; !errors.Is(err, ErrClosed) {
			t.Errorf("error %v, want %v", err, ErrClosed)
		}
	})
}

func TestACommitThatFailsIsNotTold(t *testing.T) {
	s, mine := New(), errors.New("mine")
	defer s.Watch(func(keys []string) { t.Errorf("told of %q", keys) })()
	if err := s.Do(t.Context(), func() ([]string, error) { return []string{"a"}, mine }); !errors.Is(err, mine) {
		t.Errorf("error %v, want %v", err, mine)
	}
}

func TestAWatcherThatPanicsLeavesTheTurnToOthers(t *testing.T) {
	s := New()
	stop := s.Watch(func([]string) { panic("watcher") })
	func() {
		defer func() { _ = recover() }()
		_ = s.Do(t.Context(), func() ([]string, error) { return []string{"a"}, nil })
	}()
	stop()
	if err := s.Do(t.Context(), nothing); err != nil {
		t.Error(err)
	}
}

func TestAWatcherThatIsAddedDuringACallHearsTheNextCommit(t *testing.T) {
	s := New()
	var heard []string
	s.Watch(func([]string) {
		s.Watch(func(keys []string) { heard = append(heard, keys...) })
	})
	for _, key := range []string{"a", "b"} {
		if err := s.Do(t.Context(), func() ([]string, error) { return []string{key}, nil }); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]string{"b"}, heard); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
}
