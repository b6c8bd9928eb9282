package keypair_test

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

// model is a region as its rules have it, and nothing else.
type model struct {
	Pairs     map[string]string        // the tag's value, by name
	Instances map[string]modelInstance // by id
}

type modelInstance struct {
	Windows bool
	Address string
	Pair    string
}

func newModel() model {
	return model{Pairs: map[string]string{}, Instances: map[string]modelInstance{}}
}

func (m model) clone() model {
	return model{Pairs: maps.Clone(m.Pairs), Instances: maps.Clone(m.Instances)}
}

// operation is one call of a Region.
type operation struct {
	Do      string
	Pair    string
	IDs     []string // the first is the instance where the operation has one
	Value   string   // of the tag
	Address int
}

// draw makes an operation on few names, so that they meet; pick returns a number below n.
func draw(pick func(n int) int) operation {
	verbs := []string{"import", "delete", "register", "register", "remove", "attach", "attach", "attach", "detach", "tag"}
	id := func() string { return fmt.Sprint("i-", pick(5)) }
	return operation{
		Do: verbs[pick(len(verbs))], Pair: fmt.Sprint("pair-", pick(4)), IDs: []string{id(), id(), id()}[:1+pick(3)],
		Value: fmt.Sprint(pick(3)), Address: pick(6),
	}
}

// isWindows decides by the id what an instance runs.
func isWindows(id string) bool { return id == "i-4" }

// run does the operation and says what came of it.
func (o operation) run(r *keypair.Region) string {
	ctx, id := context.Background(), o.IDs[0]
	var err error
	switch o.Do {
	case "import":
		_, err = r.ImportKeyPair(ctx, keypair.NewKeyPair{Name: o.Pair}, publicKey(o.Pair))
	case "delete":
		err = r.DeleteKeyPairs(ctx, []string{o.Pair, "pair-0"})
	case "tag":
		err = r.TagKeyPairs(ctx, []string{o.Pair}, []keypair.Tag{{Key: "tag", Value: o.Value}})
	case "register":
		instance := linux(id, o.Address)
		if isWindows(id) {
			instance.OSType = keypair.Windows
		}
		_, err = r.Register(ctx, instance)
	case "remove":
		err = r.Remove(ctx, id)
	case "attach":
		return outcome(r.Attach(ctx, o.Pair, o.IDs))
	case "detach":
		return outcome(r.Detach(ctx, o.Pair, o.IDs))
	}
	return outcome(nil, err)
}

// sentinels are the errors that a model knows.
var sentinels = []error{
	keypair.ErrPairExists, keypair.ErrPairNotFound, keypair.ErrPairBound, keypair.ErrInstanceExists,
	keypair.ErrInstanceNotFound, keypair.ErrInstanceInvalid, keypair.ErrWindows,
}

func outcome(outcomes []keypair.Outcome, err error) string {
	text := kind(err)
	for _, o := range outcomes {
		text += ", " + o.InstanceID + " " + kind(o.Err)
	}
	return text
}

func kind(err error) string {
	for _, sentinel := range sentinels {
		if errors.Is(err, sentinel) {
			return sentinel.Error()
		}
	}
	return fmt.Sprint(err)
}

// apply does to the model what the operation does to a region, and says what comes of it.
func (m model) apply(o operation) string {
	id := o.IDs[0]
	switch o.Do {
	case "import":
		if _, there := m.Pairs[o.Pair]; there {
			return kind(keypair.ErrPairExists)
		}
		m.Pairs[o.Pair] = ""
	case "delete":
		return m.delete(o.Pair, "pair-0")
	case "tag":
		if _, there := m.Pairs[o.Pair]; !there {
			return kind(keypair.ErrPairNotFound)
		}
		m.Pairs[o.Pair] = o.Value
	case "register":
		return m.register(id, linux(id, o.Address).Addresses[0].String())
	case "remove":
		if _, there := m.Instances[id]; !there {
			return kind(keypair.ErrInstanceNotFound)
		}
		delete(m.Instances, id)
	default:
		return m.bind(o)
	}
	return kind(nil)
}

func (m model) delete(names ...string) string {
	for _, name := range names {
		if _, there := m.Pairs[name]; !there {
			return kind(keypair.ErrPairNotFound)
		}
		for _, instance := range m.Instances {
			if instance.Pair == name {
				return kind(keypair.ErrPairBound)
			}
		}
	}
	for _, name := range names {
		delete(m.Pairs, name)
	}
	return kind(nil)
}

func (m model) register(id, address string) string {
	if _, there := m.Instances[id]; there {
		return kind(keypair.ErrInstanceExists)
	}
	for _, other := range m.Instances {
		if other.Address == address {
			return kind(keypair.ErrInstanceInvalid)
		}
	}
	m.Instances[id] = modelInstance{Windows: isWindows(id), Address: address}
	return kind(nil)
}

func (m model) bind(o operation) string {
	if _, there := m.Pairs[o.Pair]; !there {
		return kind(keypair.ErrPairNotFound)
	}
	text, done := kind(nil), map[string]bool{}
	for _, id := range o.IDs {
		if !done[id] {
			text += ", " + id + " " + m.bindOne(o, id)
		}
		done[id] = true
	}
	return text
}

func (m model) bindOne(o operation, id string) string {
	instance, there := m.Instances[id]
	switch {
	case !there:
		return kind(keypair.ErrInstanceNotFound)
	case o.Do == "attach" && instance.Windows:
		return kind(keypair.ErrWindows)
	case o.Do == "attach":
		instance.Pair = o.Pair
	case instance.Pair == o.Pair:
		instance.Pair = ""
	}
	m.Instances[id] = instance
	return kind(nil)
}

// snapshot is the region as a model.
func snapshot(t testing.TB, r *keypair.Region) model {
	t.Helper()
	m := newModel()
	pairs, err := r.KeyPairs(context.Background(), keypair.PairFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range pairs {
		m.Pairs[pair.Name] = ""
		if len(pair.Tags) > 0 {
			m.Pairs[pair.Name] = pair.Tags[0].Value
		}
	}
	instances, err := r.Instances(context.Background(), keypair.InstanceFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range instances {
		m.Instances[i.ID] = modelInstance{Windows: i.OSType == keypair.Windows, Address: i.Addresses[0].String(), Pair: i.KeyPairName}
	}
	return m
}

// TestTheRegionDoesWhatItsRulesSay makes operations at random and compares what they say, what the region is
// afterwards, and whose change watchers hear of, with the model.
func TestTheRegionDoesWhatItsRulesSay(t *testing.T) {
	onBothStores(t, func(t *testing.T, r *keypair.Region) {
		var heard []string
		defer r.Watch(func(ids []string) { heard = append(heard, ids...) })()
		rapid.Check(t, func(rt *rapid.T) {
			m := newModel()
			empty(t, r)
			for range rapid.IntRange(1, 10).Draw(rt, "operations") {
				o, before := draw(func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "") }), m.clone()
				heard = nil
				if diff := cmp.Diff(m.apply(o), o.run(r)); diff != "" {
					rt.Fatalf("%+v (-want +got):\n%s", o, diff)
				}
				if diff := cmp.Diff(m, snapshot(t, r)); diff != "" {
					rt.Fatalf("after %+v (-want +got):\n%s", o, diff)
				}
				if diff := cmp.Diff(changed(before, m), strings.Join(heard, " ")); diff != "" {
					rt.Fatalf("watchers after %+v (-want +got):\n%s", o, diff)
				}
			}
		})
	})
}

// empty removes all there is.
func empty(t *testing.T, r *keypair.Region) {
	t.Helper()
	m := snapshot(t, r)
	for id := range m.Instances {
		if err := r.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.DeleteKeyPairs(t.Context(), slices.Collect(maps.Keys(m.Pairs))); err != nil {
		t.Fatal(err)
	}
}

// changed names the instances in which two models differ, in order.
func changed(a, b model) string {
	var ids []string
	for i := range 5 {
		id := fmt.Sprint("i-", i)
		before, was := a.Instances[id]
		after, is := b.Instances[id]
		if before != after || was != is {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}
