// Package ecscli is latchkey at a desk: key pairs and instances of a region, by its ECS API, be it keypaird's or
// the cloud's own. What an instance does about its binding is in package operator.
package ecscli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
)

// desk is one run of a command: whom it calls and how it shows what it was told.
type desk struct {
	settings settings
	format   format
	json     bool

	stdin          io.Reader
	stdout, stderr io.Writer
}

// KeyPairCommand is "latchkey keypair" with its commands.
func KeyPairCommand() *cobra.Command {
	d := &desk{}
	cmd := d.group("keypair", "Key pairs of a region: create, import, list, attach, delete",
		`keypair speaks to the ECS API of a region, keypaird's or the cloud's own: it makes key
pairs and binds them to instances. A binding comes into force when the instance is
restarted ("latchkey instance reboot"), or at once where latchkeyd applies live.`,
		"  latchkey keypair create web --tag team=shop\n  latchkey keypair attach web i-1 i-2\n  latchkey keypair list 'web*' --long")
	cmd.AddCommand(d.createCommand(), d.importCommand(), d.listCommand(), d.showCommand(), d.attachCommand(),
		d.detachCommand(), d.deleteCommand(), d.tagCommand(), d.untagCommand())
	return cmd
}

// InstanceCommand is "latchkey instance" with its commands.
func InstanceCommand() *cobra.Command {
	d := &desk{}
	cmd := d.group("instance", "Instances of a region: list, reboot",
		"instance speaks to the ECS API of a region, keypaird's or the cloud's own.",
		"  latchkey instance list --keypair web\n  latchkey instance reboot i-1 --wait")
	cmd.AddCommand(d.instanceListCommand(), d.rebootCommand())
	return cmd
}

// whereAndWho is what help says of the settings.
const whereAndWho = `

Region, endpoint and access key come from the flags, else from the environment
(ALIBABA_CLOUD_REGION_ID, LATCHKEY_ECS_ENDPOINT or ALIBABA_CLOUD_ENDPOINT_ECS,
ALIBABA_CLOUD_ACCESS_KEY_ID, ALIBABA_CLOUD_ACCESS_KEY_SECRET and, of a temporary one,
ALIBABA_CLOUD_SECURITY_TOKEN), else from a profile (~/.aliyun/config.json,
~/.alibabacloud/credentials). With --profile the profile comes before the environment.`

// group is a command that has commands.
func (d *desk) group(use, short, long, example string) *cobra.Command {
	cmd := cli.NoArgs(&cobra.Command{
		Use: use, Short: short, Long: long + whereAndWho, Example: example,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	})
	d.format = asTable
	flags := cmd.PersistentFlags()
	flags.Var(&d.format, "output", "`form` of the answer: table, json or name")
	flags.BoolVar(&d.json, "json", false, "print JSON, as --output json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	d.settings.addFlags(cmd)
	cli.RefuseFlags(cmd, "it is for the commands that are about this machine", "root", "config")
	return cmd
}

// verb is one command: what it says of itself and what it does.
type verb struct {
	use, short, long, example string
	args                      cobra.PositionalArgs
	complete                  cobra.CompletionFunc
	run                       func(ctx context.Context, args []string) error
}

func (d *desk) command(v verb) *cobra.Command {
	return &cobra.Command{
		Use: v.use, Short: v.short, Long: v.long, Example: v.example,
		Args: v.checkArgs, ValidArgsFunction: v.complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			out := &output{to: cmd.OutOrStdout()}
			d.stdin, d.stdout, d.stderr = cmd.InOrStdin(), out, cmd.ErrOrStderr()
			err := d.chooseFormat(cmd.Flags().Changed("output"))
			if err == nil {
				err = v.run(cmd.Context(), args)
			}
			return d.finish(cmd.Context(), out.check(err))
		},
	}
}

// chooseFormat puts --json and --output together.
func (d *desk) chooseFormat(outputGiven bool) error {
	if !d.json {
		return nil
	}
	if outputGiven && d.format != asJSON {
		return cli.UsageError{Err: fmt.Errorf("--json and --output %s: want one of them", d.format)}
	}
	d.format = asJSON
	return nil
}

// checkArgs is cobra's check, whose words do not say what is missing.
func (v verb) checkArgs(cmd *cobra.Command, args []string) error {
	if v.args(cmd, args) != nil {
		return cli.UsageError{Err: fmt.Errorf("want %s", cmd.UseLine())}
	}
	return nil
}
