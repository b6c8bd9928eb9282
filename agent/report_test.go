package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/metadata"
)

// outline is the part of a report that these tests are about.
type outline struct {
	Password string
	InForce  metadata.State
	Pending  metadata.State
	Applied  bool
	ThisBoot bool
	Faults   []string
}

func (r *rig) outline(seen metadata.Binding) outline {
	r.t.Helper()
	report, err := r.agent().Report(seen)
	if err != nil {
		r.t.Fatal(err)
	}
	s := outline{Password: report.Password, Applied: report.Applied, ThisBoot: report.ThisBoot}
	if report.InForce != nil {
		s.InForce = report.InForce.State
	}
	if report.Pending != nil {
		s.Pending = report.Pending.State
	}
	for _, f := range report.Faults {
		s.Faults = append(s.Faults, f.ID)
	}
	return s
}

func (r *rig) wantStatusOf(when string, seen metadata.Binding, want outline) {
	r.t.Helper()
	if diff := cmp.Diff(want, r.outline(seen)); diff != "" {
		r.t.Errorf("status %s (-want +got):\n%s", when, diff)
	}
}

func TestStatusFollowsAnInstanceThroughItsBindings(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	first, second := bound(t, testmachine.NewKey(t, "ed25519")), bound(t, testmachine.NewKey(t, "ed25519"))
	r.wantStatusOf("before any pass", first, outline{Password: "unknown", Pending: metadata.Bound})

	r.pass(first, How{})
	closed := outline{Password: "off", InForce: metadata.Bound, Applied: true, ThisBoot: true}
	r.wantStatusOf("once bound", first, closed)

	waiting := closed
	waiting.Pending = metadata.Bound
	r.wantStatusOf("with another key bound since", second, waiting)

	away := closed
	away.Faults = []string{"endpoint-unknown"}
	r.wantStatusOf("with the endpoint away", unknown(), away)

	r.reboot()
	stale := closed
	stale.ThisBoot = false
	r.wantStatusOf("after a restart, before a pass", first, stale)

	r.pass(unbound(), How{})
	r.wantStatusOf("once unbound", unbound(), outline{Password: "on", InForce: metadata.Unbound, Applied: true, ThisBoot: true})
}

// TestStatusNamesAFailureUntilAPassGoesWell: an error is not only in the log.
func TestStatusNamesAFailureUntilAPassGoesWell(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	seen := bindingOfAnyKey(t)
	insteadOfKeysFile(makeFIFO)(r)
	if _, err := r.agent().Pass(t.Context(), seen, How{}); err == nil {
		t.Fatal("pass went well, want an error")
	}
	r.wantStatusOf("after the failure", seen, outline{
		Password: "unknown", InForce: metadata.Bound, Faults: []string{"authorized-keys-not-a-file"},
	})
	before := r.ReadFile(StateDir + "/" + stateFile)
	if _, err := r.agent().Pass(t.Context(), seen, How{}); err == nil {
		t.Fatal("pass went well, want an error")
	}
	if r.ReadFile(StateDir+"/"+stateFile) != before {
		t.Error("the same failure again wrote the state again")
	}

	command("rm", keyFile)(r)
	r.pass(seen, How{})
	r.wantStatusOf("after a good pass", seen, outline{Password: "off", InForce: metadata.Bound, Applied: true, ThisBoot: true})
}

func TestStatusOfAnotherInstancesEndpointSaysSo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.pass(unbound(), How{})
	other := bindingOfAnyKey(t)
	other.InstanceID = "i-other"
	if _, err := r.agent().Pass(t.Context(), other, How{}); err == nil {
		t.Fatal("pass for another instance went well, want an error")
	}
	r.wantStatusOf("afterwards", other, outline{
		Password: "on", InForce: metadata.Unbound, Applied: true, ThisBoot: true, Faults: []string{"other-instance"},
	})
}
