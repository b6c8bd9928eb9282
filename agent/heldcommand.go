package agent

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// What sshd asks for keys now may be the only way in. So it is replaced by what was
// proved alone, and goes only where it does no more than hide another's.

// isCommands tells a cause that lies in the command.
func isCommands(c sshd.Cause) bool { return strings.HasPrefix(c.ID, "keys-command") }

// isChains tells a cause against taking a command over: an administrator's cannot be
// asked after it.
func isChains(c sshd.Cause) bool { return c.ID == "keys-command-chain" }

// heldCommand is the command that our lines have sshd ask, as they were found; zero where that
// is none of ours.
func (p *Plan) heldCommand() sshd.KeysCommand {
	held := p.world.Files.Held().Keys
	if !asksHelper(held.Command) || held.Validate() != nil {
		return sshd.KeysCommand{}
	}
	return held
}

// openPolicy is the policy for a key that is not proved: without what turns passwords
// off. A command that lets the key in comes in the place of none, or of one for the same
// user; one of which nothing bad is known where there is none at all.
func (r *applier) openPolicy(ctx context.Context) sshd.Policy {
	none, wanted, held := sshd.KeysCommand{}, r.plan.Policy.Keys, r.plan.heldCommand()
	isProved := r.proof != nil && r.proof.Key == sshd.Accepted
	isSound := wanted != none && !slices.ContainsFunc(r.faults, isCommands)
	switch {
	case isSound && isProved && (held == none || held.For == wanted.For), isSound && held == none && r.hidesNothing():
		return sshd.Policy{Keys: wanted}
	case held != none && (r.hidesNothing() || r.letsIn(ctx, held)):
		return sshd.Policy{Keys: held}
	}
	return sshd.Policy{}
}

// hidesNothing tells whether there is no command but ours that sshd could ask.
func (r *applier) hidesNothing() bool { return len(r.plan.world.Files.ForeignKeysCommands()) == 0 }

// letsIn tells whether a command that sshd asks now may let a key in that is there for it:
// where sshd cannot be asked, nothing speaks against that.
func (r *applier) letsIn(ctx context.Context, held sshd.KeysCommand) bool {
	if held == r.plan.Policy.Keys && r.proof != nil && r.proof.Key == sshd.Accepted {
		return true
	}
	candidate, err := r.agent.sshd.Prepare(r.plan.world.Files, sshd.Policy{Keys: held})
	if err != nil {
		return true
	}
	defer func() { _ = r.agent.sshd.Discard() }() // what is left is written over
	return slices.ContainsFunc(lookAtIndex(r.agent.root, held.For, nil).managed(), func(line string) bool {
		key, err := authkeys.ParseManaged(line)
		if err != nil {
			return false
		}
		offered := sshd.PublicKey{Type: key.Type, Blob: key.Blob}
		answer, _ := r.agent.sshd.QueryInetd(ctx, candidate.Command, held.For, &offered)
		return answer.Key != sshd.Refused
	})
}

// keepCommand has the plan go on by the command that sshd asks now where other keys are
// bound than were proved, and all that speaks against it is what an administrator has
// sshd ask besides. That may keep a command from being taken over; it must not keep a
// key in that is bound no more.
func (p *Plan) keepCommand(state State) {
	held, isRefused := p.heldCommand(), p.world.NoCommand != nil
	inPlace := held.For == p.world.Account.Name && held == state.Applied.command()
	if !inPlace || state.Proven.isOf(p) || (isRefused && !errors.Is(p.world.NoCommand, errChain)) {
		return
	}
	if isRefused {
		p.Policy.Keys, p.Kept = held, blocker(p.world.NoCommand)
		p.leaveOpen()
	}
	p.keepsCommand = p.Policy.Keys == held
}

// leaveOpen has passwords stay on where they are.
func (p *Plan) leaveOpen() { p.Policy.Closed = p.Policy.Closed && p.world.Files.HoldsClosed() }

// isOf tells whether the plan's keys are those that were proved last, whenever.
func (p *Proven) isOf(plan *Plan) bool {
	if p == nil || p.User != plan.world.Account.Name || len(p.Fingerprints) != len(plan.Binding.Keys) {
		return false
	}
	return !slices.ContainsFunc(p.Fingerprints, func(key string) bool { return !plan.binds(key) })
}

// overlookChain makes what speaks against taking the command over a fault that stays,
// of a proof that is about other keys for it.
func (r *applier) overlookChain(proof *sshd.Proof) {
	at := slices.IndexFunc(proof.Causes, isChains)
	if at < 0 {
		return
	}
	r.kept = []sshd.Cause{proof.Causes[at]}
	proof.Causes = slices.Delete(proof.Causes, at, at+1)
	r.plan.leaveOpen()
}
