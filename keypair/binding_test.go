package keypair_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/latchkey-ssh/latchkey/keypair"
)

func wantOutcomes(t *testing.T, what string, got, want []keypair.Outcome) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateErrors()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestTheLastPairBoundWins(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		importPair(t, r, "first")
		importPair(t, r, "second")
		register(t, r, linux("i-1", 1), linux("i-2", 2))
		if got := boundTo(t, r, "i-1"); got != "" {
			t.Errorf("%q is bound from the beginning", got)
		}
		attach(t, r, "first", "i-1", "i-2")
		attach(t, r, "second", "i-1")
		attach(t, r, "second", "i-1") // again is nothing new
		for id, want := range map[string]string{"i-1": "second", "i-2": "first"} {
			if got := boundTo(t, r, id); got != want {
				t.Errorf("%q is bound to %s, want %q", got, id, want)
			}
		}
		for pair, want := range map[string]string{"first": "i-2", "second": "i-1"} {
			of, err := r.Instances(t.Context(), keypair.InstanceFilter{KeyPairName: pair})
			if err != nil || len(of) != 1 || of[0].ID != want {
				t.Errorf("instances of %s: %v (%v), want %s", pair, of, err, want)
			}
		}
	})
}

func TestDetachUnbindsThatPairOnly(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		importPair(t, r, "mine")
		importPair(t, r, "other")
		register(t, r, linux("i-1", 1), linux("i-2", 2), linux("i-3", 3), windows("i-w"))
		attach(t, r, "mine", "i-1")
		attach(t, r, "other", "i-2")
		outcomes, err := r.Detach(t.Context(), "mine", []string{"i-1", "i-2", "i-3", "i-w", "i-gone"})
		wantErr(t, "detach", err, nil)
		wantOutcomes(t, "detach", outcomes, []keypair.Outcome{
			{InstanceID: "i-1"},
			{InstanceID: "i-2"},
			{InstanceID: "i-3"},
			{InstanceID: "i-w"},
			{InstanceID: "i-gone", Err: keypair.ErrInstanceNotFound},
		})
		for id, want := range map[string]string{"i-1": "", "i-2": "other", "i-3": ""} {
			if got := boundTo(t, r, id); got != want {
				t.Errorf("%q is bound to %s, want %q", got, id, want)
			}
		}
		attach(t, r, "mine", "i-1") // unbound is not for ever
	})
}

func TestAnInstanceThatTakesNoneFailsAlone(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		importPair(t, r, "mine")
		register(t, r, linux("i-1", 1), windows("i-w"), linux("i-2", 2))
		outcomes, err := r.Attach(t.Context(), "mine", []string{"i-w", "i-1", "i-gone", "i-2", "i-1", "../pair/mine", ""})
		wantErr(t, "attach", err, nil)
		wantOutcomes(t, "attach", outcomes, []keypair.Outcome{
			{InstanceID: "i-w", Err: keypair.ErrWindows},
			{InstanceID: "i-1"},
			{InstanceID: "i-gone", Err: keypair.ErrInstanceNotFound},
			{InstanceID: "i-2"},
			{InstanceID: "../pair/mine", Err: keypair.ErrInstanceNotFound},
			{InstanceID: "", Err: keypair.ErrInstanceNotFound},
		})
		for id, want := range map[string]string{"i-1": "mine", "i-2": "mine", "i-w": ""} {
			if got := boundTo(t, r, id); got != want {
				t.Errorf("%q is bound to %s, want %q", got, id, want)
			}
		}
	})
}

func TestAnUnknownPairChangesNothing(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		importPair(t, r, "mine")
		register(t, r, linux("i-1", 1))
		attach(t, r, "mine", "i-1")
		for _, pair := range []string{"nobody", "", "mine/i-1", "*"} {
			outcomes, err := r.Attach(t.Context(), pair, []string{"i-1"})
			wantErr(t, "attach", err, keypair.ErrPairNotFound)
			wantOutcomes(t, "attach", outcomes, nil)
			_, err = r.Detach(t.Context(), pair, []string{"i-1"})
			wantErr(t, "detach", err, keypair.ErrPairNotFound)
		}
		if got := boundTo(t, r, "i-1"); got != "mine" {
			t.Errorf("%q is bound", got)
		}
	})
}

// TestOfManyBindingsAtOnceTheLastCommittedStays: watchers hear commits in their order, so the last that they
// saw of an instance is what is bound in the end.
func TestOfManyBindingsAtOnceTheLastCommittedStays(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		pairs, ids := []string{"aa", "bb", "cc", "dd"}, []string{"i-1", "i-2", "i-3"}
		for i, pair := range pairs {
			importPair(t, r, pair)
			if i < len(ids) {
				register(t, r, linux(ids[i], i))
			}
		}
		last := map[string]string{}
		stop := r.Watch(func(changed []string) {
			for _, id := range changed {
				last[id] = boundTo(t, r, id)
			}
		})
		var all sync.WaitGroup
		for _, pair := range pairs {
			all.Go(func() {
				for i := range 10 {
					if _, err := r.Attach(t.Context(), pair, ids[i%3:]); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		stop()
		for _, id := range ids {
			if got := boundTo(t, r, id); got != last[id] || !slices.Contains(pairs, got) {
				t.Errorf("%q is bound to %s, %q was the last", got, id, last[id])
			}
		}
	})
}

func TestTheIDsOfChangedInstancesAreTold(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		var heard [][]string
		stop := r.Watch(func(ids []string) { heard = append(heard, ids) })
		importPair(t, r, "mine")
		importPair(t, r, "other")
		steps := []struct {
			what string
			do   func() error
			want []string
		}{
			{"register", func() error { _, err := r.Register(t.Context(), linux("i-1", 1)); return err }, []string{"i-1"}},
			{"register another", func() error { _, err := r.Register(t.Context(), linux("i-2", 2)); return err }, []string{"i-2"}},
			{"bind both", func() error { _, err := r.Attach(t.Context(), "mine", []string{"i-2", "i-1"}); return err }, []string{"i-1", "i-2"}},
			{"bind again", func() error { _, err := r.Attach(t.Context(), "mine", []string{"i-2", "i-1"}); return err }, nil},
			{"rebind one", func() error { _, err := r.Attach(t.Context(), "other", []string{"i-2"}); return err }, []string{"i-2"}},
			{"unbind", func() error { _, err := r.Detach(t.Context(), "mine", []string{"i-1", "i-2"}); return err }, []string{"i-1"}},
			{"tag", func() error { return r.TagKeyPairs(t.Context(), []string{"mine"}, manyTags("k", 1)) }, nil},
			{"delete", func() error { return r.DeleteKeyPairs(t.Context(), []string{"mine"}) }, nil},
			{"stop", func() error { return r.SetStatus(t.Context(), "i-1", keypair.Stopped) }, []string{"i-1"}},
			{"remove", func() error { return r.Remove(t.Context(), "i-2") }, []string{"i-2"}},
			{"use an access key", func() error { _, err := r.CreateAccessKey(t.Context(), ""); return err }, nil},
		}
		for _, step := range steps {
			heard = nil
			wantErr(t, step.what, step.do(), nil)
			var want [][]string
			if step.want != nil {
				want = [][]string{step.want}
			}
			if diff := cmp.Diff(want, heard); diff != "" {
				t.Errorf("%s: told (-want +got):\n%s", step.what, diff)
			}
		}
		stop()
		heard = nil
		wantErr(t, "remove", r.Remove(t.Context(), "i-1"), nil)
		if heard != nil {
			t.Errorf("told of %v after the stop", heard)
		}
	})
}

func TestARegionWithManyInstancesBindsThemAll(t *testing.T) {
	r := inMemory(t)
	importPair(t, r, "mine")
	var ids []string
	for i := range 300 {
		ids = append(ids, fmt.Sprintf("i-%03d", i))
		register(t, r, linux(ids[i], i))
	}
	attach(t, r, "mine", ids...)
	of, err := r.Instances(t.Context(), keypair.InstanceFilter{KeyPairName: "mine"})
	if err != nil || len(of) != len(ids) {
		t.Errorf("%d instances (%v), want %d", len(of), err, len(ids))
	}
}
