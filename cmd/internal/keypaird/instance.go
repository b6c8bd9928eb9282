package keypaird

import (
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
		p.instanceAdd(), p.instanceList(), p.instanceRemove(), p.instanceStatus(), p.instanceMisbehave())
}

func (p *program) instanceAdd() *cobra.Command {
	var instance keypair.Instance
	var addresses []string
	cmd := &cobra.Command{
		Use:   "add ID",
		Short: "Register an instance",
		Example: `  keypaird instance add i-web1 --address 192.168.0.10 --login-user ecs-user
  keypaird instance add i-db1 --address 192.168.0.11 --http-tokens required`,
		RunE: func(cmd *cobra.Command, args []string) error {
			instance.ID = args[0]
			var err error
			if instance.Addresses, err = parseAddresses(addresses); err != nil {
				return cli.UsageError{Err: err}
			}
			known, err := p.client().Register(cmd.Context(), instance)
			return p.done(about(instance.ID, err), "registered %s", known.ID)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&addresses, "address", nil, "`address` by which the metadata endpoint knows it; the first of IPv4 is its private one")
	flags.StringVar(&instance.LoginUser, "login-user", "", "the initial logon `user` (default: the image decides, root mostly)")
	flags.StringVar(&instance.Name, "name", "", "its `name` (default its id)")
	flags.StringVar(&instance.HostName, "hostname", "", "its host `name` (default its id)")
	flags.StringVar(&instance.OSType, "os-type", "", "linux or windows (default linux)")
	flags.StringVar(&instance.OSName, "os-name", "", "the operating system's `name`")
	flags.StringVar(&instance.ZoneID, "zone", "", "`id` of its zone")
	flags.StringVar(&instance.ImageID, "image", "", "`id` of its image")
	flags.StringVar(&instance.Type, "type", "", "its instance `type`")
	flags.StringVar(&instance.MAC, "mac", "", "its MAC `address`")
	flags.StringVar(&instance.SerialNumber, "serial", "", "its serial `number`")
	flags.StringVar((*string)(&instance.Status), "status", "", "Running, Stopped, … (default Running)")
	flags.StringVar(&instance.Metadata.HTTPTokens, "http-tokens", "", "optional, or required for hardened mode (default optional)")
	flags.StringVar(&instance.Metadata.HTTPEndpoint, "http-endpoint", "", "enabled or disabled (default enabled)")
	return exactly(cmd, "ID")
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
				fmt.Fprintln(w, "INSTANCE\tSTATUS\tKEY PAIR\tUSER\tADDRESSES")
				for _, i := range instances {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", i.ID, i.Status, dash(i.KeyPairName), dash(i.LoginUser), dash(joined(i.Addresses)))
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
		Use: "status ID STATUS", Short: "Say that an instance is Running, Stopped, …", Example: "  keypaird instance status i-web1 Stopped",
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
		Long:  "misbehave makes the metadata endpoint go wrong for one instance until the kind is \"none\". Kinds:\n  " + kinds(),
		Example: `  keypaird instance misbehave i-web1 timeout
  keypaird instance misbehave i-web1 error-500 --on /public-keys
  keypaird instance misbehave i-web1 none`,
		RunE: func(cmd *cobra.Command, args []string) error {
			err := p.client().Misbehave(cmd.Context(), args[0], args[1], on...)
			return p.done(about(args[0], err), "%s: %s", args[0], args[1])
		},
	}, "ID", "KIND")
	cmd.Flags().StringArrayVar(&on, "on", nil, "only for paths with this `part`; may be given several times")
	return cmd
}

func kinds() string {
	var names []string
	for _, kind := range imds.Misbehaviours() {
		names = append(names, string(kind))
	}
	return strings.Join(names, "\n  ")
}
