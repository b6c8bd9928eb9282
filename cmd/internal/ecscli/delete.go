package ecscli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

// aboutPairs are the codes of refusals that are about one key pair of several.
var aboutPairs = []string{
	"InvalidKeyPair", "InvalidKeyPairName", "InvalidKeyPairNames", "InvalidParameter.KeypairAlreadyAttachedInstance",
}

func (d *desk) deleteCommand() *cobra.Command {
	yes := false
	cmd := d.command(verb{
		use: "delete NAME...", short: "Delete key pairs",
		long: `delete deletes key pairs that are bound to no instance. Who writes a name in full is not
asked. In NAME, * at the beginning or the end stands for any characters: what that means
is shown and has to be confirmed, on a terminal or by --yes.`,
		example: "  latchkey keypair delete web\n  latchkey keypair delete 'test-*' --yes",
		args:    cobra.MinimumNArgs(1), complete: d.completePairs(0),
		run: func(ctx context.Context, args []string) error { return d.delete(ctx, args, yes) },
	})
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (d *desk) delete(ctx context.Context, args []string, yes bool) error {
	for _, arg := range args {
		if err := checkPattern(arg); err != nil {
			return err
		}
	}
	client, err := d.settings.client(d.stderr)
	if err != nil {
		return err
	}
	names, meant, err := expand(ctx, client, args)
	if err != nil {
		return err
	}
	if meant > 0 && !yes {
		if err := d.confirm(ctx, names); err != nil {
			return err
		}
	}
	return d.each(ctx, names, work{
		done: "deleted", batch: ecsclient.MaxDelete, codes: aboutPairs,
		do: func(ctx context.Context, batch []string) ([]outcome, error) {
			return allDone(batch, client.DeleteKeyPairs(ctx, batch))
		},
	})
}

// expand puts in the place of each pattern the names that it stands for, and tells how many there are of them.
func expand(ctx context.Context, client *ecsclient.Client, args []string) (names []string, meant int, err error) {
	for _, arg := range args {
		if !strings.Contains(arg, "*") {
			names = append(names, arg)
			continue
		}
		pairs, err := collect(client.KeyPairs(ctx, ecsclient.KeyPairFilter{Name: arg}))
		if err != nil {
			return nil, 0, err
		}
		before := meant
		for _, pair := range pairs {
			if matches(arg, pair.Name) { // it is we who delete: look for ourselves
				names, meant = append(names, pair.Name), meant+1
			}
		}
		if meant == before {
			return nil, 0, notFound(arg)
		}
	}
	return distinct(names), meant, nil
}

// confirm asks a person, where there is one.
func (d *desk) confirm(ctx context.Context, names []string) error {
	for _, name := range names {
		fmt.Fprintln(d.stderr, "  "+cli.Plain(name))
	}
	_, typing := terminal(d.stdin)
	_, reading := terminal(d.stderr)
	if !typing || !reading {
		return cli.UsageError{Err: errors.New("the pattern stands for the key pairs above: --yes deletes them")}
	}
	fmt.Fprint(d.stderr, "delete what is listed above? [y/N] ")
	answer := make(chan string, 1)
	go func() { // a read of a terminal cannot be interrupted
		line, _ := bufio.NewReader(d.stdin).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(d.stderr)
		return &explained{errors.New("interrupted: nothing was deleted"), ""}
	case said := <-answer:
		if said == "y" || said == "yes" {
			return nil
		}
		return &explained{errors.New("nothing was deleted"), ""}
	}
}
