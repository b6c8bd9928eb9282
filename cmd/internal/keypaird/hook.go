package keypaird

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/latchkey-ssh/latchkey/keypair"
)

// hook is a program that restarts instances.
type hook struct {
	program string
	log     io.Writer
}

// hookTime is how long a restart may take.
const hookTime = 15 * time.Minute

// passedOn are the variables of the environment that the program has of keypaird's. Others may be secrets, or systemd's
// business with keypaird.
var passedOn = []string{"PATH", "HOME", "LANG", "TZ", "TMPDIR"}

// environment is what the program is run in.
func environment(id string) []string {
	env := []string{"LATCHKEY_INSTANCE_ID=" + id}
	for _, name := range passedOn {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// restart runs the program until it ends; with the context, it and what it has started are ended. What it
// has put into a session of its own goes on: that may be the machine.
func (h hook) restart(ctx context.Context, instance keypair.Instance, force bool) error {
	ctx, cancel := context.WithTimeout(ctx, hookTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.program, instance.ID)
	if force {
		cmd.Args = append(cmd.Args, "force")
	}
	cmd.Env = environment(instance.ID)
	cmd.Stdout, cmd.Stderr = h.log, h.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", h.program, instance.ID, err)
	}
	return nil
}
