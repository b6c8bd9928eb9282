package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/metadata"
)

// The three answers that the tables below speak of.
type answers struct{ a, b, none metadata.Binding }

func newAnswers(t *testing.T) answers {
	t.Helper()
	return answers{bound(t, testmachine.NewKey(t, "ed25519")), bound(t, testmachine.NewKey(t, "ed25519")), unbound()}
}

func TestWhichBindingIsInForceAndWhichWaits(t *testing.T) {
	t.Parallel()
	is := newAnswers(t)
	type in struct {
		state State
		seen  metadata.Binding
		when  When
		now   bool
	}
	in1 := func(boot string, force, pending *metadata.Binding) State {
		return State{InstanceID: testInstance, BootID: boot, InForce: force, Pending: pending}
	}
	tests := []struct {
		name string
		in   in
		want State
	}{
		{"first answer ever is in force", in{State{}, is.a, AtBoot, false}, in1("now", &is.a, nil)},
		{"first unbound ever is in force", in{State{}, is.none, AtBoot, false}, in1("now", &is.none, nil)},
		{"same again changes nothing", in{in1("now", &is.a, nil), is.a, AtBoot, false}, in1("now", &is.a, nil)},
		{"another in the same boot waits", in{in1("now", &is.a, nil), is.b, AtBoot, false}, in1("now", &is.a, &is.b)},
		{"unbound in the same boot waits", in{in1("now", &is.a, nil), is.none, AtBoot, false}, in1("now", &is.a, &is.none)},
		{"bound in the same boot waits", in{in1("now", &is.none, nil), is.a, AtBoot, false}, in1("now", &is.none, &is.a)},
		{"what waits is replaced", in{in1("now", &is.a, &is.b), is.none, AtBoot, false}, in1("now", &is.a, &is.none)},
		{"what waits goes when it is taken back", in{in1("now", &is.a, &is.b), is.a, AtBoot, false}, in1("now", &is.a, nil)},
		{"first answer of a boot is in force", in{in1("old", &is.a, &is.b), is.b, AtBoot, false}, in1("now", &is.b, nil)},
		{"first answer of a boot need not be what waited", in{in1("old", &is.a, &is.b), is.none, AtBoot, false}, in1("now", &is.none, nil)},
		{"same at the next boot", in{in1("old", &is.a, nil), is.a, AtBoot, false}, in1("now", &is.a, nil)},
		{"live: another is in force at once", in{in1("now", &is.a, nil), is.b, Live, false}, in1("now", &is.b, nil)},
		{"live: what waited is in force", in{in1("now", &is.a, &is.b), is.b, Live, false}, in1("now", &is.b, nil)},
		{"asked to: another is in force at once", in{in1("now", &is.a, &is.b), is.b, AtBoot, true}, in1("now", &is.b, nil)},
		{"unknown changes nothing", in{in1("now", &is.a, &is.b), unknown(), AtBoot, false}, in1("now", &is.a, &is.b)},
		{"unknown at the next boot changes nothing", in{in1("old", &is.a, &is.b), unknown(), AtBoot, false}, in1("old", &is.a, &is.b)},
		{"unknown changes nothing live", in{in1("now", &is.a, nil), unknown(), Live, false}, in1("now", &is.a, nil)},
		{"unknown changes nothing though asked to", in{in1("old", &is.a, nil), unknown(), AtBoot, true}, in1("old", &is.a, nil)},
		{"unknown from the first puts nothing in force", in{State{}, unknown(), AtBoot, true}, State{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := decide(test.in.state, test.in.seen, "now", test.in.when, test.in.now)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecidingAgainOnTheSameAnswerIsTheSameState(t *testing.T) {
	t.Parallel()
	is := newAnswers(t)
	for _, before := range []State{{}, {BootID: "old", InForce: &is.a}, {BootID: "now", InForce: &is.a, Pending: &is.none}} {
		for _, seen := range []metadata.Binding{is.a, is.b, is.none, unknown()} {
			for _, when := range []When{AtBoot, Live} {
				once := decide(before, seen, "now", when, false)
				twice := decide(once, seen, "now", when, false)
				if diff := cmp.Diff(once, twice); diff != "" {
					t.Errorf("%s, %s: deciding again (-once +twice):\n%s", seen.State, when, diff)
				}
			}
		}
	}
}
