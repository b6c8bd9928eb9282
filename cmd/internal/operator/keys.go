package operator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
)

// keysCommand is "latchkey keys" with its commands.
func (t *tool) keysCommand() *cobra.Command {
	cmd := cli.NoArgs(&cobra.Command{
		Use: "keys", Short: "The key index of a bastion or a Git host: build, check, show, find",
		Long: `keys is for machines that let many people in. build makes one index of their
authorized_keys files; latchkey-authorized-keys, which sshd starts at a logon, finds the
line of the offered key in it, as fast among a million as among three. To revoke a key, take
its line away and build again. --root is where indexes, program and account are looked for;
a file or a folder that is named is taken as it is named.`,
		Example: "  latchkey keys build /etc/ssh/users git=/etc/ssh/git_keys\n  latchkey keys check\n  latchkey keys show ada | ssh-keygen -lf -\n  latchkey keys find ~/.ssh/id_ed25519.pub",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	})
	cli.RefuseFlags(cmd, "it is for the commands that are about the binding", "config")
	cmd.AddCommand(t.keysBuildCommand(), t.keysCheckCommand(), t.keysShowCommand(), t.keysFindCommand())
	return cmd
}

// takes is cobra's check of arguments, whose words do not say what is missing.
func takes(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) != nil {
			return cli.UsageError{Err: fmt.Errorf("want %s", cmd.UseLine())}
		}
		return nil
	}
}

// below is where a path of the instance is seen from here.
func (t *tool) below(path string) string { return filepath.Join(t.instance.Root, path) }

var errNoIndex = errors.New("there is no key index: \"latchkey keys build\" makes one")

// inIndexes calls look with each index: with those that are named, which have to be there,
// else with those that latchkey-authorized-keys looks in, in its order, where there are any.
func (t *tool) inIndexes(named []string, look func(path string) error) error {
	looked := false
	for _, path := range t.indexes(named) {
		err := look(path)
		if len(named) == 0 && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		looked = true
	}
	if !looked {
		return errNoIndex
	}
	return nil
}

func (t *tool) indexes(named []string) []string {
	if len(named) > 0 {
		return named
	}
	return []string{t.below(index.Bound), t.below(index.Users)}
}

// openError is an error of index.Open with the path in it.
func openError(path string, err error) error {
	if errors.As(err, new(*index.Error)) {
		return err
	}
	return &fs.PathError{Op: "open", Path: path, Err: err}
}

// addIndexFlag adds --index, which may be given more than once.
func addIndexFlag(cmd *cobra.Command, named *[]string) {
	cmd.Flags().StringArrayVar(named, "index", nil, "look in this `file`; may be given again (default: those that latchkey-authorized-keys looks in)")
}

// indexed is a line of an index as JSON.
type indexed struct {
	Index       string `json:"index"`
	User        string `json:"user"`
	Fingerprint string `json:"fingerprint"`
	Type        string `json:"type"`    // as the line has it
	Options     string `json:"options"` // as the line has them
	Comment     string `json:"comment"`
	Line        string `json:"line"`
}

func newIndexed(path, user, line string) (indexed, error) {
	parsed := authkeys.Parse([]byte(line))
	if len(parsed.Lines) != 1 || parsed.Lines[0].Kind != authkeys.Key {
		return indexed{}, fmt.Errorf("%s: a line of %s is none that sshd reads as a key: build it again", path, user)
	}
	entry := parsed.Lines[0].Entry
	return indexed{
		Index: path, User: user, Line: line,
		Fingerprint: entry.Fingerprint(), Type: entry.Type, Comment: entry.Comment,
		Options: parsed.Lines[0].OptionsText(),
	}, nil
}

// interrupted is err, or that the command was interrupted in the place of a context's words.
func interrupted(ctx context.Context, err error, what string) error {
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted" + what)
	}
	return err
}
