package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// Done is a step that was taken.
type Done struct {
	Step
	After time.Duration // since the pass began, when the step was over
	Took  time.Duration
	Err   error
}

// applier carries out one plan.
type applier struct {
	agent   *Agent
	plan    *Plan
	state   *State
	outcome *Outcome

	proof     *sshd.Proof
	listener  sshd.Answer
	running   bool
	wasClosed bool             // the door was closed, with a proof, before this pass
	closed    bool             // it is closed now
	command   sshd.KeysCommand // what sshd asks for keys now
	works     bool             // the bound keys log in, as proved and as the listener says
	opened    bool             // this pass has opened the door, and sshd has loaded that
	elsewhere []KeysPlace
	faults    []sshd.Cause
	kept      []sshd.Cause // what speaks against taking over the command that sshd goes on asking
}

// apply takes the plan's steps in the one order that is safe for them.
func (r *applier) apply(ctx context.Context) error {
	r.agent.sshd.Sweep()
	r.closed, r.command = r.plan.world.Files.HoldsClosed(), r.plan.world.Files.Held().Keys
	r.wasClosed = r.state.Applied.closed() && !r.state.Unfinished && r.plan.world.Files.Closed()
	r.elsewhere = r.plan.Retire
	if r.plan.Kept != nil {
		r.kept = []sshd.Cause{*r.plan.Kept}
	}
	var err error
	if r.plan.Binding.State == metadata.Bound && r.plan.world.NoKeys == nil {
		err = r.bind(ctx)
	} else {
		err = r.unbind(ctx)
	}
	if err != nil {
		return errors.Join(err, r.keepOpening())
	}
	return r.step(Record, StateDir+"/"+stateFile, func() error { return r.record() })
}

// keepOpening remembers, of a pass that failed later on, that passwords are
// open: sshd need not be made to load that again.
func (r *applier) keepOpening() error {
	if !r.opened {
		return nil
	}
	r.state.Unfinished = false
	r.state.Applied = r.state.Applied.opened(r.command)
	return r.state.save(r.agent.root)
}

// step takes one step and notes it.
func (r *applier) step(verb Verb, what string, take func() error) error {
	start := time.Now()
	err := take()
	r.note(Step{verb, what}, start, err)
	return err
}

// saw adds to the last step what came of it.
func (r *applier) saw(what string) {
	if what != "" {
		r.outcome.Done[len(r.outcome.Done)-1].What += ": " + what
	}
}

// note adds a step that began at start to the outcome.
func (r *applier) note(s Step, start time.Time, err error) {
	r.outcome.Done = append(r.outcome.Done, Done{s, time.Since(r.outcome.began), time.Since(start), err})
}

// bind: the key first, then the proof, then the door; the old key goes last.
func (r *applier) bind(ctx context.Context) error {
	if err := r.writeKeys(ctx, WriteKeys, r.plan.Stage); err != nil {
		return err
	}
	if err := r.lookAround(ctx); err != nil {
		return err
	}
	if err := r.prove(ctx); err != nil {
		return err
	}
	if !r.proved() {
		return r.unproved(ctx, r.undecided())
	}
	if err := r.setPolicy(ctx, r.plan.Policy); err != nil {
		return err
	}
	if !r.askListener(ctx) {
		return r.unheard(ctx)
	}
	if err := r.writeKeys(ctx, WriteKeys, r.plan.Final); err != nil {
		return err
	}
	switch {
	case r.leavesFile() && r.plan.keepsFile:
		return r.stayInFile(ctx)
	case r.leavesFile():
		return r.handOver(ctx)
	}
	r.works = true
	return r.retire(ctx)
}

// lookAround takes in what writing the keys has changed, such as a folder that
// had to be made, before the proof that the record will be about.
func (r *applier) lookAround(ctx context.Context) error {
	world := r.plan.world
	for i, store := range world.Stores {
		now, err := store.look(ctx)
		if err != nil {
			return err
		}
		world.Stores[i] = now
	}
	world.Foreign = r.agent.stampForeign(world)
	return nil
}

// unbind: the door first, then the key.
func (r *applier) unbind(ctx context.Context) error {
	if err := r.setPolicy(ctx, r.plan.Policy); err != nil {
		return err
	}
	if r.plan.world.NoKeys != nil {
		return r.plan.world.NoKeys
	}
	if err := r.writeKeys(ctx, RemoveKeys, nil); err != nil {
		return err
	}
	if err := r.retire(ctx); err != nil {
		return err
	}
	return r.lookAround(ctx)
}

// proved tells whether the proof carries what the policy asks for, for each of the
// bound keys.
func (r *applier) proved() bool {
	if len(r.plan.Refused) > 0 {
		return false
	}
	if r.plan.Policy.Closed {
		return r.proof.Closes()
	}
	return r.proof.KeyWorks()
}

// undecided tells whether nothing is known that speaks against the key.
func (r *applier) undecided() bool {
	return (r.proof != nil && r.proof.Undecided()) || isNotYet(r.faults)
}

// writeKeys makes lines those that are latchkey's in every store, where they are not
// already.
func (r *applier) writeKeys(ctx context.Context, verb Verb, lines []string) error {
	for _, store := range r.plan.world.Stores {
		if err := r.setKeys(ctx, verb, store, lines); err != nil {
			return err
		}
	}
	return nil
}

func (r *applier) setKeys(ctx context.Context, verb Verb, store keysStore, lines []string) error {
	start := time.Now()
	changed, err := store.set(ctx, lines)
	if err != nil || changed {
		r.note(Step{verb, store.place().KeysFile}, start, err)
	}
	return err
}

// subject is what the proof is about.
func (r *applier) subject() sshd.Subject {
	world := r.plan.world
	s := sshd.Subject{
		User: world.Account.Name, UID: world.Account.UID, Groups: world.Account.GroupNames, Home: world.Account.Home,
		KeysFile: world.Location.Path,
	}
	if r.plan.Policy.Keys.For == s.User {
		s.Command = r.plan.Policy.Keys
	}
	for _, g := range r.plan.grants {
		if g.refused == nil {
			s.Keys = append(s.Keys, g.offered)
		}
	}
	return s
}

// prove asks a real sshd about the configuration as it would be, unless there is no
// key to ask about.
func (r *applier) prove(ctx context.Context) error {
	if len(r.plan.Final) == 0 {
		r.faults = slices.Clone(r.plan.Refused)
		r.agent.event(eventProofFailed, r.plan.world, "causes", causeIDs(r.faults))
		return nil
	}
	return r.step(Prove, sshd.DefaultProgram+" -i", func() error {
		proof, err := r.ask(ctx, r.subject())
		if err != nil {
			return err
		}
		r.plan.explainBounds(proof)
		r.proof = proof
		if !r.proved() {
			r.faults = faultsOf(proof, r.plan)
			if !isNotYet(r.faults) {
				r.agent.event(eventProofFailed, r.plan.world, "causes", causeIDs(r.faults))
			}
		}
		return nil
	})
}

// ask asks a real sshd about the configuration as it would be.
func (r *applier) ask(ctx context.Context, subject sshd.Subject) (*sshd.Proof, error) {
	proof, err := r.agent.prove(ctx, r.plan.world, r.plan.Policy, subject)
	if err == nil && r.plan.keepsCommand {
		r.overlookChain(proof)
	}
	return proof, err
}

// isNotYet tells that nothing speaks against the key but nologin(5), which keeps
// everybody out, by whatever method: at boot until logons are allowed. It says
// nothing about the key, and nobody gets in sooner by a password.
func isNotYet(faults []sshd.Cause) bool {
	isOther := func(c sshd.Cause) bool { return c.ID != string(account.NologinFile) }
	return len(faults) > 0 && !slices.ContainsFunc(faults, isOther)
}

// prove writes a candidate and asks about it.
func (a *Agent) prove(ctx context.Context, world *World, policy sshd.Policy, subject sshd.Subject) (*sshd.Proof, error) {
	candidate, err := a.sshd.Prepare(world.Files, policy)
	if err != nil {
		return nil, err
	}
	proof := a.sshd.Prove(ctx, candidate, subject)
	for _, problem := range world.Problems {
		proof.AddCause(cause(problem))
	}
	if subject.Command != (sshd.KeysCommand{}) {
		if c := lookAtUsersIndex(a.root).cause(); c != nil {
			proof.AddCause(*c)
		}
	}
	return proof, errors.Join(ctx.Err(), a.sshd.Discard())
}

func cause(p account.Problem) sshd.Cause {
	return sshd.Cause{ID: string(p.Cause), Detail: p.Detail, Remedy: p.Remedy}
}

// setPolicy brings sshd's files to the policy and makes the running sshd load
// them. A configuration that sshd -t refuses is taken back before anything
// loads it.
func (r *applier) setPolicy(ctx context.Context, policy sshd.Policy) error {
	files, err := r.agent.sshd.ReadFiles()
	if err != nil {
		return err
	}
	next := files.With(policy)
	differ := !next.Equal(files)
	applied := r.state.Applied
	if !differ && !r.state.Unfinished && applied.closed() == policy.Closed && applied.command() == policy.Keys {
		r.closed, r.command = policy.Closed, policy.Keys
		return nil
	}
	if err := r.unfinished(); err != nil && policy.Closed {
		return err // to open, no memory is needed
	}
	if differ {
		err = r.writePolicy(ctx, files, next)
	} else {
		err = r.agent.sshd.Test(ctx, r.agent.config.SSHD.Config)
	}
	if err != nil {
		return err
	}
	r.closed, r.command = policy.Closed, policy.Keys
	var became sshd.Listener
	err = r.step(Reload, "sshd", func() (err error) {
		became, err = r.agent.sshd.Reload(ctx, r.plan.world.Effective)
		return err
	})
	r.saw(string(became))
	r.opened = err == nil && !r.closed
	return err
}

// unfinished notes, before sshd's files are touched, that what is found in
// them has to be loaded and proved again.
func (r *applier) unfinished() error {
	if r.state.Unfinished {
		return nil
	}
	r.state.Unfinished = true
	return r.state.save(r.agent.root)
}

// writePolicy replaces sshd's files and has them tested; what sshd refuses is
// taken back.
func (r *applier) writePolicy(ctx context.Context, files, next *sshd.Files) error {
	return r.step(policyVerb(files, next), r.plan.policyPath(), func() error {
		if err := r.agent.sshd.Write(files, next); err != nil {
			return err
		}
		err := r.agent.sshd.Test(ctx, r.agent.config.SSHD.Config)
		if err == nil {
			return nil
		}
		return errors.Join(fmt.Errorf("sshd -t does not pass, its configuration is put back: %w", err), r.undoPolicy(files, next))
	})
}

// undoPolicy takes back what writePolicy wrote. Where somebody has edited the
// files meanwhile, only our part of them is taken out.
func (r *applier) undoPolicy(before, written *sshd.Files) error {
	now, err := r.agent.sshd.ReadFiles()
	if err != nil || now.Equal(written) {
		return r.agent.sshd.Write(written, before)
	}
	return r.agent.sshd.Write(now, now.With(sshd.Policy{}))
}
