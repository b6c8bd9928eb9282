// Package keypaird is the region as a program: its flags, its listeners, and the commands
// by which its operator tells it about instances and access keys.
package keypaird

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/keypair/manage"
)

// program is one run of keypaird.
type program struct {
	data           string
	manage         string
	json           bool
	stdout, stderr io.Writer
}

// DefaultData is where a region is kept.
const DefaultData = "/var/lib/keypaird"

// Run runs the program and returns its exit code.
func Run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := &program{stdout: os.Stdout, stderr: os.Stderr}
	cmd := p.command()
	cmd.SetArgs(args)
	return cli.Finish(p.stderr, "keypaird", explain(cmd.ExecuteContext(ctx)))
}

// explain says what to do where nobody listens on the management socket.
func explain(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) && isDial(err) {
		return fmt.Errorf("%w; is keypaird running? --data or --manage says where", err)
	}
	return err
}

func isDial(err error) bool {
	var operation *net.OpError
	return errors.As(err, &operation) && operation.Op == "dial"
}

func (p *program) command() *cobra.Command {
	root := p.serveCommand()
	flags := root.PersistentFlags()
	flags.StringVar(&p.data, "data", DefaultData, "`folder` in which the region is kept")
	flags.StringVar(&p.manage, "manage", "", "`path` of the management socket (default manage.sock in the data folder)")
	flags.BoolVar(&p.json, "json", false, "print JSON")
	root.AddCommand(p.initCommand(), p.instanceCommand(), p.accessKeyCommand(), p.resourceGroupCommand())
	return cli.Prepare(root)
}

func (p *program) socket() string {
	if p.manage != "" {
		return p.manage
	}
	return filepath.Join(p.data, "manage.sock")
}

func (p *program) client() *manage.Client { return manage.NewClient(p.socket()) }

// group is a command that only has others below it.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(below...)
	return cli.NoArgs(cmd)
}

// print prints v as JSON where that is wanted, else as text writes it.
func (p *program) print(v any, text func(io.Writer)) error {
	if !p.json {
		table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
		text(table)
		return table.Flush()
	}
	encoder := json.NewEncoder(p.stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// done is how a command ends that has nothing to show but that it was done.
func (p *program) done(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	line := fmt.Sprintf(format, args...)
	return p.print(map[string]string{"done": line}, func(w io.Writer) { fmt.Fprintln(w, line) })
}

// about says which of many a command has failed on.
func about(id string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", id, err)
}

// exactly makes a command take as many arguments as are named, and complain of others as wrong usage.
func exactly(cmd *cobra.Command, names ...string) *cobra.Command {
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return cli.UsageError{Err: fmt.Errorf("want %d arguments: %s", len(names), strings.Join(names, " "))}
		}
		return nil
	}
	return cmd
}
