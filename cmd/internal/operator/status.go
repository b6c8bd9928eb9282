package operator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/metadata"
)

func (t *tool) statusCommand() *cobra.Command {
	return leaf("status", "Show what is bound, what is in force and what was proved",
		`status shows the bound key, where it is, whether password logon is off as proved by
a real sshd, what waits for a restart, and what is wrong. It changes nothing.`,
		"  latchkey status\n  latchkey status --json | jq -r .password", t.status)
}

func (t *tool) status(ctx context.Context) error {
	if !t.json && t.keepsNoBinding(ctx) {
		_, err := fmt.Fprintln(t.stdout, noBinding)
		return err
	}
	report, err := t.report(ctx)
	if err != nil {
		return err
	}
	if t.json {
		return t.printJSON(report)
	}
	t.printStatus(report)
	return nil
}

const noBinding = "no binding is kept here: there is no state, and latchkeyd does not run; for the key index: latchkey keys check"

// keepsNoBinding tells a bastion: it has an index that somebody has built, and latchkeyd, which
// does not run, has never left anything. What its endpoint says is of no matter then.
func (t *tool) keepsNoBinding(ctx context.Context) bool {
	_, err := os.Lstat(t.below(agent.StateDir + "/state.json"))
	if _, indexErr := os.Lstat(t.below(index.Users)); indexErr != nil || !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	a, _, err := t.agentAnyway()
	if err != nil {
		return false
	}
	_, err = a.AskRunning(ctx)
	return errors.Is(err, agent.ErrNotRunning)
}

// report is that of the running agent, which may live with an earlier
// configuration, else one made here.
func (t *tool) report(ctx context.Context) (*agent.Report, error) {
	a, wrong, err := t.agentAnyway()
	if err != nil {
		return nil, err
	}
	report, err := a.AskRunning(ctx)
	if !errors.Is(err, agent.ErrNotRunning) {
		return report, err
	}
	if wrong != nil {
		return nil, wrong
	}
	seen, err := t.fetch(ctx, a)
	if err != nil {
		return nil, err
	}
	return a.Report(seen)
}

func (t *tool) printStatus(r *agent.Report) {
	w := tabwriter.NewWriter(t.stdout, 0, 0, 2, ' ', 0)
	defer w.Flush()
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("instance", "%s", orNone(r.InstanceID, "not known yet"))
	row("endpoint", "%s: %s", r.Endpoint, seenWord(r.Seen))
	row("in force", "%s", t.inForce(r))
	for _, key := range r.Keys {
		row("key", "%s %s", key.Fingerprint, strings.TrimSpace(key.Type+" "+orNone(key.Name, key.Comment)))
	}
	if r.User != "" {
		row("user", "%s%s", r.User, prefixed(", ", r.KeysFile)+prefixed(", ", r.Index))
	}
	for _, place := range r.Elsewhere {
		row("leaves", "%s", place.KeysFile)
	}
	row("password", "%s", t.passwordLine(r))
	if r.Pending != nil {
		row("pending", "%s", t.paint(yellow, seenWord(*r.Pending)+when(r)))
	}
	for _, fault := range r.Faults {
		row("fault", "%s: %s", t.paint(red, fault.ID), fault.Detail)
		row("", "-> %s", fault.Remedy)
	}
	row("agent", "%s", t.agentLine(r.PID))
}

func seenWord(b metadata.Binding) string {
	var names []string
	for _, key := range b.Keys {
		names = append(names, key.Fingerprint())
	}
	return strings.TrimSpace(string(b.State) + " " + strings.Join(names, " "))
}

func (t *tool) inForce(r *agent.Report) string {
	switch {
	case r.InForce == nil:
		return "nothing yet"
	case !r.Applied:
		return t.paint(yellow, "not yet: "+seenWord(*r.InForce))
	case !r.ThisBoot:
		return string(r.InForce.State) + ", from before this boot"
	}
	return string(r.InForce.State)
}

func (t *tool) passwordLine(r *agent.Report) string {
	line := map[string]string{"off": t.paint(green, "off"), "on": t.paint(yellow, "on")}[r.Password]
	if line == "" {
		line = r.Password
	}
	if r.ProvedAt == nil || r.Proof == nil {
		return line
	}
	asked := "sshd -i"
	if r.Proof.Running {
		asked += " and the running sshd"
	}
	return fmt.Sprintf("%s; key %s, logon %s, methods %s, by %s at %s", line, r.Proof.Key, r.Proof.Logon,
		orNone(strings.Join(r.Proof.Methods, ","), "unknown"), asked, r.ProvedAt.Local().Format(time.RFC3339))
}

func (t *tool) agentLine(pid int) string {
	if pid == 0 {
		return t.paint(yellow, "not running; systemctl enable --now latchkeyd")
	}
	return fmt.Sprintf("running, process %d", pid)
}

// when says when a pending binding comes into force.
func when(r *agent.Report) string {
	switch {
	case r.PID == 0:
		return ", at the next restart of the instance if latchkeyd runs then; or now with \"latchkey apply\""
	case r.When == agent.Live:
		return ", about to be applied"
	}
	return ", at the next restart of the instance; or now with \"latchkey apply\""
}

func orNone(text, none string) string {
	if text == "" {
		return none
	}
	return text
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

// Colours of a terminal (ECMA-48 SGR).
const (
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (t *tool) paint(color, text string) string {
	if !t.color {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}
