package e2e

import (
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"time"

	"github.com/latchkey-ssh/latchkey/agent"
)

// commandTimeout bounds a command in the instance: one that hangs is to fail
// its test and not the run.
const commandTimeout = time.Minute

// inside is a command that runs in the booted system, as root.
func (i *instance) inside(args ...string) *exec.Cmd {
	enter := []string{"-t", i.leader, "-m", "-u", "-i", "-n", "-p", "-r", "-w"}
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	i.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root"}
	cmd.WaitDelay = time.Second
	return cmd
}

// run runs a command in the booted system to its end; one that fails ends the
// test.
func (i *instance) run(args ...string) string {
	i.t.Helper()
	out, err := i.inside(args...).CombinedOutput()
	if err != nil {
		i.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// property is a property of a unit, or of systemd itself for the unit "".
func (i *instance) property(unit, name string) string {
	i.t.Helper()
	args := []string{"systemctl", "show", "-P", name}
	if unit != "" {
		args = append(args, unit)
	}
	return strings.TrimSpace(i.run(args...))
}

// bootID is the one of the boot that runs.
func (i *instance) bootID() string {
	i.t.Helper()
	return strings.TrimSpace(i.run("cat", "/proc/sys/kernel/random/boot_id"))
}

// await polls until something holds.
func (i *instance) await(what string, holds func() bool) {
	i.t.Helper()
	deadline := time.Now().Add(bootTimeout)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			i.t.Fatalf("waited in vain until %s", what)
		}
		<-tick.C
	}
}

// status is what `latchkey status` says.
func (i *instance) status() agent.Report {
	i.t.Helper()
	var report agent.Report
	text := i.run("latchkey", "status", "--json")
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		i.t.Fatalf("read the status: %v\n%s", err, text)
	}
	return report
}
