package agent

import (
	"context"
	"slices"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// unproved is what follows a proof that does not carry the policy. What
// somebody else has done is reported and never acted on. To leave passwords as
// they are takes no proof.
func (r *applier) unproved(ctx context.Context, undecided bool) error {
	if older := r.plan.Stage[len(r.plan.Final):]; len(older) > 0 {
		r.faults = append(r.faults, olderKeyCause(older))
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case !r.plan.Policy.Closed:
		return r.setPolicy(ctx, r.openPolicy(ctx))
	case r.plan.Steady && (r.wasClosed || !r.closed): // else it is this pass that has closed it
		isOther := func(c sshd.Cause) bool { return !isChains(c) } // which keeps no key out
		if r.closed && slices.ContainsFunc(r.faults, isOther) {
			r.faults = append(r.faults, stayCause)
		}
		return nil
	}
	return r.fallBack(ctx, undecided)
}

// stayCause says that nobody may get in, and who can change that.
var stayCause = sshd.Cause{
	ID:     "passwords-stay-off",
	Detail: "the key logged in earlier in this boot and does not any more, for a reason that is not latchkey's; passwords are not opened for that",
	Remedy: "mend what else is reported, or open passwords now: latchkey apply",
}

// olderKeyCause says that keys which are not bound any more still log in.
func olderKeyCause(lines []string) sshd.Cause {
	older := metadata.Binding{}
	for _, line := range lines {
		if key, err := authkeys.ParseManaged(line); err == nil {
			older.Keys = append(older.Keys, metadata.Key{Type: key.Type, Blob: key.Blob})
		}
	}
	return sshd.Cause{
		ID:     "older-key-stays",
		Detail: "the key bound before, " + fingerprints(older) + ", still logs in: the one bound now is not proved",
		Remedy: "mend what else is reported; it goes once the bound key is proved",
	}
}

// fallBack opens passwords. They stay closed only where they were closed
// before, and the way in that was proved then still stands: either nothing is
// known now, or an older key still logs in.
func (r *applier) fallBack(ctx context.Context, undecided bool) error {
	switch {
	case r.wasClosed && undecided && len(r.plan.WayIn) > 0:
		return nil
	case r.wasClosed && r.otherKeysWork(), r.wasClosed && r.olderKeyWorks(ctx):
		return nil
	}
	return r.setPolicy(ctx, r.openPolicy(ctx))
}

// otherKeysWork tells whether, of several bound keys, those log in that can be used
// at all.
func (r *applier) otherKeysWork() bool {
	return len(r.plan.Refused) > 0 && r.proof != nil && r.proof.Closes()
}

// olderKeyWorks asks about the keys that were proved before, unless they are
// the very ones that have just failed.
func (r *applier) olderKeyWorks(ctx context.Context) bool {
	if len(r.plan.WayIn) == 0 || r.plan.newIsWayIn() {
		return false
	}
	subject := r.subject()
	subject.Keys = nil
	for _, line := range r.plan.WayIn {
		if key, err := authkeys.ParseManaged(line); err == nil {
			subject.Keys = append(subject.Keys, sshd.PublicKey{Type: key.Type, Blob: key.Blob})
		}
	}
	proof, err := r.ask(ctx, subject)
	if err != nil || !proof.Closes() {
		return false
	}
	return !r.running || r.askRunning(ctx, subject.Keys[0]).Key == sshd.Accepted
}
