package agent

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/latchkey-ssh/latchkey/authkeys"
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

	// Stage are the key lines that stand in the block until the proof, Final those
	// that stay. They differ where an older key must work until the new one does.
	Stage, Final []string `json:"-"`
	// WayIn are those of Stage that were proved last.
	WayIn []string `json:"-"`
	// Refused is why certificates among the bound keys cannot be used now. Nothing of
	// them is written, and as long as there is one, passwords are not turned off.
	Refused []sshd.Cause `json:"refused,omitempty"`
	// Keys is the keys file as it will be, and Files sshd's.
	Keys  []byte      `json:"-"`
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

	world  *World
	grants []grant
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
		}
		p.setGrants()
	}
	p.Files = world.Files.With(p.Policy)
	if len(p.Refused) > 0 {
		p.Files = world.Files.With(sshd.Policy{})
	}
	if world.NoKeys != nil {
		return p.withoutKeys(state, how)
	}
	file := authkeys.Parse(world.Keys.Data)
	var err error
	if p.Keys, err = file.WithManaged(p.Final); err != nil {
		world.NoKeys = err
		return p.withoutKeys(state, how)
	}
	p.stage(file, state.Proven.at(world.place()))
	p.Retire = state.retired(world.place())
	p.steps(file, state, how)
	return p, nil
}

// withoutKeys is the plan where the keys file cannot be reached. One thing is
// possible even then: to open passwords. It is done for an instance that is
// unbound, and for one whose way in was not proved in this boot.
func (p *Plan) withoutKeys(state State, how How) (*Plan, error) {
	if p.Binding.State == metadata.Bound {
		if isUndecided(p.world.NoKeys) || (state.Proven.inBoot(p.world.Boot) && !how.Now) {
			return p, p.world.NoKeys
		}
		p.Policy = sshd.Policy{}
		p.Files = p.world.Files.With(p.Policy)
	}
	differ := !p.Files.Equal(p.world.Files)
	if !differ && !p.mustReload(state) {
		return p, p.world.NoKeys
	}
	p.unbindSteps(false, p.mustReload(state))
	return p, nil
}

// isUndecided tells an error that may be gone a moment later: a home that did not
// answer in time.
func isUndecided(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, asuser.ErrStillHanging)
}

// stage adds to the new lines those of proved keys that stand in the block now:
// no new one has been proved yet.
func (p *Plan) stage(file *authkeys.File, proven []string) {
	p.Stage = slices.Clone(p.Final)
	if p.Binding.State != metadata.Bound {
		return
	}
	for _, g := range p.grants {
		if g.refused == nil && slices.Contains(proven, g.key.Fingerprint()) {
			p.WayIn = append(p.WayIn, g.line)
		}
	}
	for _, line := range file.ManagedLines() {
		if key := fingerprintOf(line); slices.Contains(proven, key) && !p.binds(key) {
			p.Stage = append(p.Stage, line)
			p.WayIn = append(p.WayIn, line)
		}
	}
}

// binds tells whether the key is one of the binding's, whatever its comment or bounds.
func (p *Plan) binds(fingerprint string) bool {
	return slices.ContainsFunc(p.Binding.Keys, func(k metadata.Key) bool { return k.Fingerprint() == fingerprint })
}

// steps lists what is to be done, nothing when all is as it was recorded.
func (p *Plan) steps(file *authkeys.File, state State, how How) {
	done := state.Applied
	same := done != nil && !state.Unfinished && done.BootID == p.world.Boot && done.Binding.Same(p.Binding)
	failed := done != nil && len(done.Faults) > 0
	untouched := same && done.intact(p)
	intact := untouched && p.keysAreLeft(file, failed)
	p.Steady = untouched && !how.Now && p.proved(state.Proven)
	if intact && done.World == p.world.Foreign && !(failed && (how.Now || how.Retry)) {
		return
	}
	keysDiffer := !p.world.Keys.Settled(p.Keys)
	switch {
	case len(p.Refused) > 0:
		p.refusedSteps(keysDiffer, p.mustReload(state))
	case p.Binding.State == metadata.Bound:
		p.bindSteps(keysDiffer, p.mustReload(state))
	default:
		p.unbindSteps(keysDiffer, p.mustReload(state))
	}
}

// keysAreLeft tells whether the keys file is as a pass leaves it: with the
// bound keys, and after a failed proof with those besides that were proved
// before.
func (p *Plan) keysAreLeft(file *authkeys.File, failed bool) bool {
	left := p.Keys
	if failed {
		left, _ = file.WithManaged(p.Stage)
	}
	return p.world.Keys.Settled(left)
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
	policy.Closed = a.PasswordClosed
	return p.world.Files.With(policy).Equal(p.world.Files)
}

// mustReload tells whether the running sshd may have another configuration than
// its files hold: a pass was cut off, or the record says otherwise.
func (p *Plan) mustReload(state State) bool {
	recorded := state.Applied != nil && state.Applied.PasswordClosed
	return state.Unfinished || recorded != p.world.Files.Holds()
}

func (p *Plan) bindSteps(keysDiffer, reload bool) {
	if keysDiffer {
		p.add(WriteKeys, p.world.Location.Path)
	}
	p.add(Prove, "key and account, by "+sshd.DefaultProgram+" -i")
	filesDiffer := !p.Files.Equal(p.world.Files)
	if filesDiffer && p.Policy.Closed {
		p.add(ClosePassword, p.policyPath())
	} else if filesDiffer {
		p.add(OpenPassword, p.policyPath())
	}
	p.addReload(filesDiffer || reload)
	p.add(AskListener, p.world.Effective.ListenAddress())
	p.addRetire()
	p.add(Record, StateDir+"/"+stateFile)
}

// refusedSteps are those of a binding of which some key cannot be used: passwords
// are on in the end, unless they are off already and another key logs in.
func (p *Plan) refusedSteps(keysDiffer, reload bool) {
	if keysDiffer {
		p.add(WriteKeys, p.world.Location.Path)
	}
	if len(p.Final) > 0 {
		p.add(Prove, "the other keys and the account, by "+sshd.DefaultProgram+" -i")
	}
	filesDiffer := !p.Files.Equal(p.world.Files)
	if filesDiffer {
		p.add(OpenPassword, p.policyPath())
	}
	p.addReload(filesDiffer || reload)
	p.add(Record, StateDir+"/"+stateFile)
}

func (p *Plan) unbindSteps(keysDiffer, reload bool) {
	filesDiffer := !p.Files.Equal(p.world.Files)
	if filesDiffer {
		p.add(OpenPassword, p.policyPath())
	}
	p.addReload(filesDiffer || reload)
	if keysDiffer {
		p.add(RemoveKeys, p.world.Location.Path)
	}
	p.addRetire()
	p.add(Record, StateDir+"/"+stateFile)
}

func (p *Plan) addReload(needed bool) {
	if needed {
		p.add(Reload, "the running sshd, if there is one")
	}
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
	all := []FileDiff{
		{p.world.Location.Path, p.world.Keys.Data, p.Keys},
		{p.world.Files.Path(), p.world.Files.Main, p.Files.Main},
		{sshd.DropIn, p.world.Files.DropIn, p.Files.DropIn},
	}
	return slices.DeleteFunc(all, func(d FileDiff) bool { return bytes.Equal(d.Before, d.After) })
}
