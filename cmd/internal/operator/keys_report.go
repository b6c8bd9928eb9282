package operator

import (
	"fmt"
	"io"
	"time"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
)

// skipped is a line, or for 0 a file, that a build left out.
type skipped struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"` // from 1; 0 is the whole file
	Why  string `json:"why"`
}

func (s skipped) String() string {
	if s.Line == 0 {
		return fmt.Sprintf("%s: %s", s.File, s.Why)
	}
	return fmt.Sprintf("%s:%d: %s", s.File, s.Line, s.Why)
}

// maxSkips are named one by one.
const maxSkips = 20

// skips are what a build passed over: the first, and how many.
type skips struct {
	first []skipped
	count int
}

func (s *skips) add(file string, line int, why error) {
	s.count++
	if len(s.first) < maxSkips {
		s.first = append(s.first, skipped{file, line, why.Error()})
	}
}

// buildReport is what a build has to tell of its sources.
type buildReport struct {
	skipped  skips // as sshd would
	left     skips // out
	warnings []agent.Check
}

func (r *buildReport) warn(file string, why error) {
	if len(r.warnings) < maxSkips {
		r.warnings = append(r.warnings, agent.Check{Name: "name", Result: agent.Unsure, Detail: file + ": " + why.Error()})
	}
}

func (t *tool) printReport(r *buildReport) {
	t.printSkips("skipped", r.skipped)
	t.printSkips("left out", r.left)
}

func (t *tool) printSkips(what string, s skips) {
	for _, skip := range s.first {
		fmt.Fprintf(t.stderr, "latchkey: %s: %s\n", what, cli.Plain(skip.String()))
	}
	if more := s.count - len(s.first); more > 0 {
		fmt.Fprintf(t.stderr, "latchkey: %s: %d more\n", what, more)
	}
}

// waitingFor says on a terminal that another build goes on.
func (t *tool) waitingFor(out string) func() {
	file, ok := terminal(t.stderr)
	if !ok {
		return nil
	}
	return func() { fmt.Fprintf(file, "waiting for another build of %s\n", cli.Plain(out)) }
}

// buildProgress says on a terminal how far a build has come, on one line; done takes that
// away again.
func (t *tool) buildProgress(quiet bool) (progress func(indexer.Progress), done func()) {
	file, ok := terminal(t.stderr)
	if quiet || !ok {
		return nil, func() {}
	}
	began := time.Now()
	progress = func(p indexer.Progress) {
		rate := float64(p.Lines) / max(time.Since(began).Seconds(), 0.001)
		fmt.Fprintf(file, "\r\x1b[K%d users, %d lines, %.0f lines/s", p.Users, p.Lines, rate)
	}
	return progress, func() { _, _ = io.WriteString(file, "\r\x1b[K") }
}
