package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-ssh/latchkey/authkeys"
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
	wasClosed bool // the door was closed, with a proof, before this pass
	closed    bool // it is closed now
	faults    []sshd.Cause
}

// apply takes the plan's steps in the one order that is safe for them.
func (r *applier) apply(ctx context.Context) error {
	r.closed = r.plan.world.Files.Holds()
	r.wasClosed = r.closed && !r.state.Unfinished
	var err error
	if r.plan.Binding.State == metadata.Bound {
		err = r.bind(ctx)
	} else {
		err = r.unbind(ctx)
	}
	if err != nil {
		return err
	}
	return r.step(Record, StateDir+"/"+stateFile, func() error { return r.record() })
}

// step takes one step and notes it.
func (r *applier) step(verb Verb, what string, take func() error) error {
	start := time.Now()
	err := take()
	r.note(Step{verb, what}, start, err)
	return err
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
		if r.plan.Steady {
			return nil // somebody else's doing: reported, never acted on
		}
		return r.fallBack(ctx, r.proof.Undecided())
	}
	if err := r.setPolicy(ctx, r.plan.Policy); err != nil {
		return err
	}
	if !r.askListener(ctx) {
		return r.fallBack(ctx, r.listener.Key == sshd.Unknown)
	}
	return r.writeKeys(ctx, WriteKeys, r.plan.Final)
}

// lookAround takes in what writing the keys has changed, such as a folder that
// had to be made, before the proof that the record will be about.
func (r *applier) lookAround(ctx context.Context) error {
	view, err := authkeys.Look(ctx, r.plan.world.Location)
	if err != nil {
		return err
	}
	r.plan.world.Keys = view
	r.plan.world.Foreign = r.agent.stampForeign(r.plan.world)
	return nil
}

// unbind: the door first, then the key.
func (r *applier) unbind(ctx context.Context) error {
	if err := r.setPolicy(ctx, sshd.Policy{}); err != nil {
		return err
	}
	return r.writeKeys(ctx, RemoveKeys, nil)
}

// proved tells whether the proof carries what the policy asks for.
func (r *applier) proved() bool {
	if r.plan.Policy.Closed {
		return r.proof.Closes()
	}
	return r.proof.KeyWorks()
}

// fallBack is what follows a failed proof: passwords are open afterwards. They
// stay closed only where they were closed before, and either nothing is known
// now or an older key still logs in.
func (r *applier) fallBack(ctx context.Context, undecided bool) error {
	switch {
	case !r.closed:
		return nil
	case r.wasClosed && undecided:
		return nil
	case r.wasClosed && r.olderKeyWorks(ctx):
		return nil
	}
	return r.setPolicy(ctx, sshd.Policy{})
}

// olderKeyWorks asks about the keys that stand in the block besides the new
// ones.
func (r *applier) olderKeyWorks(ctx context.Context) bool {
	subject := r.subject()
	subject.Keys = nil
	for _, line := range r.plan.Stage[len(r.plan.Final):] {
		if key, err := metadata.ParseKey(line); err == nil {
			subject.Keys = append(subject.Keys, sshd.PublicKey{Type: key.Type, Blob: key.Blob})
		}
	}
	if len(subject.Keys) == 0 {
		return false
	}
	proof, err := r.agent.prove(ctx, r.plan.world, r.plan.Policy, subject)
	return err == nil && proof.Closes()
}

// writeKeys makes lines the managed block, if they are not already.
func (r *applier) writeKeys(ctx context.Context, verb Verb, lines []string) error {
	location := r.plan.world.Location
	edit := func(f *authkeys.File) ([]byte, error) { return f.WithManaged(lines) }
	start := time.Now()
	change, err := authkeys.Edit(ctx, location, edit)
	if err != nil || change.Changed {
		r.note(Step{verb, location.Path}, start, err)
	}
	return err
}

// subject is what the proof is about.
func (r *applier) subject() sshd.Subject {
	world := r.plan.world
	s := sshd.Subject{User: world.Account.Name, UID: world.Account.UID, Home: world.Account.Home, KeysFile: world.Location.Path}
	for _, key := range r.plan.Binding.Keys {
		s.Keys = append(s.Keys, sshd.PublicKey{Type: key.Type, Blob: key.Blob})
	}
	return s
}

// prove asks a real sshd about the configuration as it would be.
func (r *applier) prove(ctx context.Context) error {
	return r.step(Prove, sshd.DefaultProgram+" -i", func() error {
		proof, err := r.agent.prove(ctx, r.plan.world, r.plan.Policy, r.subject())
		if err != nil {
			return err
		}
		r.proof = proof
		if !r.proved() {
			r.faults = faultsOf(proof, r.plan)
			r.agent.event(eventProofFailed, r.plan.world, "causes", causeIDs(r.faults))
		}
		return nil
	})
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
	if !differ && !r.state.Unfinished {
		r.closed = policy.Closed
		return nil
	}
	if err := r.unfinished(); err != nil {
		return err
	}
	if differ {
		err = r.writePolicy(ctx, files, next, policy)
	} else {
		err = r.agent.sshd.Test(ctx, r.agent.config.SSHD.Config)
	}
	if err != nil {
		return err
	}
	r.closed = policy.Closed
	return r.step(Reload, "sshd", func() error {
		_, err := r.agent.sshd.Reload(ctx, r.plan.world.Effective)
		return err
	})
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
func (r *applier) writePolicy(ctx context.Context, files, next *sshd.Files, policy sshd.Policy) error {
	verb := OpenPassword
	if policy.Closed {
		verb = ClosePassword
	}
	return r.step(verb, r.plan.policyPath(), func() error {
		if err := r.agent.sshd.Write(files, next); err != nil {
			return err
		}
		err := r.agent.sshd.Test(ctx, r.agent.config.SSHD.Config)
		if err == nil {
			return nil
		}
		return errors.Join(fmt.Errorf("sshd refuses its configuration, which is put back: %w", err), r.agent.sshd.Write(next, files))
	})
}

// askListener asks the running sshd whether it is as proved: true also when
// there is none to ask, since it will start with what was proved.
func (r *applier) askListener(ctx context.Context) bool {
	good := true
	_ = r.step(AskListener, r.plan.world.Effective.ListenAddress(), func() error {
		var err error
		r.running, err = r.agent.sshd.Running(ctx, r.plan.world.Effective)
		if err != nil || !r.running {
			return err
		}
		r.listener = r.question().Persist(ctx)
		if good = r.listenerAgrees(); !good {
			r.faults = append(r.faults, r.listenerCause())
			r.agent.event(eventProofFailed, r.plan.world, "causes", causeIDs(r.faults))
		}
		return nil
	})
	return good
}

func (r *applier) question() sshd.Question {
	return sshd.Question{
		Address: r.plan.world.Effective.ListenAddress(),
		User:    r.plan.world.Account.Name,
		Key:     &r.subject().Keys[0],
		HostKey: r.proof.HostKey,
	}
}

func (r *applier) listenerAgrees() bool {
	return r.listener.Key == sshd.Accepted && (!r.plan.Policy.Closed || !r.listener.OffersPassword())
}

// listenerCause says in which way the listener disagrees with the proof.
func (r *applier) listenerCause() sshd.Cause {
	c := sshd.Cause{
		ID:     "listener-" + string(r.listener.Key),
		Detail: "the running sshd: " + r.listener.Reason,
		Remedy: "see its log; restart it if it runs with another configuration file or older options",
	}
	if r.listener.Key == sshd.Accepted {
		c.ID, c.Detail = "listener-offers-password", "the running sshd still offers a password method after its reload"
	}
	return c
}
