package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/latchkey-ssh/latchkey/keypair"
)

var model = []promise{{"ItDoesWhatAMapDoes", doesWhatAMapDoes}}

// doesWhatAMapDoes makes transactions at random and compares all that they return, and what
// watchers hear, with a map. Each run has keys of its own, below a prefix.
func doesWhatAMapDoes(t *testing.T, store keypair.Store) {
	var heard []string
	defer store.Watch(func(keys []string) { heard = append(heard, keys...) })()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		m := &mapModel{store: store, prefix: fmt.Sprintf("run %d/", run), committed: map[string]string{}}
		t.Repeat(map[string]func(*rapid.T){
			"update": func(t *rapid.T) {
				heard = nil
				m.update(t)
				m.compareHeard(t, heard)
			},
			"": m.compare,
		})
	})
}

type mapModel struct {
	store     keypair.Store
	prefix    string
	committed map[string]string
	touched   map[string]bool // by the last update, if it was committed
}

// keys are few and short, so that they meet, and are prefixes of each other.
var keys = rapid.StringOfN(rapid.RuneFrom([]rune("a/\x7fé\U0010ffff")), 0, 3, -1)

var errRollback = errors.New("rolled back")

// step is one operation of a transaction.
type step struct {
	Do    string
	Key   string
	Value string
}

// plan draws a whole transaction beforehand: change may be called again.
func plan(t *rapid.T) []step {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			Do:    rapid.SampledFrom([]string{"put", "put", "delete", "get", "scan"}).Draw(t, "do"),
			Key:   keys.Draw(t, "key"),
			Value: rapid.StringN(0, 4, -1).Draw(t, "value"),
		}
	}), 0, 8).Draw(t, "steps")
}

func (m *mapModel) update(t *rapid.T) {
	steps, fail := plan(t), rapid.IntRange(0, 4).Draw(t, "fails at 0") == 0
	var state map[string]string
	err := m.store.Update(context.Background(), func(tx keypair.Tx) error {
		state = maps.Clone(m.committed)
		m.touched = map[string]bool{}
		for _, s := range steps {
			m.do(t, tx, state, s)
		}
		if fail {
			return errRollback
		}
		return nil
	})
	switch {
	case fail && !isVery(err, errRollback), !fail && err != nil:
		t.Fatalf("update: %v", err)
	case fail:
		m.touched = nil
	default:
		m.committed = state
	}
}

func (m *mapModel) do(t *rapid.T, tx keypair.Tx, state map[string]string, s step) {
	key := m.prefix + s.Key
	var err error
	switch s.Do {
	case "put":
		err = tx.Put(key, []byte(s.Value))
		state[key], m.touched[key] = s.Value, true
	case "delete":
		err = tx.Delete(key)
		if _, there := state[key]; there {
			m.touched[key] = true
		}
		delete(state, key)
	case "get":
		err = sameValue(tx, state, key)
	case "scan":
		err = sameScan(tx, state, key)
	}
	if err != nil {
		t.Fatalf("%s %q: %v", s.Do, key, err)
	}
}

func sameValue(tx keypair.Tx, state map[string]string, key string) error {
	got, err := tx.Get(key)
	want, there := state[key]
	if (got != nil) != there || string(got) != want {
		return fmt.Errorf("got %q, want %q, there: %t (%w)", got, want, there, err)
	}
	return err
}

func sameScan(tx keypair.Tx, state map[string]string, prefix string) error {
	var got, want []string
	err := tx.Scan(prefix, func(key string, value []byte) error {
		got = append(got, key+" = "+string(value))
		return nil
	})
	for _, key := range slices.Sorted(maps.Keys(state)) {
		if strings.HasPrefix(key, prefix) {
			want = append(want, key+" = "+state[key])
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("visited (-want +got):\n%s (%w)", diff, err)
	}
	return err
}

// compare looks at all from outside.
func (m *mapModel) compare(t *rapid.T) {
	err := m.store.View(context.Background(), func(tx keypair.Tx) error { return sameScan(tx, m.committed, m.prefix) })
	if err != nil {
		t.Fatal(err)
	}
}

// compareHeard allows for keys that were put and deleted within one transaction.
func (m *mapModel) compareHeard(t *rapid.T, heard []string) {
	for key := range m.touched {
		if !slices.Contains(heard, key) {
			t.Fatalf("watchers heard of %q, not of %q", heard, key)
		}
	}
	if m.touched == nil && len(heard) > 0 {
		t.Fatalf("watchers heard of %q, which was rolled back", heard)
	}
}
