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

// sizes are what an index holds.
func sizes(s indexer.Summary) string {
	return counted(s.Users, "user") + ", " + counted(s.Lines, "line") + fmt.Sprintf(", %d bytes", s.Bytes)
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// sayWaiting is how long another build has to be waited for before that is said.
const sayWaiting = 2 * time.Second

// waitingFor says for whom a build waits, to whoever looks: a terminal or a log. It does so
// once, and ends the wait after most, unless that is negative.
func (t *tool) waitingFor(out string, most time.Duration) func(indexer.Wait) error {
	said := false
	return func(w indexer.Wait) error {
		if most >= 0 && w.For >= most {
			return fmt.Errorf("another build (%s) still goes on after %v: %s is as it was (--wait)", holder(w), most, cli.Plain(out))
		}
		if !said && w.For >= sayWaiting {
			said = true
			fmt.Fprintf(t.stderr, "latchkey: waiting for another build of %s (%s)\n", cli.Plain(out), holder(w))
		}
		return nil
	}
}

// holder names the other build.
func holder(w indexer.Wait) string {
	if w.PID == 0 {
		return "it holds " + cli.Plain(w.Lock)
	}
	return fmt.Sprintf("pid %d", w.PID)
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
		fmt.Fprintf(file, "\r\x1b[K%s, %s, %.0f lines/s", counted(p.Users, "user"), counted(p.Lines, "line"), rate)
	}
	return progress, func() { _, _ = io.WriteString(file, "\r\x1b[K") }
}
