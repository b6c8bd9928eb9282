package ecscli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
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
	flags.StringVar(&filter.Status, "status", "", "only those in this `status`: Pending, Starting, Running, Stopping or Stopped")
	_ = cmd.RegisterFlagCompletionFunc("keypair", d.completePairs(0))
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(
		statuses, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// statuses are those that an instance can have.
var statuses = []string{"Pending", "Starting", "Running", "Stopping", "Stopped"}

// statusNamed is the status of that name, in whatever case it is written.
func statusNamed(text string) (string, error) {
	for _, status := range statuses {
		if strings.EqualFold(status, text) {
			return status, nil
		}
	}
	return "", cli.UsageError{Err: fmt.Errorf("--status %s: want Pending, Starting, Running, Stopping or Stopped", text)}
}

func (d *desk) instanceList(ctx context.Context, filter ecsclient.InstanceFilter) (err error) {
	if filter.Status != "" {
		if filter.Status, err = statusNamed(filter.Status); err != nil {
			return err
		}
	}
	client, err := d.clientFor(filter.KeyPairName)
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
