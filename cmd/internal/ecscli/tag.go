package ecscli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

// parseTags reads "key=value", or "key" alone, as often as it is given.
func parseTags(texts []string) ([]ecsclient.Tag, error) {
	var tags []ecsclient.Tag
	for _, text := range texts {
		key, value, _ := strings.Cut(text, "=")
		if key == "" {
			return nil, cli.UsageError{Err: fmt.Errorf("tag %q: want key=value", text)}
		}
		tags = append(tags, ecsclient.Tag{Key: key, Value: value})
	}
	return tags, nil
}

// tagList is tags as they are given: "key=value", by their keys.
func tagList(tags map[string]string) string {
	var texts []string
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		texts = append(texts, key+"="+tags[key])
	}
	return strings.Join(texts, " ")
}

func (d *desk) tagCommand() *cobra.Command {
	return d.command(verb{
		use: "tag NAME KEY=VALUE...", short: "Put tags on a key pair",
		long:    "tag puts tags on a key pair; one that has the same key is replaced.",
		example: "  latchkey keypair tag web team=shop stage=test",
		args:    cobra.MinimumNArgs(2), complete: d.completePairs(1),
		run: func(ctx context.Context, args []string) error {
			tags, err := parseTags(args[1:])
			if err != nil {
				return err
			}
			return d.onPair(ctx, args[0], "tagged", func(c *ecsclient.Client) error { return c.TagKeyPair(ctx, args[0], tags) })
		},
	})
}

func (d *desk) untagCommand() *cobra.Command {
	return d.command(verb{
		use: "untag NAME KEY...", short: "Take tags off a key pair",
		long:    "untag takes tags off a key pair, by their keys. A key that it does not have is no error.",
		example: "  latchkey keypair untag web team",
		args:    cobra.MinimumNArgs(2), complete: d.completePairs(1),
		run: func(ctx context.Context, args []string) error {
			return d.onPair(ctx, args[0], "untagged", func(c *ecsclient.Client) error { return c.UntagKeyPair(ctx, args[0], args[1:]) })
		},
	})
}

// onPair does one thing to one key pair.
func (d *desk) onPair(ctx context.Context, name, done string, do func(*ecsclient.Client) error) error {
	client, err := d.clientFor(name)
	if err != nil {
		return err
	}
	return d.each(ctx, []string{name}, work{
		done: done, batch: 1,
		do: func(_ context.Context, batch []string) ([]outcome, error) {
			return allDone(batch, do(client))
		},
	})
}
