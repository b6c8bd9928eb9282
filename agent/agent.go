// Package agent takes an instance to what its binding asks for and keeps it
// there: fetch, plan, apply, prove, record.
//
// A pass begins with what the metadata endpoint said and ends with a record of
// what a real sshd said. In between, plan compares what has to be with what is,
// without touching anything, and apply takes the steps, each of which leaves
// the instance in a state in which somebody can log in: open before closing.
// A pass that was cut off anywhere is simply made again; it finds what is done
// and does the rest.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/latchkey-ssh/latchkey/internal/tree"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/network"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// RunDir holds the lock, the status socket and candidate configurations, below
// the root.
const RunDir = "/run/latchkey"

// passTimeout bounds a pass. A sound one takes a fraction of a second; one that
// waits out every time limit of a hung sshd less than this.
const passTimeout = 3 * time.Minute

// Options say which instance an agent serves, and how.
type Options struct {
	Root   string // the instance's root folder; "" is "/"
	Config Config
	Log    *slog.Logger // nil: nothing is logged
	// Network is what asks the endpoint and the running sshd; nil: this process.
	Network network.Side
}

// Agent serves one instance. Its methods may be called by several goroutines,
// and by several processes: a lock below RunDir lets one pass run at a time.
type Agent struct {
	root    string
	config  Config
	sshd    *sshd.Daemon
	network network.Side
	log     *slog.Logger
}

// New returns an agent for the instance.
func New(o Options) *Agent {
	if o.Root == "" {
		o.Root = "/"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Network == nil {
		o.Network = &network.Local{}
	}
	return &Agent{
		root:    o.Root,
		config:  o.Config,
		network: o.Network,
		log:     o.Log,
		sshd: sshd.New(sshd.Daemon{
			Root: o.Root, Config: o.Config.SSHD.Config, RunDir: RunDir,
			Command: o.Config.SSHD.Command, Outside: len(o.Config.SSHD.Command) > 0,
			Loopback: o.Network.Loopback,
		}),
	}
}

// Outcome is what a pass came to.
type Outcome struct {
	Plan    *Plan
	Done    []Done   // the steps that were taken
	Applied *Applied // what is in force now; nil when nothing ever was
	Pending *metadata.Binding

	began time.Time
}

// Fetch asks the endpoint what is bound to the instance, as far as it is known
// which instance this is.
func (a *Agent) Fetch(ctx context.Context) (metadata.Binding, error) {
	state, err := loadState(a.root, hardwareID(a.root))
	if err != nil {
		return metadata.Binding{}, err
	}
	return a.network.Fetch(ctx, a.config.endpoint(state.InstanceID)), nil
}

// Pass makes one pass for what the endpoint said. It changes nothing when
// nothing is to be changed, or when nothing is known.
func (a *Agent) Pass(ctx context.Context, seen metadata.Binding, how How) (*Outcome, error) {
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	unlock, err := a.lock(limited, lockWait)
	if err != nil {
		return nil, err
	}
	defer unlock()
	state, err := loadState(a.root, hardwareID(a.root))
	if err != nil {
		return nil, err
	}
	outcome := &Outcome{began: began}
	err = a.run(limited, &state, seen, how, outcome)
	if ctx.Err() == nil { // else it was interrupted, which is no failure
		err = errors.Join(err, state.noteFailure(a.root, err))
	}
	outcome.Applied, outcome.Pending = state.Applied, state.Pending
	return outcome, err
}

// run makes the pass on state, with the lock held.
func (a *Agent) run(ctx context.Context, state *State, seen metadata.Binding, how How, outcome *Outcome) error {
	p, err := a.prepare(ctx, state, seen, how)
	outcome.Plan = p
	if err != nil || p == nil || p.Empty() {
		return err
	}
	run := &applier{agent: a, plan: p, state: state, outcome: outcome}
	return run.apply(ctx)
}

// Plan is the plan that a pass made now would carry out. Nothing is touched.
// It is nil when nothing is known about the binding.
func (a *Agent) Plan(ctx context.Context, seen metadata.Binding) (*Plan, error) {
	state, err := loadState(a.root, hardwareID(a.root))
	if err != nil {
		return nil, err
	}
	_, p, err := a.look(ctx, state, seen, How{Now: true})
	return p, err
}

// prepare decides and plans. What was decided is kept at once: which binding
// is in force for a boot must not depend on whether its pass went well. Only to
// open passwords, no memory is needed.
func (a *Agent) prepare(ctx context.Context, state *State, seen metadata.Binding, how How) (*Plan, error) {
	decided, p, err := a.look(ctx, *state, seen, how)
	if stamp(*state) != stamp(decided) {
		if err := decided.save(a.root); err != nil && !decided.opens() {
			return nil, err
		}
	}
	*state = decided
	return p, err
}

// look decides, observes and plans, and touches nothing.
func (a *Agent) look(ctx context.Context, state State, seen metadata.Binding, how How) (State, *Plan, error) {
	if err := seen.Validate(); err != nil {
		return state, nil, err
	}
	if a.isOther(state, seen) {
		return state, nil, otherInstance(state, seen)
	}
	boot, err := bootID(a.root)
	if err != nil {
		return state, nil, err
	}
	state = decide(state, seen, boot, a.config.Apply.When, how.Now)
	if state.InForce == nil {
		return state, nil, nil
	}
	world, err := a.survey(ctx, a.user(*state.InForce), state.Applied)
	if err != nil {
		return state, nil, err
	}
	p, err := plan(&a.config, state, world, how)
	return state, p, err
}

// isOther tells an answer that is about another instance than the one known.
func (a *Agent) isOther(state State, seen metadata.Binding) bool {
	return seen.State != metadata.Unknown && state.InstanceID != "" && seen.InstanceID != state.InstanceID
}

// user is the logon user: the one that the endpoint names, else the configured.
func (a *Agent) user(b metadata.Binding) string {
	if b.User != "" {
		return b.User
	}
	return a.config.Login.User
}

// runDir opens the folder for the locks and the socket, and makes it where it is missing.
func (a *Agent) runDir() (*os.Root, error) {
	dir, err := tree.MakeFolder(a.root, RunDir, 0o755)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", RunDir, err)
	}
	return dir, nil
}
