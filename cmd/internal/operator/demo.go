package operator

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/cmd/internal/demo"
	"github.com/latchkey-ssh/latchkey/internal/overlay"
)

func (t *tool) demoCommand() *cobra.Command {
	server := "embedded"
	cmd := leaf("demo", "Show a binding's whole life, in a folder of its own",
		`demo starts a region (keypaird) and an SSH server, creates a key pair and binds it through
the region's API, restarts the instance, logs in with the key and is refused with the
password, binds another, unbinds. What it does with latchkey itself it shows as typed.
Each line is what was observed. Nothing of this machine is touched, nothing is left
running. With --sshd=openssh, as root, the server is the machine's own sshd, in an
overlay that vanishes with the demo.`,
		"  latchkey demo\n  sudo latchkey demo --sshd=openssh",
		func(ctx context.Context) error { return t.demo(ctx, server) })
	cmd.Flags().StringVar(&server, "sshd", server, "`server` to log in at: embedded or openssh")
	_ = cmd.RegisterFlagCompletionFunc("sshd", cobra.FixedCompletions(demoServers, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

var demoServers = []string{"embedded", "openssh"}

func (t *tool) demo(ctx context.Context, server string) error {
	if !slices.Contains(demoServers, server) {
		return cli.UsageError{Err: fmt.Errorf("--sshd %q: want embedded or openssh", server)}
	}
	if server == "openssh" && !overlay.InOwnNamespace() {
		if os.Geteuid() != 0 {
			return fmt.Errorf("--sshd=openssh: %w", os.ErrPermission)
		}
		return overlay.EnterOwnNamespace()
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	bin := filepath.Dir(program)
	return demo.Run(ctx, demo.Options{
		OpenSSH: server == "openssh", Out: t.stdout, Desk: program,
		Agent: beside(bin, "latchkeyd"), Server: beside(bin, "latchkey-sshd"), Region: beside(bin, "keypaird"),
	})
}

// beside is where another of our programs is: in the same folder, or, once
// installed, in the sbin next to it.
func beside(bin, name string) string {
	program := filepath.Join(bin, name)
	if _, err := os.Stat(program); err == nil {
		return program
	}
	return filepath.Join(filepath.Dir(bin), "sbin", name)
}
