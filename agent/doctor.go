package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-ssh/latchkey/internal/account"
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
// for one login record: the account is proved by a whole logon. The checks are
// always in the same order: endpoint, in-force, sshd-config, account, keys-file and key-index,
// users-index where there is one, keys-command, where keys go there, key-type for each bound
// key, proof, password, listener, agent. One that fails has the ID of its cause for a
// name; what depends on it is left out.
func (a *Agent) Doctor(ctx context.Context, seen metadata.Binding) ([]Check, error) {
	state, err := loadState(a.root, hardwareID(a.root))
	if err != nil {
		return nil, err
	}
	d := &doctor{agent: a, state: state, seen: seen}
	d.endpoint()
	d.memory()
	sound := d.configuration(ctx)
	sound = d.account() && sound
	if sound && d.observe(ctx) {
		d.keys()
		d.logon(ctx)
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
	causes []string // names of what keeps the key from logging in
}

func (d *doctor) add(name string, result Result, remedy, format string, args ...any) {
	d.checks = append(d.checks, Check{name, result, fmt.Sprintf(format, args...), remedy})
}

func (d *doctor) pass(name, format string, args ...any) { d.add(name, Pass, "", format, args...) }

// cause adds what keeps the key from logging in, each once.
func (d *doctor) cause(c sshd.Cause) {
	if slices.ContainsFunc(d.checks, func(check Check) bool { return check.Name == c.ID }) {
		return
	}
	d.causes = append(d.causes, c.ID)
	d.add(c.ID, Fail, c.Remedy, "%s", c.Detail)
}

// binding is what the instance is to be: what is in force, else what was seen.
func (d *doctor) binding() metadata.Binding {
	if d.state.InForce != nil {
		return *d.state.InForce
	}
	return d.seen
}

func (d *doctor) endpoint() {
	const name, remedy = "endpoint", endpointRemedy
	switch {
	case d.seen.State == metadata.Unknown:
		d.add(name, Fail, remedy, "%s: %s", d.agent.config.Metadata.Endpoint, d.seen.Reason)
	case d.agent.isOther(d.state, d.seen):
		d.add(name, Fail, remedy, "%v", otherInstance(d.state, d.seen))
	default:
		d.pass(name, "%s answers for %s: %s", d.agent.config.Metadata.Endpoint, d.seen.InstanceID, bindingWords(d.seen))
	}
}

// bindingWords is a binding in few words.
func bindingWords(b metadata.Binding) string {
	return strings.TrimSpace(string(b.State) + " " + fingerprints(b))
}

// memory is about what was recorded.
func (d *doctor) memory() {
	const name = "in-force"
	inForce := d.state.InForce
	switch {
	case inForce == nil:
		d.add(name, Unsure, "start latchkeyd, or run \"latchkey apply\"", "no binding was ever taken over")
	case d.state.Unfinished:
		d.add("unfinished", Fail, "run \"latchkey apply\"", "%s, but the last pass was cut off", bindingWords(*inForce))
	case d.state.Applied == nil || !d.state.Applied.Binding.Same(*inForce):
		d.pass(name, "%s is to be in force, but is not applied yet", bindingWords(*inForce))
	case d.seen.State != metadata.Unknown && !inForce.Same(d.seen):
		d.pass(name, "%s; %s takes effect at the next restart of the instance", bindingWords(*inForce), bindingWords(d.seen))
	default:
		d.pass(name, "%s", bindingWords(*inForce))
	}
}

// configuration tells whether sshd takes its configuration.
func (d *doctor) configuration(ctx context.Context) bool {
	if err := d.agent.sshd.Test(ctx, d.agent.config.SSHD.Config); err != nil {
		d.cause(*blocker(err))
		return false
	}
	d.pass("sshd-config", "sshd -t takes %s", d.agent.config.SSHD.Config)
	return true
}

// account tells whether there is an account at all; what is wrong with it may
// not be all that is wrong.
func (d *doctor) account() bool {
	name := d.agent.user(d.binding())
	user, err := account.Lookup(d.agent.root, name)
	if err != nil {
		d.cause(*blocker(err))
		return false
	}
	problems := user.Problems(d.agent.root, time.Now())
	for _, p := range problems {
		d.cause(cause(p))
	}
	if len(problems) == 0 {
		d.pass("account", "%s, uid %d, is open; home %s, shell %s", user.Name, user.UID, user.Home, user.Shell)
	}
	return true
}

// observe looks at the instance; without that there is nothing more to check.
func (d *doctor) observe(ctx context.Context) bool {
	world, err := d.agent.observe(ctx, d.agent.user(d.binding()), nil)
	if err != nil {
		d.cause(*blocker(err))
		return false
	}
	d.world = world
	return true
}

// keys checks that the bound keys, and no other of ours, are where sshd looks.
func (d *doctor) keys() {
	if d.binding().State == metadata.Unknown {
		return
	}
	p := d.plan()
	for _, refused := range p.Refused {
		d.cause(refused)
	}
	for _, store := range d.world.Stores {
		d.store(store, p)
	}
	d.usersIndex()
	if d.binding().State == metadata.Bound {
		d.command()
	}
}

// store checks one of the places that hold the bound keys.
func (d *doctor) store(store keysStore, p *Plan) {
	name, where := "keys-file", store.place().KeysFile
	if store.place().isIndex() {
		name = "key-index"
	}
	settled, err := store.settled(p.Final)
	switch {
	case err != nil:
		d.cause(*blocker(fmt.Errorf("edit %s: %w", where, err)))
	case !settled && d.state.Failure != nil:
		d.cause(*d.state.Failure)
	case !settled:
		d.add(name, Fail, "run \"latchkey apply\"", "%s is not as the binding asks for: %s%s", where, bindingWords(d.binding()), spoilt(store))
	case len(p.Final) == 0:
		d.pass(name, "%s holds no key of latchkey's", where)
	default:
		d.pass(name, "%s holds %s", where, p.held())
	}
}

// spoilt is why the helper would refuse an index, in brackets.
func spoilt(store keysStore) string {
	if s, ok := store.(*indexStore); ok && s.fault != nil {
		return " (" + s.fault.Error() + ")"
	}
	return ""
}

// command checks what sshd asks for the keys in the index.
func (d *doctor) command() {
	const name = "keys-command"
	held, wanted := d.world.Files.Held().Keys, d.world.Command
	switch {
	case d.world.NoCommand != nil:
		d.cause(*blocker(d.world.NoCommand))
	case held != wanted && d.commandFault() != nil:
		d.cause(*d.commandFault())
	case held != wanted:
		d.add(name, Fail, "run \"latchkey apply\"", "sshd's configuration does not have AuthorizedKeysCommand as delivery = %q asks for", d.agent.config.Apply.Delivery)
	case wanted != sshd.KeysCommand{}:
		d.pass(name, "sshd asks %s for the keys of %s, as %s", wanted.Command, wanted.For, wanted.User)
	}
}

// commandFault is why the last pass did not leave sshd with the command.
func (d *doctor) commandFault() *sshd.Cause {
	if d.state.Applied == nil {
		return nil
	}
	at := slices.IndexFunc(d.state.Applied.Faults, isCommands)
	if at < 0 {
		return nil
	}
	return &d.state.Applied.Faults[at]
}

// logon is about keys, passwords and the running sshd.
func (d *doctor) logon(ctx context.Context) {
	if d.binding().State != metadata.Bound {
		d.unboundPassword()
		d.listener(ctx, nil)
		return
	}
	r := &applier{agent: d.agent, plan: d.plan()}
	r.plan.Policy = sshd.Policy{
		Closed: d.world.Files.HoldsClosed(), Guard: d.agent.config.SSHD.MatchGuard, Keys: d.world.Files.Held().Keys,
	}
	d.keyTypes(r.plan)
	if len(r.plan.Final) == 0 {
		d.password(&sshd.Proof{Password: d.configuredPassword()})
		d.listener(ctx, nil)
		return
	}
	if !d.proof(ctx, r) {
		return
	}
	d.reopeners()
	d.password(r.proof)
	d.listener(ctx, r)
}

// proof asks a real sshd under the configuration as it is, and tells whether
// that could be done.
func (d *doctor) proof(ctx context.Context, r *applier) bool {
	const name, remedy = "proof", "run \"latchkey doctor\" again in a moment"
	unlock, err := d.agent.lock(ctx, lockWait)
	if err != nil {
		d.add(name, Unsure, remedy, "%v", err)
		return false
	}
	defer unlock()
	if r.proof, err = d.agent.prove(ctx, d.world, r.plan.Policy, r.subject()); err != nil {
		d.add(name, Unsure, remedy, "%v", err)
		return false
	}
	r.plan.explainBounds(r.proof)
	for _, c := range r.proof.Causes {
		d.cause(c)
	}
	if r.proof.KeyWorks() {
		d.pass(name, "%s under a copy of this configuration takes the key and lets %s in; it offers %s",
			strings.TrimPrefix(r.proof.Version, "SSH-2.0-"), d.world.Account.Name, strings.Join(r.proof.Methods, ", "))
	}
	return true
}

// reopeners are Match blocks that let passwords in again for somebody, where no
// guard stands against them.
func (d *doctor) reopeners() {
	if d.agent.config.SSHD.MatchGuard || d.agent.config.Apply.Password != DisablePassword {
		return
	}
	if reopeners := d.world.Files.Text().PasswordReopeners(); len(reopeners) > 0 {
		d.cause(reopenersCause(reopeners))
	}
}

// password checks the door against what is wanted.
func (d *doctor) password(proof *sshd.Proof) {
	const name, apply = "password", "run \"latchkey apply\""
	switch {
	case d.agent.config.Apply.Password != DisablePassword:
		d.pass(name, "%s, left so by apply.password in latchkey.toml", onOff(proof.Password == sshd.Accepted))
	case proof.Password == sshd.Refused:
		d.pass(name, "off: neither password nor keyboard-interactive is offered")
	case proof.Password == sshd.Unknown:
		d.add(name, Unsure, apply, "sshd could not be asked")
	case len(d.causes) > 0:
		d.add(name, Fail, "mend that, then "+apply, "on, because of %s", strings.Join(d.causes, ", "))
	default:
		d.add(name, Fail, apply, "still on, though the key logs in")
	}
}

// unboundPassword checks that nothing of ours keeps passwords off.
func (d *doctor) unboundPassword() {
	const name = "password"
	switch {
	case d.binding().State == metadata.Unknown:
	case d.world.Files.Holds():
		d.add(name, Fail, "run \"latchkey apply\"", "latchkey's policy is still in sshd's configuration, though no key is bound")
	default:
		d.pass(name, "%s, as sshd's own configuration has it", onOff(d.world.Effective.AllowsPassword()))
	}
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// listener asks the running sshd whether it is as proved: r is the proof, nil
// where there is none.
func (d *doctor) listener(ctx context.Context, r *applier) {
	const name = "listener"
	address := d.world.Effective.ListenAddress()
	running, err := d.agent.sshd.Running(ctx, d.world.Effective)
	switch {
	case err != nil:
		d.add(name, Unsure, "see whether sshd runs: systemctl status ssh", "%v", err)
	case running == sshd.ListenerOnDemand:
		d.pass(name, "systemd starts sshd at the next connection, with what is configured now")
	case running != sshd.ListenerRunning:
		d.add(name, Unsure, "start sshd", "no sshd runs; it will start with what is configured now")
	case r == nil:
		d.pass(name, "sshd runs at %s", address)
	default:
		d.askListener(ctx, r, address)
	}
}

// askListener compares the listener's answer with the proof's. A key that both
// refuse is no finding about the listener.
func (d *doctor) askListener(ctx context.Context, r *applier, address string) {
	const name = "listener"
	r.listener = d.agent.network.Ask(ctx, r.question(), false)
	offers := strings.Join(r.listener.Methods, ", ")
	switch {
	case r.listenerAgrees():
		d.pass(name, "the running sshd at %s takes the key and offers %s", address, offers)
	case r.listener.Key == sshd.Refused && len(d.causes) > 0:
		d.pass(name, "the running sshd at %s answers alike: it refuses the key and offers %s", address, offers)
	case r.listener.Key == sshd.Unknown:
		d.add(name, Unsure, "run \"latchkey doctor\" again in a moment", "the running sshd at %s: %s", address, r.listener.Reason)
	default:
		c := r.listenerCause()
		d.add(c.ID, Fail, c.Remedy, "%s", c.Detail)
	}
}

func (d *doctor) running(ctx context.Context) {
	report, err := d.agent.AskRunning(ctx)
	switch {
	case errors.Is(err, ErrNotRunning):
		d.add("agent", Fail, "systemctl enable --now latchkeyd", "latchkeyd does not run: a binding takes effect only while it does")
	case err != nil:
		d.add("agent", Unsure, "systemctl restart latchkeyd", "%v", err)
	default:
		d.pass("agent", "latchkeyd runs, process %d", report.PID)
	}
}
