package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-ssh/latchkey/sshd"
)

const (
	// handOverTime is longer than a logon takes that does not wait for a person.
	handOverTime = 5 * time.Second
	// handOverLimit bounds the rest, which nothing cuts short: systemd gives a service
	// that is to stop 20 s.
	handOverLimit = 15 * time.Second
	// askLimit bounds each question to the listener meanwhile, so that there is time to put
	// the keys back.
	askLimit = 5 * time.Second
)

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
// recorded before the wait; but not that the keys log in, which the file alone may be the
// reason for: a listener may run with another configuration than the one that was proved.
func (r *applier) handOver(ctx context.Context) error {
	if err := r.step(Record, StateDir+"/"+stateFile, r.record); err != nil {
		return err
	}
	select {
	case <-time.After(handOverTime):
	case <-ctx.Done():
		return ctx.Err()
	}
	// A pass that ended between the file and the answer might leave no way in.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handOverLimit)
	defer cancel()
	if err := r.retire(ctx); err != nil {
		return err
	}
	if r.askSoon(ctx) {
		r.works = true
		return nil
	}
	return r.backInFile(ctx)
}

// unheard is what follows a listener that does not agree with the proof. A hand-over that
// was cut off may have left it without the file that it needs.
func (r *applier) unheard(ctx context.Context) error {
	if r.listener.Key == sshd.Refused && r.leavesFile() {
		return r.backInFile(ctx)
	}
	return r.unproved(ctx, r.listener.Key == sshd.Unknown)
}

// backInFile puts the keys back into the file that they are to leave, where a listener
// takes them from that alone.
func (r *applier) backInFile(ctx context.Context) error {
	isRefused := r.listener.Key == sshd.Refused
	err := r.setFiles(ctx, func(there []string) []string {
		isNew := func(line string) bool { return slices.Contains(r.plan.Final, line) }
		return slices.Concat(r.plan.Final, slices.DeleteFunc(there, isNew)) // an older one may be the way in
	})
	switch {
	case err != nil || !r.askSoon(ctx):
		return errors.Join(err, r.unproved(ctx, r.listener.Key == sshd.Unknown))
	case isRefused:
		return r.stayInFile(ctx)
	}
	return nil // it did not answer before, which says nothing of the command
}

// askSoon is askListener with less patience.
func (r *applier) askSoon(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	return r.askListener(ctx)
}

// stayInFile leaves the bound keys, and no others, where the listener takes them from.
func (r *applier) stayInFile(ctx context.Context) error {
	r.faults = append(slices.DeleteFunc(r.faults, isListeners), ignoresCommand)
	if err := r.writeKeys(ctx, WriteKeys, r.plan.Final); err != nil {
		return err
	}
	return r.setFiles(ctx, func([]string) []string { return r.plan.Final })
}

// setFiles changes our lines in the user's files that the keys are to leave, which they
// do not for now.
func (r *applier) setFiles(ctx context.Context, change func(there []string) []string) error {
	for _, place := range r.plan.Retire {
		if !r.isOwnFile(place) {
			continue
		}
		store, err := r.agent.fileOf(ctx, r.plan.world.Account, place)
		if err != nil {
			return err
		}
		if !slices.Contains(r.elsewhere, place) {
			r.elsewhere = append(r.elsewhere, place)
		}
		if err := r.setKeys(ctx, WriteKeys, store, change(store.managed())); err != nil {
			return err
		}
	}
	return nil
}

// ignoresCommand is found out by taking the keys out of their file, during which nobody
// gets in. So it is not tried again before somebody asks for it, or something changes.
var ignoresCommand = sshd.Cause{
	ID:     "listener-ignores-command",
	Detail: "the running sshd takes the key from its file alone, so it stays there: sshd runs with another configuration than its file has",
	Remedy: "restart sshd, then run \"latchkey apply\"",
}

// isListeners tells a cause that lies in the running sshd.
func isListeners(c sshd.Cause) bool { return strings.HasPrefix(c.ID, "listener-") }

// staysInFile tells whether the outcome is that the running sshd takes the keys from
// their file alone, as long as nothing has changed since.
func (a *Applied) staysInFile(world *World) bool {
	return a != nil && a.BootID == world.Boot && a.World == world.Foreign &&
		slices.ContainsFunc(a.Faults, func(c sshd.Cause) bool { return c.ID == ignoresCommand.ID })
}
