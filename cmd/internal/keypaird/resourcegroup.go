package keypaird

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/keypair"
)

func (p *program) resourceGroupCommand() *cobra.Command {
	return group("resource-group", "Tell the running region which resource groups there are", p.groupAdd(), p.groupList(), p.groupRemove())
}

func (p *program) groupAdd() *cobra.Command {
	var name string
	cmd := exactly(&cobra.Command{
		Use: "add ID", Short: "Add a resource group, or name it anew", Example: "  keypaird resource-group add rg-web --name 'web team'",
		RunE: func(cmd *cobra.Command, args []string) error {
			err := p.client().AddResourceGroup(cmd.Context(), keypair.ResourceGroup{ID: args[0], Name: name})
			return p.done(err, "added %s", args[0])
		},
	}, "ID")
	cmd.Flags().StringVar(&name, "name", "", "its `name`")
	return cmd
}

func (p *program) groupList() *cobra.Command {
	return cli.NoArgs(&cobra.Command{
		Use: "list", Short: "Show the resource groups", Example: "  keypaird resource-group list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			groups, err := p.client().ResourceGroups(cmd.Context())
			if err != nil {
				return err
			}
			return p.print(groups, func(w io.Writer) {
				fmt.Fprintln(w, "RESOURCE GROUP\tNAME")
				for _, g := range groups {
					fmt.Fprintf(w, "%s\t%s\n", g.ID, dash(g.Name))
				}
			})
		},
	})
}

func (p *program) groupRemove() *cobra.Command {
	return exactly(&cobra.Command{
		Use: "remove ID", Short: "Forget a resource group in which no key pair is", Example: "  keypaird resource-group remove rg-web",
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.done(about(args[0], p.client().RemoveResourceGroup(cmd.Context(), args[0])), "removed %s", args[0])
		},
	}, "ID")
}
