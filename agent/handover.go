package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/latchkey-ssh/latchkey/sshd"
)

// handOverTime is longer than a logon takes that does not wait for a person.
const handOverTime = 5 * time.Second

// leavesFile tells whether the bound keys are to leave a file for the command alone,
// under an sshd that runs.
func (r *applier) leavesFile() bool {
	return r.running && r.command != (sshd.KeysCommand{}) && slices.ContainsFunc(r.plan.Retire, r.isOwnFile)
}

// isOwnFile tells whether the place is a file of the logon user's.
func (r *applier) isOwnFile(p KeysPlace) bool {
	return !p.isIndex() && p.User == r.plan.world.Account.Name
}

// handOver takes the bound keys out of a file once nobody needs them there: whoever is
// just logging in met an sshd that did not ask the command yet. All else is done, and is
// recorded before the wait.
func (r *applier) handOver(ctx context.Context) error {
	if err := r.step(Record, StateDir+"/"+stateFile, r.record); err != nil {
		return err
	}
	select {
	case <-time.After(handOverTime):
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := r.retire(ctx); err != nil {
		return err
	}
	if r.askListener(ctx) {
		return nil
	}
	return r.putBack(ctx)
}

// putBack puts the keys back into the file: the file alone was why the listener took
// them. It runs with another configuration than the one that was proved.
func (r *applier) putBack(ctx context.Context) error {
	for _, place := range r.plan.Retire {
		if !r.isOwnFile(place) {
			continue
		}
		store, err := r.agent.fileOf(ctx, r.plan.world.Account, place)
		if err != nil {
			return err
		}
		if err := r.setKeys(ctx, WriteKeys, store, r.plan.Final); err != nil {
			return err
		}
		r.elsewhere = append(r.elsewhere, place)
	}
	if !r.askListener(ctx) && r.listener.Key == sshd.Refused {
		return errors.New("the running sshd does not ask the command, nor take the key from its file any more")
	}
	return nil
}
