package keypaird

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/imds"
)

func (p *program) instanceCommand() *cobra.Command {
	return group("instance", "Tell the running region about its instances",
		p.instanceAdd(), p.instanceSet(), p.instanceList(), p.instanceRemove(), p.instanceStatus(), p.instanceMisbehave())
}

func (p *program) instanceAdd() *cobra.Command {
	var asked description
	cmd := &cobra.Command{
		Use:   "add ID",
		Short: "Register an instance",
		Example: `  keypaird instance add i-web1 --address 192.168.0.10 --login-user ecs-user
  keypaird instance add i-db1 --address 192.168.0.11 --http-tokens required`,
		RunE: func(cmd *cobra.Command, args []string) error {
			asked.instance.ID = args[0]
			if err := asked.read(); err != nil {
				return err
			}
			known, err := p.client().Register(cmd.Context(), asked.instance)
			return p.done(about(args[0], err), "registered %s", known.ID)
		},
	}
	asked.flags(cmd)
	cmd.Flags().StringVar((*string)(&asked.instance.Status), "status", "", "Running, Stopped, … (default Running)")
	return exactly(cmd, "ID")
}

func (p *program) instanceSet() *cobra.Command {
	var asked description
	cmd := &cobra.Command{
		Use:     "set ID",
		Short:   "Change what is known about an instance",
		Long:    "set changes what its flags name, and leaves the rest; all addresses are replaced by those that are given.",
		Example: "  keypaird instance set i-web1 --login-user ecs-user",
	}
	asked.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := asked.read(); err != nil {
			return err
		}
		known, err := p.known(cmd.Context(), args[0])
		if err == nil {
			_, err = p.client().Change(cmd.Context(), asked.onto(known, cmd.Flags().Changed))
		}
		return p.done(about(args[0], err), "changed %s", args[0])
	}
	return exactly(cmd, "ID")
}

// known is what the region knows about an instance.
func (p *program) known(ctx context.Context, id string) (keypair.Instance, error) {
	instances, err := p.client().Instances(ctx)
	for _, instance := range instances {
		if instance.ID == id {
			return instance.Instance, nil
		}
	}
	return keypair.Instance{}, cmp.Or(err, keypair.ErrInstanceNotFound)
}

// description is an instance as flags describe it.
type description struct {
	instance  keypair.Instance
	addresses []string
}

// texts are those of an instance that flags describe, by their flags.
func texts(i *keypair.Instance) []struct {
	flag, usage string
	value       *string
} {
	return []struct {
		flag, usage string
		value       *string
	}{
		{"login-user", "the initial logon `user` (default: the image decides, root mostly)", &i.LoginUser},
		{"name", "its `name` (default its id)", &i.Name},
		{"hostname", "its host `name` (default its id)", &i.HostName},
		{"os-type", "linux or windows (default linux)", &i.OSType},
		{"os-name", "the operating system's `name`", &i.OSName},
		{"zone", "`id` of its zone", &i.ZoneID},
		{"image", "`id` of its image", &i.ImageID},
		{"type", "its instance `type`", &i.Type},
		{"mac", "its MAC `address`", &i.MAC},
		{"serial", "its serial `number`", &i.SerialNumber},
		{"http-tokens", "optional, or required for hardened mode (default optional)", &i.Metadata.HTTPTokens},
		{"http-endpoint", "enabled or disabled (default enabled)", &i.Metadata.HTTPEndpoint},
	}
}

func (d *description) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&d.addresses, "address", nil,
		"`address` by which the metadata endpoint knows it; the first of IPv4 is its private one")
	for _, text := range texts(&d.instance) {
		cmd.Flags().StringVar(text.value, text.flag, "", text.usage)
	}
}

// onto is what is known, with what was given in its place.
func (d *description) onto(known keypair.Instance, given func(flag string) bool) keypair.Instance {
	asked := texts(&d.instance)
	for i, text := range texts(&known) {
		if given(text.flag) {
			*text.value = *asked[i].value
		}
	}
	if given("address") {
		known.Addresses = d.instance.Addresses
	}
	return known
}

// read takes the addresses over.
func (d *description) read() error {
	var err error
	if d.instance.Addresses, err = parseAddresses(d.addresses); err != nil {
		return cli.UsageError{Err: err}
	}
	return nil
}

func parseAddresses(texts []string) ([]netip.Addr, error) {
	var addresses []netip.Addr
	for _, text := range texts {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("--address %s: want an IP address", text)
		}
		addresses = append(addresses, address.Unmap())
	}
	return addresses, nil
}

func (p *program) instanceList() *cobra.Command {
	return cli.NoArgs(&cobra.Command{
		Use: "list", Short: "Show the instances", Example: "  keypaird instance list --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			instances, err := p.client().Instances(cmd.Context())
			if err != nil {
				return err
			}
			return p.print(instances, func(w io.Writer) {
				fmt.Fprintln(w, "INSTANCE\tSTATUS\tKEY PAIR\tUSER\tADDRESSES\tMISBEHAVES")
				for _, i := range instances {
					row := []string{
						i.ID, string(i.Status), dash(i.KeyPairName), dash(i.LoginUser), dash(joined(i.Addresses)),
						dash(string(i.Misbehaviour)),
					}
					fmt.Fprintln(w, strings.Join(row, "\t"))
				}
			})
		},
	})
}

func joined(addresses []netip.Addr) string {
	texts := make([]string, len(addresses))
	for i, address := range addresses {
		texts[i] = address.String()
	}
	return strings.Join(texts, ",")
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func (p *program) instanceRemove() *cobra.Command {
	return exactly(&cobra.Command{
		Use: "remove ID", Short: "Forget an instance and its binding", Example: "  keypaird instance remove i-web1",
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.done(about(args[0], p.client().Remove(cmd.Context(), args[0])), "removed %s", args[0])
		},
	}, "ID")
}

func (p *program) instanceStatus() *cobra.Command {
	return exactly(&cobra.Command{
		Use: "status ID STATUS", Short: "Say that an instance is Running, Stopped, …", Example: "  keypaird instance status i-web1 Running",
		RunE: func(cmd *cobra.Command, args []string) error {
			err := p.client().SetStatus(cmd.Context(), args[0], keypair.Status(args[1]))
			return p.done(about(args[0], err), "%s is %s", args[0], args[1])
		},
	}, "ID", "STATUS")
}

func (p *program) instanceMisbehave() *cobra.Command {
	var on []string
	cmd := exactly(&cobra.Command{
		Use:   "misbehave ID KIND",
		Short: "Make an instance's metadata endpoint go wrong, for tests of clients",
		Long:  "misbehave makes the metadata endpoint go wrong for one instance until the kind is \"none\". Kinds:\n" + strings.Join(kinds("  %-18s %s"), "\n"),
		Example: `  keypaird instance misbehave i-web1 timeout
  keypaird instance misbehave i-web1 error-500 --on /public-keys
  keypaird instance misbehave i-web1 none`,
		RunE: func(cmd *cobra.Command, args []string) error {
			err := p.client().Misbehave(cmd.Context(), args[0], args[1], on...)
			return p.done(about(args[0], err), "%s: %s", args[0], args[1])
		},
	}, "ID", "KIND")
	cmd.Flags().StringArrayVar(&on, "on", nil, "only for paths with this `part`; may be given several times")
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) != 1 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return kinds("%s\t%s"), cobra.ShellCompDirectiveNoFileComp
	}
	return cmd
}

// kinds are the misbehaviours, each with its meaning, in that format.
func kinds(format string) []string {
	var lines []string
	for _, kind := range imds.Misbehaviours() {
		lines = append(lines, fmt.Sprintf(format, kind, kind.Meaning()))
	}
	return lines
}
