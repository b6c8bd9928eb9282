package agent

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/latchkey-ssh/latchkey/internal/asuser"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// Verb names a step of a plan.
type Verb string

// The steps, in the order in which they are ever taken.
const (
	WriteKeys     Verb = "write-keys"
	Prove         Verb = "prove"
	SetCommand    Verb = "set-command"
	ClosePassword Verb = "close-password"
	OpenPassword  Verb = "open-password"
	Reload        Verb = "reload"
	AskListener   Verb = "ask-listener"
	RemoveKeys    Verb = "remove-keys"
	Record        Verb = "record"
)

// Step is one line of a plan.
type Step struct {
	Verb Verb   `json:"step"`
	What string `json:"what"`
}

// Plan is what has to be done to an instance, and in which order. Making one
// is pure: a binding, what was observed, what is remembered.
type Plan struct {
	Binding metadata.Binding `json:"binding"`
	Steps   []Step           `json:"steps"`

	// Stage are the key lines that stand in every store until the proof, Final those
	// that stay. They differ where an older key must work until the new one does.
	Stage, Final []string `json:"-"`
	// WayIn are those of Stage that were proved last.
	WayIn []string `json:"-"`
	// Refused is why certificates among the bound keys cannot be used now. Nothing of
	// them is written, and as long as there is one, passwords are not turned off.
	Refused []sshd.Cause `json:"refused,omitempty"`
	// Blocked is why the keys cannot be brought to where they belong, of a plan that
	// does no more than open passwords for that.
	Blocked *sshd.Cause `json:"blocked,omitempty"`
	// Kept is why sshd goes on asking the command that it asks now, of a plan that brings
	// other keys to it: the one that is asked for cannot be had.
	Kept *sshd.Cause `json:"kept_command,omitempty"`
	// Files are sshd's as they will be.
	Files *sshd.Files `json:"-"`
	// Policy is what sshd is to be asked for once the key is proved.
	Policy sshd.Policy `json:"-"`
	// Steady: the bound keys were proved in this boot, and sshd's files are as that
	// left them. A proof that fails now is somebody else's doing, the logon user's
	// perhaps: it is reported, and does not open passwords.
	Steady bool `json:"-"`
	// Retire are the places where earlier passes put keys that belong elsewhere by
	// now.
	Retire []KeysPlace `json:"-"`

	keepsCommand bool // other keys go on by the command that sshd asks now
	unexpected   bool // there are places with keys of ours that nothing explains
	keepsFile    bool // the running sshd is known to take the keys from their file alone

	world  *World
	grants []grant
	differ []KeysPlace // the stores that do not hold Final alone
}

// Empty tells whether there is nothing to do.
func (p *Plan) Empty() bool { return len(p.Steps) == 0 }

// Changes tells whether the plan does more than remember that all is well.
func (p *Plan) Changes() bool { return len(p.Steps) > 1 || (len(p.Steps) == 1 && !p.has(Record)) }

// How says why a plan is made.
type How struct {
	Now   bool // asked for by a person: adopt what is bound, prove anew what failed
	Retry bool // prove anew what failed
}

// plan compares what has to be with what is.
func plan(config *Config, state State, world *World, how How) (*Plan, error) {
	p := &Plan{Binding: *state.InForce, Steps: []Step{}, world: world}
	if p.Binding.State == metadata.Bound {
		p.Policy = sshd.Policy{
			Closed: config.Apply.Password == DisablePassword,
			Guard:  config.SSHD.MatchGuard,
			Keys:   world.Command,
		}
		p.setGrants()
		p.keepCommand(state)
		if !p.keepsCommand {
			world.NoKeys = cmp.Or(world.NoKeys, world.NoCommand)
		}
	}
	p.Files = world.Files.With(p.Policy)
	if len(p.Refused) > 0 {
		p.Files = world.Files.With(p.openPolicy())
	}
	p.Retire = state.retired(world.places())
	unexplained := p.unexplained()
	p.Retire, p.unexpected = append(p.Retire, unexplained...), len(unexplained) > 0
	if err := p.readStores(); err != nil {
		world.NoKeys = cmp.Or(world.NoKeys, err)
	}
	if world.NoKeys != nil {
		return p.withoutKeys(state, how)
	}
	p.stage(state.Proven)
	p.steps(state, how)
	return p, nil
}

// openPolicy is the policy without what turns passwords off.
func (p *Plan) openPolicy() sshd.Policy { return sshd.Policy{Keys: p.Policy.Keys} }

// readStores finds what of the stores is not as it is to be in the end.
func (p *Plan) readStores() error {
	p.differ = nil
	for i, store := range p.world.Stores {
		if s, ok := store.(*indexStore); ok {
			store = s.keeping(p.Retire)
			p.world.Stores[i] = store
		}
		settled, err := store.settled(p.Final)
		if err != nil {
			return err
		}
		if !settled {
			p.differ = append(p.differ, store.place())
		}
	}
	return nil
}

// withoutKeys is the plan where the keys file cannot be reached. One thing is
// possible even then: to open passwords. It is done for an instance that is
// unbound, and for one whose way in was not proved in this boot.
func (p *Plan) withoutKeys(state State, how How) (*Plan, error) {
	if p.Binding.State == metadata.Bound {
		proven := state.Proven.inBoot(p.world.Boot)
		if isUndecided(p.world.NoKeys) || (proven && (!how.Now || p.wayInStands(state.Applied))) {
			return p, p.world.NoKeys
		}
		p.Blocked = blocker(p.world.NoKeys)
		p.Policy = sshd.Policy{Keys: p.world.Files.Held().Keys} // it may be the way in
		p.Files = p.world.Files.With(p.Policy)
	}
	differ := !p.Files.Equal(p.world.Files)
	if !differ && !p.mustReload(state) {
		return p, p.world.NoKeys
	}
	p.Retire, p.differ = nil, nil
	p.unbindSteps(p.mustReload(state))
	return p, nil
}

// wayInStands tells whether nothing is wrong but that the command cannot be had as it
// is asked for, and the way in that was applied does not need that.
func (p *Plan) wayInStands(applied *Applied) bool {
	return p.world.NoCommand != nil && errors.Is(p.world.NoKeys, p.world.NoCommand) &&
		applied.closed() && (applied.KeysFile != "" || errors.Is(p.world.NoCommand, errChain))
}

// isUndecided tells an error that may be gone a moment later: a home that did not
// answer in time.
func isUndecided(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, asuser.ErrStillHanging)
}

// stage adds to the new lines those of proved keys that stand in a store now:
// no new one has been proved yet.
func (p *Plan) stage(proven *Proven) {
	p.Stage = slices.Clone(p.Final)
	if p.Binding.State != metadata.Bound {
		return
	}
	for _, store := range p.world.Stores {
		keys := proven.at(store.place())
		for _, g := range p.grants {
			if g.refused == nil && slices.Contains(keys, g.key.Fingerprint()) && !slices.Contains(p.WayIn, g.line) {
				p.WayIn = append(p.WayIn, g.line)
			}
		}
		for _, line := range store.managed() {
			key := fingerprintOf(line)
			if slices.Contains(keys, key) && !p.binds(key) && !slices.Contains(p.Stage, line) {
				p.Stage = append(p.Stage, line)
				p.WayIn = append(p.WayIn, line)
			}
		}
	}
}

// binds tells whether the key is one of the binding's, whatever its comment or bounds.
func (p *Plan) binds(fingerprint string) bool {
	return slices.ContainsFunc(p.Binding.Keys, func(k metadata.Key) bool { return k.Fingerprint() == fingerprint })
}

// steps lists what is to be done, nothing when all is as it was recorded.
func (p *Plan) steps(state State, how How) {
	done := state.Applied
	same := done != nil && !state.Unfinished && done.BootID == p.world.Boot && done.Binding.Same(p.Binding)
	failed := done != nil && len(done.Faults) > 0
	untouched := same && done.intact(p)
	intact := untouched && p.keysAreLeft(failed) && !p.unexpected && (failed || len(p.Retire) == 0)
	p.Steady = untouched && !how.Now && p.proved(state.Proven)
	p.keepsFile = !how.Now && done.staysInFile(p.world)
	if intact && done.World == p.world.Foreign && !(failed && (how.Now || how.Retry)) {
		return
	}
	switch {
	case len(p.Refused) > 0:
		p.refusedSteps(p.mustReload(state))
	case p.Binding.State == metadata.Bound:
		p.bindSteps(p.mustReload(state))
	default:
		p.unbindSteps(p.mustReload(state))
	}
}

// keysAreLeft tells whether the stores are as a pass leaves them: with the
// bound keys, and after a failed proof with those besides that were proved
// before.
func (p *Plan) keysAreLeft(failed bool) bool {
	left := p.Final
	if failed {
		left = p.Stage
	}
	differs := func(s keysStore) bool {
		settled, err := s.settled(left)
		return err != nil || !settled
	}
	return !slices.ContainsFunc(p.world.Stores, differs)
}

// proved tells whether proven is about this plan's keys, all of them and no
// others, in this boot.
func (p *Plan) proved(proven *Proven) bool {
	return proven.inBoot(p.world.Boot) && len(p.Refused) == 0 &&
		len(proven.Fingerprints) == len(p.Final) && p.newIsWayIn()
}

// newIsWayIn tells whether each of the bound keys is one that was proved.
func (p *Plan) newIsWayIn() bool {
	isOther := func(line string) bool { return !slices.Contains(p.WayIn, line) }
	return len(p.Final) > 0 && !slices.ContainsFunc(p.Final, isOther)
}

// intact tells whether sshd's files hold what was applied to them.
func (a *Applied) intact(p *Plan) bool {
	policy := p.Policy
	policy.Closed, policy.Keys = a.PasswordClosed, a.KeysCommand
	return p.world.Files.With(policy).Equal(p.world.Files)
}

// mustReload tells whether the running sshd may have another configuration than
// its files hold: a pass was cut off, or the record says otherwise.
func (p *Plan) mustReload(state State) bool {
	return state.Unfinished || state.Applied.closed() != p.world.Files.HoldsClosed() ||
		state.Applied.command() != p.world.Files.Held().Keys
}

// closed tells whether passwords were recorded as closed.
func (a *Applied) closed() bool { return a != nil && a.PasswordClosed }

// command is the command that was recorded as sshd's.
func (a *Applied) command() sshd.KeysCommand {
	if a == nil {
		return sshd.KeysCommand{}
	}
	return a.KeysCommand
}

func (p *Plan) bindSteps(reload bool) {
	p.addKeys(WriteKeys)
	p.add(Prove, "key and account, by "+sshd.DefaultProgram+" -i")
	p.addPolicy(reload)
	p.add(AskListener, p.world.Effective.ListenAddress())
	p.addRetire()
	p.add(Record, StateDir+"/"+stateFile)
}

// refusedSteps are those of a binding of which some key cannot be used: passwords
// are on in the end, unless they are off already and another key logs in.
func (p *Plan) refusedSteps(reload bool) {
	p.addKeys(WriteKeys)
	if len(p.Final) > 0 {
		p.add(Prove, "the other keys and the account, by "+sshd.DefaultProgram+" -i")
	}
	p.addPolicy(reload)
	p.add(Record, StateDir+"/"+stateFile)
}

func (p *Plan) unbindSteps(reload bool) {
	p.addPolicy(reload)
	p.addKeys(RemoveKeys)
	p.addRetire()
	p.add(Record, StateDir+"/"+stateFile)
}

// addKeys adds the stores that are to be written.
func (p *Plan) addKeys(verb Verb) {
	for _, place := range p.differ {
		p.add(verb, place.KeysFile)
	}
}

// addPolicy adds what sshd's files are to be changed by, and that sshd loads them.
func (p *Plan) addPolicy(reload bool) {
	differ := !p.Files.Equal(p.world.Files)
	if differ {
		p.add(policyVerb(p.world.Files, p.Files), p.policyPath())
	}
	if differ || reload {
		p.add(Reload, "the running sshd, if there is one")
	}
}

// policyVerb is what it means to bring sshd's files from one state to another.
func policyVerb(from, to *sshd.Files) Verb {
	switch {
	case to.HoldsClosed():
		if from.Closed() && to.Held().Keys != from.Held().Keys {
			return SetCommand
		}
		return ClosePassword
	case to.Held().Keys != (sshd.KeysCommand{}) && !from.HoldsClosed():
		return SetCommand
	}
	return OpenPassword
}

func (p *Plan) addRetire() {
	for _, place := range p.Retire {
		p.add(RemoveKeys, place.KeysFile)
	}
}

func (p *Plan) add(verb Verb, what string) { p.Steps = append(p.Steps, Step{verb, what}) }

// has tells whether the plan takes a step.
func (p *Plan) has(verb Verb) bool {
	return slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Verb == verb })
}

// policyPath is the file that the policy goes into, or comes out of.
func (p *Plan) policyPath() string {
	if p.Files.DropIn != nil || p.world.Files.DropIn != nil {
		return sshd.DropIn
	}
	return p.world.Files.Path()
}

// FileDiff is a file before and after a plan.
type FileDiff struct {
	Path          string
	Before, After []byte
}

// Diffs are the files that the plan changes.
func (p *Plan) Diffs() []FileDiff {
	var all []FileDiff
	if p.world.NoKeys == nil {
		for _, store := range p.world.Stores {
			all = append(all, store.diff(p.Final))
		}
	}
	all = append(
		all,
		FileDiff{p.world.Files.Path(), p.world.Files.Main, p.Files.Main},
		FileDiff{sshd.DropIn, p.world.Files.DropIn, p.Files.DropIn},
	)
	return slices.DeleteFunc(all, func(d FileDiff) bool { return bytes.Equal(d.Before, d.After) })
}
