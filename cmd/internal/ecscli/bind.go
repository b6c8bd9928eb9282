package ecscli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

// aboutInstances are the codes of refusals that are about one instance of several.
var aboutInstances = []string{
	"InvalidInstanceId", "InvalidInstanceIds", "DependencyViolation", "IncorrectInstanceStatus",
	"InstanceLockedForSecurity", "OperationDenied",
}

func (d *desk) attachCommand() *cobra.Command {
	return d.command(verb{
		use: "attach NAME INSTANCE...", short: "Bind a key pair to instances",
		long: `attach binds a key pair to instances, any number of them, in place of what is bound to
each. It comes into force when the instance is restarted, or at once where latchkeyd
applies live. An instance that takes none does not keep the others from it.`,
		example: "  latchkey keypair attach web i-1 i-2\n  latchkey instance list --output name | xargs latchkey keypair attach web",
		args:    cobra.MinimumNArgs(2), complete: d.completePairThenInstances,
		run: func(ctx context.Context, args []string) error {
			client, err := d.settings.client(d.stderr)
			if err != nil {
				return err
			}
			return d.bind(ctx, args[0], args[1:], "attached", client.AttachKeyPair)
		},
	})
}

func (d *desk) detachCommand() *cobra.Command {
	all := false
	cmd := d.command(verb{
		use: "detach NAME INSTANCE...", short: "Unbind a key pair from instances",
		long: `detach takes a key pair from instances, or with --all from every one that it is bound to.
After the next restart the key no longer logs in, and password logon is as it was.`,
		example: "  latchkey keypair detach web i-1\n  latchkey keypair detach --all web && latchkey keypair delete web",
		args:    cobra.MinimumNArgs(1), complete: d.completePairThenInstances,
		run: func(ctx context.Context, args []string) error { return d.detach(ctx, args[0], args[1:], all) },
	})
	cmd.Flags().BoolVar(&all, "all", false, "from all instances that it is bound to")
	return cmd
}

func (d *desk) detach(ctx context.Context, name string, instances []string, all bool) error {
	if all == (len(instances) > 0) {
		return cli.UsageError{Err: errors.New("detach: want either instances or --all")}
	}
	client, err := d.settings.client(d.stderr)
	if err != nil {
		return err
	}
	if all {
		if _, err := find(ctx, client, name); err != nil {
			return err
		}
		bound, err := bindings(ctx, client, name)
		if err != nil {
			return err
		}
		instances = bound[name]
	}
	return d.bind(ctx, name, instances, "detached", client.DetachKeyPair)
}

type binding func(ctx context.Context, pair string, instances []string) ([]ecsclient.Outcome, error)

func (d *desk) bind(ctx context.Context, pair string, instances []string, done string, change binding) error {
	return d.each(ctx, instances, work{
		done: done, batch: ecsclient.MaxAttach, codes: aboutInstances,
		do: func(ctx context.Context, batch []string) (outcomes []outcome, err error) {
			answers, err := change(ctx, pair, batch)
			for _, answer := range answers {
				outcomes = append(outcomes, outcome{answer.InstanceID, answer.Err})
			}
			return outcomes, err
		},
	})
}
