package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// Result is what came of a check.
type Result string

// The results.
const (
	Pass   Result = "pass"
	Fail   Result = "fail"
	Unsure Result = "unknown" // could not be found out
)

// Check is one thing that can keep a key from logging in, or passwords on.
type Check struct {
	Name   string `json:"name"` // fixed; that of a cause where there is one
	Result Result `json:"result"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
}

// Doctor checks everything that decides over a logon, and changes nothing but
// for one login record: the account is proved by a whole logon.
func (a *Agent) Doctor(ctx context.Context, seen metadata.Binding) ([]Check, error) {
	state, err := loadState(a.root, hardwareID(a.root))
	if err != nil {
		return nil, err
	}
	d := &doctor{agent: a, state: state, seen: seen}
	d.endpoint()
	d.memory()
	if d.observe(ctx) {
		d.account()
		d.configuration(ctx)
		if d.binding().State == metadata.Bound {
			d.keysFile()
			d.proof(ctx)
		}
		d.reopeners()
	}
	d.running(ctx)
	return d.checks, ctx.Err()
}

// doctor gathers checks.
type doctor struct {
	agent  *Agent
	state  State
	seen   metadata.Binding
	world  *World
	checks []Check
}

func (d *doctor) add(name string, result Result, remedy, format string, args ...any) {
	d.checks = append(d.checks, Check{name, result, fmt.Sprintf(format, args...), remedy})
}

func (d *doctor) pass(name, format string, args ...any) { d.add(name, Pass, "", format, args...) }

func (d *doctor) cause(c sshd.Cause) { d.add(c.ID, Fail, c.Remedy, "%s", c.Detail) }

// binding is what the instance is to be: what is in force, else what was seen.
func (d *doctor) binding() metadata.Binding {
	if d.state.InForce != nil {
		return *d.state.InForce
	}
	return d.seen
}

func (d *doctor) endpoint() {
	const name, remedy = "endpoint", "check metadata.endpoint in latchkey.toml, and that the instance reaches it"
	switch {
	case d.seen.State == metadata.Unknown:
		d.add(name, Fail, remedy, "%s: %s", d.agent.config.Metadata.Endpoint, d.seen.Reason)
	case d.agent.isOther(d.state, d.seen):
		d.add(name, Fail, remedy, "it speaks for %s, this instance is %s", d.seen.InstanceID, d.state.InstanceID)
	default:
		d.pass(name, "%s answers for %s: %s", d.agent.config.Metadata.Endpoint, d.seen.InstanceID, d.seen.State)
	}
}

// memory is about what was recorded.
func (d *doctor) memory() {
	if d.state.Unfinished {
		d.add("unfinished", Fail, "run \"latchkey apply\"", "the last pass was cut off")
	}
	switch {
	case d.state.InForce == nil:
		d.add("in-force", Unsure, "start latchkeyd, or run \"latchkey apply\"", "no binding was ever taken over")
	case d.seen.State != metadata.Unknown && !d.state.InForce.Same(d.seen):
		d.pass("in-force", "%s; another binding takes effect at the next restart", d.state.InForce.State)
	default:
		d.pass("in-force", "%s", d.state.InForce.State)
	}
}

// observe looks at the instance; without that there is nothing more to check.
func (d *doctor) observe(ctx context.Context) bool {
	user := d.agent.user(d.binding())
	world, err := d.agent.observe(ctx, user, nil)
	d.world = world
	var refused *sshd.CommandError
	switch {
	case err == nil:
		return true
	case errors.Is(err, sshd.ErrMissing):
		d.add("sshd-missing", Fail, "install the OpenSSH server: apt-get install openssh-server", "%v", err)
	case errors.As(err, &refused):
		d.add("sshd-config", Fail, "make \"sshd -t\" pass", "%v", err)
	default:
		d.add("instance", Fail, "mend what it names, then run \"latchkey doctor\" again", "%v", err)
	}
	return false
}

func (d *doctor) account() {
	for _, p := range d.world.Problems {
		d.cause(cause(p))
	}
	if len(d.world.Problems) == 0 {
		d.pass("account", "%s may log in, its home is %s", d.world.Account.Name, d.world.Account.Home)
	}
}

func (d *doctor) configuration(ctx context.Context) {
	if err := d.agent.sshd.Test(ctx, d.agent.config.SSHD.Config); err != nil {
		d.add("sshd-config", Fail, "make \"sshd -t\" pass", "%v", err)
		return
	}
	d.pass("sshd-config", "sshd -t takes %s", d.agent.config.SSHD.Config)
}

// keysFile checks that the bound keys, and no other of ours, are where sshd
// looks.
func (d *doctor) keysFile() {
	const name = "keys-file"
	binding, file := d.binding(), authkeys.Parse(d.world.Keys.Data)
	var lines []string
	for _, key := range binding.Keys {
		lines = append(lines, key.Line())
	}
	after, err := file.WithManaged(lines)
	switch {
	case err != nil:
		d.add(name, Fail, "move it away; latchkey writes a new one", "%s: %v", d.world.Location.Path, err)
	case !d.world.Keys.Settled(after):
		d.add(name, Fail, "run \"latchkey apply\"", "%s does not hold the bound key as it should", d.world.Location.Path)
	default:
		d.pass(name, "%s holds %s", d.world.Location.Path, fingerprints(binding))
	}
}

// proof asks a real sshd under the configuration as it is.
func (d *doctor) proof(ctx context.Context) {
	r := &applier{agent: d.agent, plan: &Plan{Binding: d.binding(), world: d.world}}
	policy := sshd.Policy{Closed: d.world.Files.Holds(), Guard: d.agent.config.SSHD.MatchGuard}
	unlock, err := d.agent.lock(ctx)
	if err != nil {
		d.add("proof", Unsure, "try again in a moment", "%v", err)
		return
	}
	proof, err := d.agent.prove(ctx, d.world, policy, r.subject())
	unlock()
	if err != nil {
		d.add("proof", Unsure, "", "%v", err)
		return
	}
	for _, c := range proof.Causes {
		d.known(c)
	}
	if proof.KeyWorks() {
		d.pass("proof", "sshd -i accepts the key and lets %s in; it offers %s", d.world.Account.Name, strings.Join(proof.Methods, ", "))
	}
	d.password(proof)
	r.proof = proof
	d.listener(ctx, r)
}

// known adds a cause, unless a check of the account has named it already.
func (d *doctor) known(c sshd.Cause) {
	for _, check := range d.checks {
		if check.Name == c.ID {
			return
		}
	}
	d.cause(c)
}

// password checks the door against what is wanted.
func (d *doctor) password(proof *sshd.Proof) {
	wanted := d.agent.config.Apply.Password == DisablePassword
	switch {
	case !wanted:
		d.pass("password", "left as it is, by latchkey.toml")
	case proof.Password == sshd.Refused:
		d.pass("password", "off")
	case proof.Password == sshd.Unknown:
		d.add("password", Unsure, "", "could not be found out")
	case proof.KeyWorks():
		d.add("password", Fail, "run \"latchkey apply\"", "still on, though the key works")
	default:
		d.add("password", Fail, "mend what keeps the key from logging in, then run \"latchkey apply\"", "on, because the key is not proved")
	}
}

// listener asks the running sshd.
func (d *doctor) listener(ctx context.Context, r *applier) {
	const name = "listener"
	running, err := d.agent.sshd.Running(ctx, d.world.Effective)
	switch {
	case err != nil:
		d.add(name, Unsure, "", "%v", err)
		return
	case !running:
		d.add(name, Unsure, "start sshd: systemctl start ssh", "no sshd runs; it will start with what was proved")
		return
	}
	r.listener = r.question().Ask(ctx)
	r.plan.Policy.Closed = d.world.Files.Holds()
	if r.listenerAgrees() {
		d.pass(name, "the running sshd at %s accepts the key and offers %s",
			d.world.Effective.ListenAddress(), strings.Join(r.listener.Methods, ", "))
		return
	}
	c := r.listenerCause()
	d.add(c.ID, Fail, c.Remedy, "%s", c.Detail)
}

// reopeners are Match blocks that would let passwords in again for somebody.
func (d *doctor) reopeners() {
	if d.agent.config.SSHD.MatchGuard && d.agent.config.Apply.Password == DisablePassword {
		return // the guard stands against them
	}
	for _, directive := range d.world.Files.Text().PasswordReopeners() {
		d.add("match-reopens-password", Fail, "take it out, or set sshd.match_guard = true in latchkey.toml",
			"%s turns passwords on for those it matches", directive.Position())
	}
}

func (d *doctor) running(ctx context.Context) {
	report, err := d.agent.AskRunning(ctx)
	switch {
	case errors.Is(err, ErrNotRunning):
		d.add("agent", Fail, "systemctl start latchkeyd", "latchkeyd does not run: a binding takes effect only while it does")
	case err != nil:
		d.add("agent", Unsure, "", "%v", err)
	default:
		d.pass("agent", "latchkeyd runs, process %d", report.PID)
	}
}
