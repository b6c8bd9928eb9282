package agent

import (
	"bytes"
	"slices"

	"github.com/latchkey-ssh/latchkey/authkeys"
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
	// Keys is the keys file as it will be, and Files sshd's.
	Keys  []byte      `json:"-"`
	Files *sshd.Files `json:"-"`
	// Policy is what sshd is to be asked for once the key is proved.
	Policy sshd.Policy `json:"-"`
	// Steady: this very state was proved in this boot, and nothing of ours has been
	// touched since. A proof that fails now is somebody else's doing: it is
	// reported, and changes nothing.
	Steady bool `json:"-"`
	// Retire is where an earlier pass put keys that belong elsewhere by now.
	Retire *Applied `json:"-"`

	world *World
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
	p := &Plan{Binding: *state.InForce, world: world}
	if p.Binding.State == metadata.Bound {
		p.Policy = sshd.Policy{
			Closed: config.Apply.Password == DisablePassword,
			Guard:  config.SSHD.MatchGuard,
		}
		for _, key := range p.Binding.Keys {
			p.Final = append(p.Final, key.Line())
		}
	}
	file := authkeys.Parse(world.Keys.Data)
	p.Stage = stage(file, p.Final, state)
	var err error
	if p.Keys, err = file.WithManaged(p.Final); err != nil {
		return nil, err
	}
	p.Files = world.Files.With(p.Policy)
	p.steps(state, how)
	return p, nil
}

// stage adds to the new lines those that stand in the block now, where they
// are the proved way in and no new one has been proved yet.
func stage(file *authkeys.File, final []string, state State) []string {
	lines := slices.Clone(final)
	if len(final) == 0 || state.Applied == nil || !state.Applied.works() {
		return lines
	}
	for _, entry := range file.Managed() {
		key := metadata.Key{Type: entry.Type, Blob: entry.Blob, Comment: entry.Comment}
		if line := key.Line(); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// works tells whether the keys applied last were proved to log in.
func (a *Applied) works() bool {
	return a.Proof != nil && a.Proof.Key == sshd.Accepted && a.Proof.Logon == sshd.Accepted
}

// steps lists what is to be done, nothing when all is as it was recorded.
func (p *Plan) steps(state State, how How) {
	bound := p.Binding.State == metadata.Bound
	keysDiffer := !p.world.Keys.Settled(p.Keys)
	done := state.Applied
	if done != nil && done.KeysFile != "" && (done.User != p.world.Account.Name || done.KeysFile != p.world.Location.Path) {
		p.Retire = done
	}
	same := done != nil && !state.Unfinished && done.BootID == p.world.Boot && done.Binding.Same(p.Binding)
	intact := same && !keysDiffer && done.intact(p)
	p.Steady = intact && len(done.Faults) == 0 && !how.Now
	failed := done != nil && len(done.Faults) > 0
	if intact && done.World == p.world.Foreign && !(failed && (how.Now || how.Retry)) {
		return
	}
	if bound {
		p.bindSteps(keysDiffer, state.Unfinished)
	} else {
		p.unbindSteps(keysDiffer, state.Unfinished)
	}
}

// intact tells whether sshd's files hold what was applied to them.
func (a *Applied) intact(p *Plan) bool {
	policy := p.Policy
	policy.Closed = a.PasswordClosed
	return p.world.Files.With(policy).Equal(p.world.Files)
}

func (p *Plan) bindSteps(keysDiffer, unfinished bool) {
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
	p.addReload(filesDiffer || unfinished)
	p.add(AskListener, p.world.Effective.ListenAddress())
	p.addRetire()
	p.add(Record, StateDir+"/"+stateFile)
}

func (p *Plan) unbindSteps(keysDiffer, unfinished bool) {
	filesDiffer := !p.Files.Equal(p.world.Files)
	if filesDiffer {
		p.add(OpenPassword, p.policyPath())
	}
	p.addReload(filesDiffer || unfinished)
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
	if p.Retire != nil {
		p.add(RemoveKeys, p.Retire.KeysFile)
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
