package keypaird

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
)

func (p *program) accessKeyCommand() *cobra.Command {
	return group("access-key", "Say who may call the running region's API",
		p.accessKeyCreate(), p.accessKeyList(),
		p.accessKeyChange("disable", "Let an access key call no longer", func(cmd *cobra.Command, id string) error {
			return p.client().EnableAccessKey(cmd.Context(), id, false)
		}),
		p.accessKeyChange("enable", "Let an access key call again", func(cmd *cobra.Command, id string) error {
			return p.client().EnableAccessKey(cmd.Context(), id, true)
		}),
		p.accessKeyChange("delete", "Forget an access key", func(cmd *cobra.Command, id string) error {
			return p.client().DeleteAccessKey(cmd.Context(), id)
		}))
}

func (p *program) accessKeyCreate() *cobra.Command {
	var comment string
	cmd := cli.NoArgs(&cobra.Command{
		Use: "create", Short: "Make an access key; its secret is shown this once", Example: "  keypaird access-key create --comment ci",
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := p.client().CreateAccessKey(cmd.Context(), comment)
			if err != nil {
				return err
			}
			return p.printAccessKey(key)
		},
	})
	cmd.Flags().StringVar(&comment, "comment", "", "whose it is, or what it is for")
	return cmd
}

func (p *program) accessKeyList() *cobra.Command {
	return cli.NoArgs(&cobra.Command{
		Use: "list", Short: "Show the access keys, without their secrets", Example: "  keypaird access-key list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := p.client().AccessKeys(cmd.Context())
			if err != nil {
				return err
			}
			return p.print(keys, func(w io.Writer) {
				fmt.Fprintln(w, "ACCESS KEY\tSTATE\tCREATED\tCOMMENT")
				for _, key := range keys {
					state := map[bool]string{true: "disabled", false: "enabled"}[key.Disabled]
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", key.ID, state, key.CreatedAt.Format(time.RFC3339), key.Comment)
				}
			})
		},
	})
}

func (p *program) accessKeyChange(verb, short string, change func(*cobra.Command, string) error) *cobra.Command {
	return exactly(&cobra.Command{
		Use: verb + " ID", Short: short, Example: "  keypaird access-key " + verb + " LTAI…",
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.done(about(args[0], change(cmd, args[0])), "%sd %s", verb, args[0])
		},
	}, "ID")
}
