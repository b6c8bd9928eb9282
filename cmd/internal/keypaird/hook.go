package keypaird

import (
	"context"
	"fmt"
	"io"
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

// restart runs the program until it ends; with the context, it and what it has started are ended.
func (h hook) restart(ctx context.Context, instance keypair.Instance, force bool) error {
	ctx, cancel := context.WithTimeout(ctx, hookTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.program, instance.ID)
	if force {
		cmd.Args = append(cmd.Args, "force")
	}
	cmd.Stdout, cmd.Stderr = h.log, h.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", h.program, instance.ID, err)
	}
	return nil
}
