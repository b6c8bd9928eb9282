package ecscli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

// work is something that is done to many things, some in one request.
type work struct {
	done  string   // what is said of each: "attached"
	batch int      // how many go into one request
	note  string   // for a person, once, when something was changed
	codes []string // of refusals that are about one of them, and not about the request

	// do does it. An error ends the work; what is known of single ones is returned beside it.
	do func(ctx context.Context, batch []string) ([]outcome, error)
}

// outcome is what became of one of them.
type outcome struct {
	thing    string
	err      error  // nil when it was done
	said     string // of it, in the place of work.done
	changed  *bool  // nil where that is not known
	replaced string // what was in its place before
}

// result is an outcome as JSON.
type result struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Changed  *bool  `json:"changed,omitempty"` // of bindings, if it is known
	Replaced string `json:"replaced,omitempty"`
	Code     string `json:"code,omitempty"`
	Message  string `json:"message,omitempty"`
}

// changedSomething tells whether it was done, and was not so before as far as that is known.
func (r result) changedSomething() bool { return r.OK && (r.Changed == nil || *r.Changed) }

// each does the work and says of each thing what became of it. One that is refused does not keep the others from being
// done; any other error ends the work.
func (d *desk) each(ctx context.Context, things []string, w work) error {
	things = distinct(things)
	results := []result{}
	err := w.overAll(ctx, things, func(o outcome) {
		r := resultOf(o)
		results = append(results, r)
		d.say(r, cmp.Or(o.said, w.done))
	})
	if w.note != "" && d.format == asTable && slices.ContainsFunc(results, result.changedSomething) {
		fmt.Fprintf(d.stderr, "latchkey: %s\n", w.note)
	}
	if d.format == asJSON {
		if err := d.printJSON(struct {
			Results []result `json:"results"`
		}{results}); err != nil {
			return err
		}
	}
	failed := slices.DeleteFunc(slices.Clone(results), func(r result) bool { return r.OK })
	if err != nil && len(things) > 1 {
		err = fmt.Errorf("after %d of %d: %w", len(results), len(things), err)
	}
	if err == nil && len(failed) > 0 {
		fmt.Fprintf(d.stderr, "latchkey: %d of %d failed\n", len(failed), len(things))
		d.hintFor(failed)
		err = cli.ExitError(cli.ExitFailed)
	}
	return err
}

func (w work) overAll(ctx context.Context, things []string, report func(outcome)) error {
	for batch := range slices.Chunk(things, w.batch) {
		outcomes, err := w.do(ctx, batch)
		switch {
		case err != nil && isAny(err, w.codes) && len(batch) > 1: // which of them is it?
			one := w
			one.batch = 1
			err = one.overAll(ctx, batch, report)
		case err != nil && isAny(err, w.codes):
			outcomes, err = []outcome{{thing: batch[0], err: err}}, nil
		}
		for _, one := range outcomes {
			report(one)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// allDone are the outcomes of a batch that was done as a whole.
func allDone(batch []string, err error) ([]outcome, error) {
	if err != nil {
		return nil, err
	}
	var outcomes []outcome
	for _, thing := range batch {
		outcomes = append(outcomes, outcome{thing: thing})
	}
	return outcomes, nil
}

func (r result) reason() string {
	if r.Code == "" {
		return r.Message
	}
	return r.Code + ": " + r.Message
}

func resultOf(o outcome) result {
	var refused *ecsclient.Error
	switch {
	case o.err == nil:
		return result{Name: o.thing, OK: true, Changed: o.changed, Replaced: o.replaced}
	case errors.As(o.err, &refused):
		return result{Name: o.thing, Code: refused.Code, Message: refused.Message}
	}
	return result{Name: o.thing, Message: o.err.Error()}
}

// say tells a person what became of one thing, when it is known.
func (d *desk) say(r result, done string) {
	switch {
	case d.format == asJSON, d.format == asNames && !r.OK:
	case d.format == asNames:
		fmt.Fprintln(d.stdout, cli.Plain(r.Name))
	case r.OK:
		fmt.Fprintf(d.stdout, "%s  %s\n", cli.Plain(r.Name), cli.Plain(done))
	default:
		fmt.Fprintf(d.stdout, "%s  failed: %s\n", cli.Plain(r.Name), cli.Plain(r.reason()))
	}
}

// hintFor says what to do about the first failure for which that is known.
func (d *desk) hintFor(failed []result) {
	for _, r := range failed {
		if next := hint(&ecsclient.Error{Code: r.Code}); next != "" && r.Code != "" {
			fmt.Fprintf(d.stderr, "latchkey: %s: %s\n", cli.Plain(r.Name), next)
			return
		}
	}
}

// distinct returns things without those that were there before.
func distinct(things []string) []string {
	var once []string
	for _, thing := range things {
		if !slices.Contains(once, thing) {
			once = append(once, thing)
		}
	}
	return once
}
