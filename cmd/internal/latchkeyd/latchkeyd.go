// Package latchkeyd is the daemon as a program: flags, signals, readiness.
package latchkeyd

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/network"
	"github.com/latchkey-ssh/latchkey/systemd"
)

// Run runs the program and returns its exit code.
func Run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := command()
	cmd.SetArgs(args)
	return cli.Finish(os.Stderr, "latchkeyd", cmd.ExecuteContext(ctx))
}

func command() *cobra.Command {
	var instance cli.Instance
	cmd := &cobra.Command{
		Use:   "latchkeyd",
		Short: "Keep this instance in the state that its key pair binding asks for",
		Long: `latchkeyd asks the metadata endpoint which key pair is bound to this instance, writes
the key into the logon user's authorized_keys and, once a real sshd has proved that the
key logs in, turns sshd's password logon off. It runs until it is told to end, and puts
back what belongs to it. Started by systemd; see latchkey(8) for the commands.`,
		Example: "  latchkeyd\n  latchkeyd --root /mnt/instance --config /etc/latchkey/test.toml",
		RunE:    func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), instance) },
	}
	instance.AddFlags(cmd)
	cmd.AddCommand(cli.NetworkCommand())
	return cli.Prepare(cmd)
}

// idleGC is how much garbage, in percent, an agent lets gather once it has
// nothing but rare passes to do. Until then it is in a hurry.
const idleGC = 25

func serve(ctx context.Context, instance cli.Instance) error {
	config, err := instance.Load()
	if err != nil {
		return err
	}
	systemd.Starting(config.Apply.BootWait.Duration)
	log := slog.New(systemd.NewLogHandler(os.Stderr))
	daemon := agent.NewDaemon(agent.Options{
		Root: instance.Root, Config: config, Log: log, Network: network.Unprivileged(instance.Root),
	}, instance.Config)
	return daemon.Run(ctx, agent.Supervisor{
		Ready: func() {
			systemd.Ready()
			debug.SetGCPercent(idleGC)
		},
		Status: systemd.Status,
		Alive:  systemd.Alive,
		Every:  systemd.WatchdogInterval() / 2,
	})
}
