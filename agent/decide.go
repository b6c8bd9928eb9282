package agent

import "github.com/latchkey-ssh/latchkey/metadata"

// decide takes what the endpoint says into the state: what is in force, and
// what waits for a restart. It is the only place where the boot rule is known.
//
//   - Unknown changes nothing: what was in force stays.
//   - Live, or asked to (now): a good answer is in force.
//   - At boot: the first good answer of a boot is; a later one that differs waits.
func decide(state State, seen metadata.Binding, boot string, when When, now bool) State {
	if seen.State == metadata.Unknown {
		return state
	}
	state.InstanceID = seen.InstanceID
	switch {
	case state.InForce == nil, state.BootID != boot, when == Live, now:
		adopt(&state, seen, boot)
	case state.InForce.Same(seen):
		state.Pending = nil
	case state.Pending == nil || !state.Pending.Same(seen):
		state.Pending = &seen
	}
	return state
}

// adopt puts seen in force. The same binding is not taken again, so that a
// pass which changes nothing writes nothing.
func adopt(state *State, seen metadata.Binding, boot string) {
	state.Pending = nil
	state.BootID = boot
	if state.InForce == nil || !state.InForce.Same(seen) {
		state.InForce = &seen
	}
}
