package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/cmd/internal/version"
)

// Instance is which instance a program serves, by its flags.
type Instance struct{ Root, Config string }

// AddFlags adds the flags to a command and all below it.
func (i *Instance) AddFlags(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringVar(&i.Root, "root", "/", "the instance's root `folder`")
	flags.StringVar(&i.Config, "config", agent.DefaultConfigPath, "configuration `file`, below the root")
}

// Load reads the instance's configuration. A root without /etc is no instance's:
// something is not mounted.
func (i *Instance) Load() (agent.Config, error) {
	if info, err := os.Stat(filepath.Join(i.Root, "etc")); err != nil || !info.IsDir() {
		return agent.Config{}, UsageError{Err: fmt.Errorf("--root %s: no instance is there: it has no folder etc", i.Root)}
	}
	return agent.LoadConfig(i.Root, i.Config)
}

// Prepare gives a program's root command the ways that all have: errors are
// printed by Finish, wrong flags are wrong usage. What it writes has the modes
// that it is given, whatever root's shell has as its umask: the logon user has to
// get at some of it. Its memory, with the key of a proof in it, goes into no core
// dump; programs that it starts do as they like.
func Prepare(cmd *cobra.Command) *cobra.Command {
	unix.Umask(0o022)
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.Version = version.String()
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return UsageError{Err: err} })
	prepareCompletion(cmd)
	return NoArgs(cmd)
}

// prepareCompletion has cobra's own command, where there is one, complain as all others do. A
// group without a function of its own takes whatever is given to it, and prints its help.
func prepareCompletion(cmd *cobra.Command) {
	cmd.InitDefaultCompletionCmd()
	for _, group := range cmd.Commands() {
		if group.Name() != "completion" {
			continue
		}
		NoArgs(group).RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		for _, shell := range group.Commands() {
			NoArgs(shell)
		}
	}
}

// NoArgs makes a command take no arguments, and complain of any as wrong usage.
func NoArgs(cmd *cobra.Command) *cobra.Command {
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := cobra.NoArgs(cmd, args); err != nil {
			return UsageError{Err: err}
		}
		return nil
	}
	return cmd
}
