package ecscli

import (
	"context"
	"errors"
	"fmt"

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
applies live. An instance that takes none does not keep the others from it. What was
bound to one before is named.`,
		example: "  latchkey keypair attach web i-1 i-2\n  latchkey instance list --output name | xargs latchkey keypair attach web",
		args:    cobra.MinimumNArgs(2), complete: d.completePairThenInstances,
		run: func(ctx context.Context, args []string) error {
			client, err := d.clientFor(args[0])
			if err != nil {
				return err
			}
			return d.bind(ctx, client, args[0], args[1:], binding{
				change: client.AttachKeyPair, done: "attached", tell: attached,
				note: "it comes into force when the instance is restarted (latchkey instance reboot), or at once where latchkeyd applies live",
			})
		},
	})
}

func (d *desk) detachCommand() *cobra.Command {
	all := false
	cmd := d.command(verb{
		use: "detach NAME INSTANCE...", short: "Unbind a key pair from instances",
		long: `detach takes a key pair from instances, or with --all from every one that it is bound to.
After the next restart the key no longer logs in, and password logon is as it was. An
instance to which another key pair is bound, or none, is left as it is.`,
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
	client, err := d.clientFor(name)
	if err != nil {
		return err
	}
	if all {
		if instances, err = d.boundTo(ctx, client, name); err != nil {
			return err
		}
	}
	return d.bind(ctx, client, name, instances, binding{
		change: client.DetachKeyPair, done: "detached", tell: detached,
		note: "the key still logs in until the instance is restarted (latchkey instance reboot), unless latchkeyd applies live",
	})
}

// boundTo are the instances to which a key pair is bound. If there are none, a person is told.
func (d *desk) boundTo(ctx context.Context, client *ecsclient.Client, name string) ([]string, error) {
	if _, err := find(ctx, client, name); err != nil {
		return nil, err
	}
	bound, err := bindings(ctx, client, name)
	if err == nil && len(bound[name]) == 0 && d.format == asTable {
		fmt.Fprintf(d.stdout, "%s is bound to no instance\n", cli.Plain(name))
	}
	return bound[name], err
}

// binding is one of the two ways to change what is bound to instances.
type binding struct {
	change     func(ctx context.Context, pair string, instances []string) ([]ecsclient.Outcome, error)
	done, note string                            // as in work
	tell       func(pair, before string) outcome // what it is to an instance to which before is bound, or ""
}

func attached(pair, before string) outcome {
	o := outcome{changed: new(before != pair)}
	switch before {
	case "":
	case pair:
		o.said = "attached already"
	default:
		o.said, o.replaced = "attached, in place of "+before, before
	}
	return o
}

func detached(pair, before string) outcome {
	o := outcome{changed: new(before == pair)}
	if before != pair {
		o.said = "not bound to " + pair
	}
	return o
}

func (d *desk) bind(ctx context.Context, client *ecsclient.Client, pair string, instances []string, b binding) error {
	return d.each(ctx, instances, work{
		done: b.done, note: b.note, batch: ecsclient.MaxAttach, codes: aboutInstances,
		do: func(ctx context.Context, batch []string) (outcomes []outcome, err error) {
			before, err := boundBefore(ctx, client, batch)
			if err != nil {
				return nil, err
			}
			answers, err := b.change(ctx, pair, batch)
			for _, answer := range answers {
				one := outcome{}
				if bound, known := before[answer.InstanceID]; known {
					one = b.tell(pair, bound)
				}
				one.thing, one.err = answer.InstanceID, answer.Err
				outcomes = append(outcomes, one)
			}
			return outcomes, err
		},
	})
}

// boundBefore is the name of what is bound to each of up to 100 instances, "" for nothing: the API answers to a
// change alike, whether it had anything to do or not. An access key that may not look knows nothing, and may bind.
func boundBefore(ctx context.Context, client *ecsclient.Client, instances []string) (map[string]string, error) {
	bound := map[string]string{}
	for instance, err := range client.Instances(ctx, ecsclient.InstanceFilter{IDs: instances}) {
		if errors.As(err, new(*ecsclient.Error)) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		bound[instance.ID] = instance.KeyPairName
	}
	return bound, nil
}
