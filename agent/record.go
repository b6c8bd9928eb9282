package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// record remembers what was applied and what was proved.
func (r *applier) record() error {
	world := r.plan.world
	before := r.state.Applied
	applied := &Applied{
		Binding: r.plan.Binding, User: world.Account.Name, PasswordClosed: r.closed,
		BootID: world.Boot, At: time.Now().UTC().Truncate(time.Millisecond),
		Proof: r.proofRecord(), Faults: slices.Concat(r.faults, r.kept),
		World: world.Foreign, SSHD: world.SSHD, Effective: world.Effective.Only(rememberedKeywords...),
	}
	if applied.Binding.State == metadata.Bound {
		applied.KeysFile, applied.KeysCommand = world.Location.Path, r.command
		if r.agent.config.Apply.Delivery.command() {
			applied.Index = index.Bound
		}
	}
	if r.closed || r.command != (sshd.KeysCommand{}) {
		applied.Layout = world.Files.Layout(r.plan.Policy)
	}
	if len(applied.Faults) > 0 && r.agent.stampForeign(world) != world.Foreign {
		applied.World = "" // it changed while sshd was asked, so what failed is to be proved again
	}
	r.state.Applied, r.state.Unfinished = applied, false
	r.state.Elsewhere, r.state.Failure = r.elsewhere, nil
	r.noteProven()
	if err := r.state.save(r.agent.root); err != nil {
		return err
	}
	r.announce(before, applied)
	return nil
}

// noteProven remembers the way in: the bound keys if they log in, none when
// none is bound, else whatever was proved before.
func (r *applier) noteProven() {
	switch {
	case r.works:
		places := r.plan.world.places()
		proven := &Proven{KeysPlace: places[0], Index: len(places) > 1, BootID: r.plan.world.Boot}
		for _, key := range r.plan.Binding.Keys {
			proven.Fingerprints = append(proven.Fingerprints, key.Fingerprint())
		}
		r.state.Proven = proven
	case r.plan.Binding.State != metadata.Bound:
		r.state.Proven = nil
	}
}

// opened is the outcome once passwords are open and sshd asks that command. Whatever is
// found next has to be proved.
func (a *Applied) opened(command sshd.KeysCommand) *Applied {
	if a == nil {
		return nil
	}
	applied := *a
	applied.PasswordClosed, applied.Layout, applied.Proof = false, "", nil
	applied.KeysCommand, applied.World = command, ""
	return &applied
}

// rememberedKeywords are what a pass needs of the effective configuration
// before it asks sshd anything.
var rememberedKeywords = []string{"authorizedkeysfile", "listenaddress", "port", "pidfile"}

func (r *applier) proofRecord() *ProofRecord {
	if r.proof == nil {
		return nil
	}
	record := &ProofRecord{
		Key: r.proof.Key, Logon: r.proof.Logon, Password: r.proof.Password,
		Methods: r.proof.Methods, Version: r.proof.Version, Running: r.running,
	}
	if r.running {
		record.Listener = r.listener.Key
	}
	return record
}

// announce logs what has come into force.
func (r *applier) announce(before, now *Applied) {
	world := r.plan.world
	if before == nil || !before.Binding.Same(now.Binding) {
		if now.Binding.State == metadata.Bound {
			r.agent.event(eventBound, world, "fingerprint", fingerprints(now.Binding))
		} else {
			r.agent.event(eventUnbound, world)
		}
	}
	wasClosed := before != nil && before.PasswordClosed
	if r.outcome.wrote() {
		r.agent.log.Info("instance brought to its binding", "user", world.Account.Name, "path", world.where(), "steps", r.outcome.steps())
	}
	switch {
	case now.PasswordClosed && !wasClosed:
		r.agent.event(eventPasswordClosed, world, "fingerprint", fingerprints(now.Binding))
	case wasClosed && !now.PasswordClosed:
		r.agent.event(eventPasswordOpened, world)
	}
}

// wrote tells whether the pass changed a file of the instance.
func (o *Outcome) wrote() bool {
	return slices.ContainsFunc(o.Done, func(d Done) bool {
		return slices.Contains([]Verb{WriteKeys, RemoveKeys, SetCommand, ClosePassword, OpenPassword}, d.Verb)
	})
}

// steps names the steps that were taken.
func (o *Outcome) steps() string {
	var names []string
	for _, d := range o.Done {
		names = append(names, string(d.Verb))
	}
	return strings.Join(names, " ")
}

// event is a kind of log entry with its fixed MESSAGE_ID (journald's message
// catalogue goes by it).
type event struct {
	id, text string
	level    slog.Level
}

// The events.
var (
	eventBound          = event{"55352f7c64a548429e244b73c2be180c", "key bound", slog.LevelInfo}
	eventUnbound        = event{"e2ad18b752cf4d18a1ac491afce6b650", "key unbound", slog.LevelInfo}
	eventPasswordClosed = event{"0e30e1aa886e48de8d1eb6afd6c3e4e7", "password logon closed", slog.LevelInfo}
	eventPasswordOpened = event{"5de2744511894b13bf91b1a2d5c2dec0", "password logon opened", slog.LevelInfo}
	eventProofFailed    = event{"c030583980204d4faa3f7ffae50e40f0", "proof failed: the key is not proved to log in", slog.LevelWarn}
)

// event logs e for the logon user of the world.
func (a *Agent) event(e event, world *World, more ...any) {
	fields := append([]any{
		"MESSAGE_ID", e.id, "user", world.Account.Name, "path", world.where(), "boot_id", world.Boot,
	}, more...)
	a.log.Log(context.Background(), e.level, e.text, fields...)
}

// fingerprints names the keys of a binding.
func fingerprints(b metadata.Binding) string {
	text := ""
	for i, key := range b.Keys {
		if i > 0 {
			text += " "
		}
		text += key.Fingerprint()
	}
	return text
}

func causeIDs(causes []sshd.Cause) string {
	text := ""
	for i, c := range causes {
		if i > 0 {
			text += " "
		}
		text += c.ID
	}
	return text
}

// faultsOf is why a proof did not carry the policy.
func faultsOf(proof *sshd.Proof, p *Plan) []sshd.Cause {
	faults := slices.Concat(p.Refused, proof.Causes)
	if proof.Password != sshd.Refused && p.Policy.Closed && len(faults) == 0 {
		faults = append(faults, passwordCause(p))
	}
	return faults
}

// passwordCause says why a password would still be taken under the closed
// policy.
func passwordCause(p *Plan) sshd.Cause {
	c := sshd.Cause{
		ID:     "password-still-offered",
		Detail: "sshd would still offer a password method with the policy in place",
		Remedy: "look at \"sshd -T -C user=...\" for what sets PasswordAuthentication",
	}
	if reopeners := p.world.Files.Text().PasswordReopeners(); len(reopeners) > 0 {
		return reopenersCause(reopeners)
	}
	return c
}

// reopenersCause names the lines under a Match that let passwords in again.
func reopenersCause(lines []sshd.Directive) sshd.Cause {
	var found []string
	for _, d := range lines {
		found = append(found, fmt.Sprintf("%s (%s)", d.Position(), d.Match))
	}
	return sshd.Cause{
		ID:     "match-reopens-password",
		Detail: "a Match block turns passwords on again: " + strings.Join(found, ", "),
		Remedy: "take it out, or set sshd.match_guard = true in latchkey.toml",
	}
}
