package ecscli

import (
	"context"
	"fmt"
	"iter"
	"path"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

// choice is what list was told.
type choice struct {
	tags               []string
	fingerprint, group string
	long               bool
}

func (d *desk) listCommand() *cobra.Command {
	c := choice{}
	cmd := d.command(verb{
		use: "list [PATTERN]", short: "List key pairs",
		long: `list shows the key pairs of the region, all pages of them. In PATTERN, * at the
beginning or the end stands for any characters. --long adds the type, which tells of a
certificate, the SHA256 fingerprint, the resource group and to how many instances each is
bound.`,
		example: "  latchkey keypair list 'web*'\n  latchkey keypair list --tag team=shop --output name",
		args:    cobra.MaximumNArgs(1), complete: d.completePairs(1),
		run: func(ctx context.Context, args []string) error { return d.list(ctx, args, c) },
	})
	flags := cmd.Flags()
	flags.StringArrayVar(&c.tags, "tag", nil, "only those with this tag, `key[=value]`; may be given again")
	flags.StringVar(&c.fingerprint, "fingerprint", "", "only those with this `fingerprint`, MD5 or SHA256:…")
	flags.StringVar(&c.group, "resource-group", "", "only those of the resource group of this `id`")
	flags.BoolVarP(&c.long, "long", "l", false, "show more of each")
	return cmd
}

func (d *desk) list(ctx context.Context, args []string, c choice) error {
	filter, err := c.filter(args)
	if err != nil {
		return err
	}
	client, err := d.settings.client(d.stderr)
	if err != nil {
		return err
	}
	waiting := d.progress("listing")
	pairs, err := c.pairs(ctx, client, filter)
	waiting()
	if err != nil {
		return err
	}
	return d.show(c.listing(pairs))
}

func (c choice) filter(args []string) (ecsclient.KeyPairFilter, error) {
	filter := ecsclient.KeyPairFilter{ResourceGroupID: c.group, PublicKeys: c.long}
	if len(args) > 0 {
		filter.Name = args[0]
	}
	if strings.HasPrefix(c.fingerprint, "SHA256:") { // the API knows MD5 alone
		filter.PublicKeys = true
	} else {
		filter.Fingerprint = strings.TrimPrefix(c.fingerprint, "MD5:")
	}
	var err error
	if filter.Tags, err = parseTags(c.tags); err == nil {
		err = checkPattern(filter.Name)
	}
	return filter, err
}

// pairs reads the key pairs, and what --long adds.
func (c choice) pairs(ctx context.Context, client *ecsclient.Client, filter ecsclient.KeyPairFilter) ([]shown, error) {
	found, err := collect(client.KeyPairs(ctx, filter))
	if err != nil {
		return nil, err
	}
	bound := map[string][]string{}
	if c.long {
		if bound, err = bindings(ctx, client, ""); err != nil {
			return nil, err
		}
	}
	pairs := []shown{}
	for _, pair := range found {
		s := showing(pair)
		if strings.HasPrefix(c.fingerprint, "SHA256:") && s.SHA256 != c.fingerprint {
			continue
		}
		if c.long {
			s.Instances = append([]string{}, bound[s.Name]...)
		}
		pairs = append(pairs, s)
	}
	return pairs, nil
}

// bindings are the instances of each key pair, or of the one of that name.
func bindings(ctx context.Context, client *ecsclient.Client, pair string) (map[string][]string, error) {
	bound := map[string][]string{}
	for instance, err := range client.Instances(ctx, ecsclient.InstanceFilter{KeyPairName: pair}) {
		if err != nil {
			return nil, err
		}
		if instance.KeyPairName != "" {
			bound[instance.KeyPairName] = append(bound[instance.KeyPairName], instance.ID)
		}
	}
	return bound, nil
}

func (c choice) listing(pairs []shown) listing {
	l := listing{
		value: struct {
			KeyPairs []shown `json:"key_pairs"`
		}{pairs},
		header: []string{"NAME", "MD5", "CREATED", "TAGS"},
	}
	if c.long {
		l.header = []string{"NAME", "TYPE", "MD5", "SHA256", "CREATED", "BOUND", "GROUP", "TAGS"}
	}
	for _, p := range pairs {
		l.names = append(l.names, p.Name)
		row := []string{p.Name, p.MD5, orDash(minute(p.created)), orDash(tagList(p.Tags))}
		if c.long {
			row = []string{
				p.Name, orDash(shortType(p.Type)), p.MD5, orDash(p.SHA256), orDash(minute(p.created)), strconv.Itoa(len(p.Instances)),
				orDash(p.ResourceGroup), orDash(tagList(p.Tags)),
			}
		}
		l.rows = append(l.rows, row)
	}
	return l
}

// collect is all that is yielded.
func collect[T any](all iter.Seq2[T, error]) ([]T, error) {
	var items []T
	for item, err := range all {
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

// checkPattern refuses what the API does not take as a pattern, and would find nothing by.
func checkPattern(pattern string) error {
	if inner := strings.TrimSuffix(strings.TrimPrefix(pattern, "*"), "*"); strings.Contains(inner, "*") {
		return cli.UsageError{Err: fmt.Errorf("%s: * may stand at the beginning and at the end", pattern)}
	}
	return nil
}

// clientFor is a client for a command about one key pair, which a pattern does not name.
func (d *desk) clientFor(pair string) (*ecsclient.Client, error) {
	if err := checkExact(pair); err != nil {
		return nil, err
	}
	return d.settings.client(d.stderr)
}

// checkExact refuses a pattern where one key pair is to be named.
func checkExact(name string) error {
	if strings.Contains(name, "*") {
		return cli.UsageError{Err: fmt.Errorf("%s: no wildcards here: want the name of one key pair", name)}
	}
	return nil
}

// matches tells whether a name fits a pattern, as the API matches them.
func matches(pattern, name string) bool {
	fits, err := path.Match(pattern, name)
	return err == nil && fits
}
