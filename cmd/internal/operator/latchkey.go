// Package operator is the latchkey program: what a person asks of an instance,
// as text or JSON. What the commands do is in package agent.
package operator

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/cmd/internal/ecscli"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/network"
	"github.com/latchkey-ssh/latchkey/systemd"
)

// tool is one run of the latchkey program.
type tool struct {
	instance       cli.Instance
	json           bool
	stdin          io.Reader
	stdout, stderr io.Writer
	color          bool
}

// Run runs the program and returns its exit code.
func Run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), ends()...)
	defer stop()
	t := &tool{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, color: wantsColor(os.Stdout)}
	root := t.command()
	root.SetArgs(args)
	return cli.Finish(t.stderr, "latchkey", root.ExecuteContext(ctx))
}

// ends are the signals that end a command in good order. A terminal that is closed is one, but for nohup, which has
// SIGHUP ignored.
func ends() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// wantsColor tells whether f is a terminal and nobody has asked for plain text
// (no-color.org).
func wantsColor(f *os.File) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

func (t *tool) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "latchkey",
		Short: "SSH key pairs: of this instance, and of a region",
		Long: `latchkey shows and applies the key pair that is bound to this instance: the key
in the logon user's authorized_keys, and password logon off once a real sshd has
proved that the key logs in. latchkeyd does it at every boot; status, plan, apply,
doctor and release are for looking, and for doing it now.

keys is for bastions and Git hosts: one index of many people's keys, for sshd.

keypair and instance are for the desk: they ask a region (keypaird, or Alibaba Cloud) for
key pairs and bindings.

Exit status: 0 done or nothing to do, 1 failed, 2 there are changes (plan) or
findings (doctor, keys check), something was left out (keys build), or there is no such
line (keys show, keys find),
64 wrong usage or configuration, 77 not permitted.`,
		Example: "  latchkey status\n  latchkey plan && echo nothing to do\n  latchkey doctor --json | jq '.checks[] | select(.result != \"pass\")'\n  latchkey keypair attach ops i-web1",
	}
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	t.instance.AddFlags(root)
	root.PersistentFlags().BoolVar(&t.json, "json", false, "print JSON")
	root.AddCommand(t.statusCommand(), t.planCommand(), t.applyCommand(), t.doctorCommand(), t.releaseCommand(), t.demoCommand(), cli.NetworkCommand())
	root.AddCommand(t.keysCommand())
	root.AddCommand(ecscli.KeyPairCommand(), ecscli.InstanceCommand())
	return cli.Prepare(root)
}

// leaf is a subcommand without arguments.
func leaf(use, short, long, example string, run func(context.Context) error) *cobra.Command {
	return cli.NoArgs(&cobra.Command{
		Use: use, Short: short, Long: long, Example: example,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context()) },
	})
}

// agent is the agent for the instance that the flags name.
func (t *tool) agent() (*agent.Agent, error) {
	config, err := t.instance.Load()
	if err != nil {
		return nil, err
	}
	return t.agentWith(config), nil
}

// agentAnyway is agent for what has to work with a configuration that cannot be
// used too: the defaults take its place then, and wrong says why.
func (t *tool) agentAnyway() (a *agent.Agent, wrong *agent.ConfigError, err error) {
	config, err := t.instance.Load()
	if errors.As(err, &wrong) {
		return t.agentWith(agent.DefaultConfig()), wrong, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return t.agentWith(config), nil, nil
}

func (t *tool) agentWith(config agent.Config) *agent.Agent {
	log := journalOf(t.instance.Root)
	return agent.New(agent.Options{
		Root: t.instance.Root, Config: config, Log: log, Network: network.Unprivileged(t.instance.Root),
	})
}

// journalOf is the log of what is done to an instance by hand: the journal, if it
// is this machine's.
func journalOf(root string) *slog.Logger {
	if root != "/" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(systemd.NewJournalHandler())
}

// fetchTime bounds how long a command waits for the endpoint.
const fetchTime = 5 * time.Second

// ask is the agent for the instance, and what the endpoint says to it.
func (t *tool) ask(ctx context.Context) (*agent.Agent, metadata.Binding, error) {
	a, err := t.agent()
	if err != nil {
		return nil, metadata.Binding{}, err
	}
	seen, err := t.fetch(ctx, a)
	return a, seen, err
}

// fetch asks the endpoint once, within fetchTime.
func (t *tool) fetch(ctx context.Context, a *agent.Agent) (metadata.Binding, error) {
	waiting := t.progress("asking the metadata endpoint")
	defer waiting()
	within, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	seen, err := a.Fetch(within)
	return seen, errors.Join(err, ctx.Err())
}

// terminal is the file behind a stream, if it is a terminal.
func terminal(stream any) (*os.File, bool) {
	file, ok := stream.(*os.File)
	return file, ok && term.IsTerminal(int(file.Fd()))
}

// progress says on a terminal what is waited for, if it takes noticeably long;
// the function it returns takes that away again.
func (t *tool) progress(what string) (done func()) {
	file, ok := terminal(t.stderr)
	if !ok {
		return func() {}
	}
	shown := time.AfterFunc(300*time.Millisecond, func() { _, _ = io.WriteString(file, what+" ...\r") })
	return func() {
		if !shown.Stop() {
			_, _ = io.WriteString(file, "\r\x1b[K")
		}
	}
}

// printJSON prints v, indented.
func (t *tool) printJSON(v any) error { return cli.PrintJSON(t.stdout, v) }
