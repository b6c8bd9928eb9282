package agent

import (
	"context"
	"slices"

	"github.com/latchkey-ssh/latchkey/sshd"
)

// askListener asks the running sshd whether it is as proved: true also when
// there is none to ask, since it will start with what was proved.
func (r *applier) askListener(ctx context.Context) bool {
	good := true
	_ = r.step(AskListener, r.plan.world.Effective.ListenAddress(), func() error {
		found, err := r.agent.sshd.Running(ctx, r.plan.world.Effective)
		r.running = found == sshd.ListenerRunning
		switch {
		case err != nil:
			r.listener = sshd.Answer{Key: sshd.Unknown, Reason: err.Error()}
		case !r.running:
			return nil
		default:
			r.listener = r.askRunning(ctx, r.subject().Keys[0])
		}
		if good = r.listenerAgrees(); !good {
			c := r.listenerCause()
			isSame := func(f sshd.Cause) bool { return f.ID == c.ID } // it may be asked twice
			r.faults = append(slices.DeleteFunc(r.faults, isSame), c)
			r.agent.event(eventProofFailed, r.plan.world, "causes", causeIDs(r.faults))
		}
		return err
	})
	if !r.running {
		r.saw("none runs")
	}
	return good
}

// askRunning asks the running sshd about a key.
func (r *applier) askRunning(ctx context.Context, key sshd.PublicKey) sshd.Answer {
	question := r.question()
	question.Key = &key
	return r.agent.network.Ask(ctx, question, true)
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
