package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

func (t *tool) planCommand() *cobra.Command {
	return leaf("plan", "Show what apply would do, and touch nothing",
		`plan shows the steps that apply would take now and the files as they would change.
Nothing is touched. Exit status 0 means nothing to do, 2 that there are changes.`,
		"  latchkey plan\n  latchkey plan --json | jq '.steps[].step'", t.plan)
}

// change is a file that a plan changes.
type change struct {
	Path string `json:"path"`
	Diff string `json:"diff"`
}

// planned is the plan as JSON.
type planned struct {
	*agent.Plan
	Changes bool     `json:"changes"`
	Files   []change `json:"files"`
}

func (t *tool) plan(ctx context.Context) error {
	a, seen, err := t.ask(ctx)
	if err != nil {
		return err
	}
	p, err := a.Plan(ctx, seen)
	if err != nil {
		return err
	}
	if p == nil {
		return fmt.Errorf("nothing is known about the binding: %s", seen.Reason)
	}
	out := planned{Plan: p, Changes: p.Changes(), Files: []change{}}
	for _, d := range p.Diffs() {
		out.Files = append(out.Files, change{d.Path, string(diff.Diff("a"+d.Path, d.Before, "b"+d.Path, d.After))})
	}
	err = t.printPlan(out)
	if t.warnUnknown(seen) && err == nil {
		err = cli.ExitError(cli.ExitFailed) // "nothing to do" is not known
	}
	return err
}

func (t *tool) printPlan(p planned) error {
	var err error
	switch {
	case t.json:
		err = t.printJSON(p)
	case !p.Changes:
		fmt.Fprintf(t.stdout, "%s: nothing to do\n", p.Binding.State)
	default:
		fmt.Fprintf(t.stdout, "%s\n", seenWord(p.Binding))
		for i, step := range p.Steps {
			fmt.Fprintf(t.stdout, "%3d. %-15s %s\n", i+1, step.Verb, step.What)
		}
		if c := cmp.Or(p.Blocked, p.Kept); c != nil {
			fmt.Fprintf(t.stdout, "%s: %s\n  -> %s\n", t.paint(red, c.ID), c.Detail, c.Remedy)
		}
		for _, file := range p.Files {
			fmt.Fprintf(t.stdout, "\n%s", t.paintDiff(file.Diff))
		}
	}
	if err == nil && p.Changes {
		err = cli.ExitError(cli.ExitChanges)
	}
	return err
}

func (t *tool) paintDiff(text string) string {
	if !t.color {
		return text
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		switch line[0] {
		case '+':
			line = t.paint(green, line)
		case '-':
			line = t.paint(red, line)
		}
		out.WriteString(line)
	}
	return out.String()
}

func (t *tool) applyCommand() *cobra.Command {
	return leaf("apply", "Apply what is bound now, with all proofs",
		`apply takes over the binding that the endpoint names now, without waiting for a
restart. The key is written first; password logon is turned off only after a real
sshd has proved that the key logs in. What fails is undone, and said.`,
		"  latchkey apply\n  latchkey apply --json | jq .password_closed", t.apply)
}

// applied is the outcome of apply as JSON.
type applied struct {
	Changed        bool             `json:"changed"`
	Binding        string           `json:"binding"`
	PasswordClosed bool             `json:"password_closed"`
	Seen           metadata.Binding `json:"seen"` // what the endpoint says
	Steps          []step           `json:"steps"`
	Faults         []sshd.Cause     `json:"faults"`
}

type step struct {
	Step agent.Verb `json:"step"`
	What string     `json:"what"`
	MS   float64    `json:"ms"`
}

func (t *tool) apply(ctx context.Context) error {
	a, seen, err := t.ask(ctx)
	if err != nil {
		return err
	}
	waiting := t.progress("asking sshd")
	outcome, err := a.Pass(ctx, seen, agent.How{Now: true})
	waiting()
	if err != nil && outcome != nil && outcome.Applied != nil && len(outcome.Done) > 0 {
		err = errors.Join(t.printApplied(outcome, seen), err) // it was not for nothing
	}
	if err != nil {
		return err
	}
	if outcome.Applied == nil {
		return fmt.Errorf("nothing is known about the binding, nothing was changed: %s", seen.Reason)
	}
	if err := t.printApplied(outcome, seen); err != nil {
		return err
	}
	if t.warnUnknown(seen) || len(outcome.Applied.Faults) > 0 {
		return cli.ExitError(cli.ExitFailed)
	}
	return nil
}

// warnUnknown says that the endpoint gave no answer that counts, and tells
// whether it did not.
func (t *tool) warnUnknown(seen metadata.Binding) bool {
	if seen.State != metadata.Unknown {
		return false
	}
	fmt.Fprintf(t.stderr, "latchkey: the endpoint gave no answer that counts, what was in force is kept: %s\n", seen.Reason)
	return true
}

func (t *tool) printApplied(o *agent.Outcome, seen metadata.Binding) error {
	out := applied{
		Changed: len(o.Done) > 0, Binding: seenWord(o.Applied.Binding),
		PasswordClosed: o.Applied.PasswordClosed, Steps: []step{}, Seen: seen,
		Faults: append([]sshd.Cause{}, o.Applied.Faults...),
	}
	for _, done := range o.Done {
		out.Steps = append(out.Steps, step{done.Verb, done.What, milliseconds(done.Took)})
	}
	if t.json {
		return t.printJSON(out)
	}
	t.printSteps(out)
	return nil
}

func (t *tool) printSteps(out applied) {
	for _, s := range out.Steps {
		fmt.Fprintf(t.stdout, "%-15s %s (%.1f ms)\n", s.Step, s.What, s.MS)
	}
	password := t.paint(yellow, "on")
	if out.PasswordClosed {
		password = t.paint(green, "off")
	}
	nothing := ""
	if !out.Changed {
		nothing = ", nothing to do"
	}
	fmt.Fprintf(t.stdout, "%s; password logon %s%s\n", out.Binding, password, nothing)
	for _, fault := range out.Faults {
		fmt.Fprintf(t.stderr, "%s: %s\n  -> %s\n", t.paint(red, fault.ID), fault.Detail, fault.Remedy)
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (t *tool) doctorCommand() *cobra.Command {
	return leaf("doctor", "Check everything that can keep the key from logging in",
		`doctor checks each thing that decides over a logon: the endpoint, the account, sshd's
configuration, the keys file, a whole logon on a real sshd, and the running one.
Each finding comes with its remedy. It changes nothing but for the login record of
that one logon. Exit status 2 means that there are findings.`,
		"  latchkey doctor", t.doctor)
}

func (t *tool) doctor(ctx context.Context) error {
	if t.keepsNoBinding(ctx) {
		return t.finishChecks([]agent.Check{{Name: "binding", Result: agent.Pass, Detail: noBinding}})
	}
	a, seen, err := t.ask(ctx)
	if err != nil {
		return err
	}
	waiting := t.progress("asking sshd")
	checks, err := a.Doctor(ctx, seen)
	waiting()
	if err != nil {
		return err
	}
	return t.finishChecks(checks)
}

// finishChecks prints checks, and ends with what they say.
func (t *tool) finishChecks(checks []agent.Check) error {
	if err := t.printChecks(checks); err != nil {
		return err
	}
	for _, c := range checks {
		if c.Result == agent.Fail {
			return cli.ExitError(cli.ExitChanges)
		}
	}
	return nil
}

func (t *tool) printChecks(checks []agent.Check) error {
	if t.json {
		return t.printJSON(struct {
			Checks []agent.Check `json:"checks"`
		}{checks})
	}
	colors := map[agent.Result]string{agent.Pass: green, agent.Fail: red, agent.Unsure: yellow}
	var text strings.Builder
	for _, c := range checks {
		fmt.Fprintf(&text, "%s  %s: %s\n", t.paint(colors[c.Result], fmt.Sprintf("%-7s", c.Result)), c.Name, c.Detail)
		if c.Remedy != "" {
			fmt.Fprintf(&text, "         -> %s\n", c.Remedy)
		}
	}
	_, err := io.WriteString(t.stdout, text.String())
	return err
}
