package ecscli

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

// completionTime bounds how long a person who presses Tab waits for the service.
const completionTime = time.Second

// complete asks the service for words that begin so, and leaves out those that are given already. What goes wrong
// is not said: nobody has asked for anything yet.
func (d *desk) complete(cmd *cobra.Command, given []string, read func(context.Context, *ecsclient.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	client, err := d.settings.client(io.Discard)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	words, err := read(ctx, client)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	words = slices.DeleteFunc(words, func(word string) bool {
		word, _, _ = strings.Cut(word, "\t") // what comes after it describes it
		return slices.Contains(given, word)
	})
	return words, cobra.ShellCompDirectiveNoFileComp
}

// completePairs completes names of key pairs, up to limit of them; 0 is any number.
func (d *desk) completePairs(limit int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if limit > 0 && len(args) >= limit {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return d.complete(cmd, args, func(ctx context.Context, client *ecsclient.Client) ([]string, error) {
			pairs, err := collect(client.KeyPairs(ctx, ecsclient.KeyPairFilter{Name: begun + "*"}))
			var names []string
			for _, pair := range pairs {
				names = append(names, cli.Plain(pair.Name))
			}
			return names, err
		})
	}
}

// completeInstances completes ids of instances.
func (d *desk) completeInstances(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	return d.complete(cmd, args, func(ctx context.Context, client *ecsclient.Client) ([]string, error) {
		instances, err := collect(client.Instances(ctx, ecsclient.InstanceFilter{}))
		var ids []string
		for _, instance := range instances {
			if strings.HasPrefix(instance.ID, begun) {
				ids = append(ids, cli.Plain(instance.ID)+"\t"+cli.Plain(instance.Name))
			}
		}
		return ids, err
	})
}

func (d *desk) completePairThenInstances(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return d.completePairs(1)(cmd, args, begun)
	}
	return d.completeInstances(cmd, args[1:], begun)
}
