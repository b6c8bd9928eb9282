package ecscli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

// machine is an instance as JSON.
type machine struct {
	ID       string `json:"id"`
	Name     string `json:"name,omitempty"`
	HostName string `json:"host_name,omitempty"`
	ZoneID   string `json:"zone_id,omitempty"`
	Status   string `json:"status"`
	KeyPair  string `json:"key_pair"` // empty when none is bound
	OSType   string `json:"os_type,omitempty"`
	OSName   string `json:"os_name,omitempty"`
}

func (d *desk) instanceListCommand() *cobra.Command {
	filter := ecsclient.InstanceFilter{}
	cmd := d.command(verb{
		use: "list", short: "List instances",
		long:    "list shows the instances of the region, all pages of them, and which key pair is bound to each.",
		example: "  latchkey instance list --keypair web\n  latchkey instance list --status Running --output name",
		args:    cobra.NoArgs, complete: cobra.NoFileCompletions,
		run: func(ctx context.Context, _ []string) error { return d.instanceList(ctx, filter) },
	})
	flags := cmd.Flags()
	flags.StringVar(&filter.KeyPairName, "keypair", "", "only those to which the key pair of this `name` is bound")
	flags.StringVar(&filter.Status, "status", "", "only those in this `status`, such as Running")
	_ = cmd.RegisterFlagCompletionFunc("keypair", d.completePairs(0))
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(
		[]string{"Pending", "Starting", "Running", "Stopping", "Stopped"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (d *desk) instanceList(ctx context.Context, filter ecsclient.InstanceFilter) error {
	client, err := d.settings.client(d.stderr)
	if err != nil {
		return err
	}
	waiting := d.progress("listing")
	found, err := collect(client.Instances(ctx, filter))
	waiting()
	if err != nil {
		return err
	}
	machines := []machine{}
	l := listing{header: []string{"ID", "NAME", "STATUS", "KEY PAIR", "OS"}}
	for _, i := range found {
		machines = append(machines, machine{i.ID, i.Name, i.HostName, i.ZoneID, i.Status, i.KeyPairName, i.OSType, i.OSName})
		l.names = append(l.names, i.ID)
		l.rows = append(l.rows, []string{i.ID, orDash(i.Name), orDash(i.Status), orDash(i.KeyPairName), orDash(i.OSType)})
	}
	l.value = struct {
		Instances []machine `json:"instances"`
	}{machines}
	return d.show(l)
}
