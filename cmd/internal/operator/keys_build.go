package operator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
)

// keysBuild is what build was told.
type keysBuild struct {
	out           string
	strict, quiet bool
}

func (t *tool) keysBuildCommand() *cobra.Command {
	b := keysBuild{}
	cmd := &cobra.Command{
		Use: "build SOURCE...", Short: "Build the key index of authorized_keys files",
		Long: `build reads authorized_keys files and replaces the index by one of all their lines.
A SOURCE is USER=FILE, or a folder with one file for each user, named as the user is;
in the place of FILE, - is standard input. Lines of a user in several sources follow each
other in the order of the sources. What sshd would skip is skipped, and said.

The index is replaced at once: a logon sees all of the old one or all of the new. If
anything goes wrong, or on an interruption, the old one stays.`,
		Example: "  latchkey keys build /etc/ssh/users\n  latchkey keys build git=/srv/git/keys ada=ada.pub --strict\n  print-keys | latchkey keys build git=- --out /var/lib/latchkey/keys/git.index",
		Args:    takes(cobra.MinimumNArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return t.keysBuild(cmd.Context(), args, b) },
	}
	flags := cmd.Flags()
	flags.StringVar(&b.out, "out", "", "the index, a `file` (default: "+index.Users+", below the root)")
	flags.BoolVar(&b.strict, "strict", false, "a line or a file that would be skipped is an error, and nothing is changed")
	flags.BoolVar(&b.quiet, "quiet", false, "say nothing when all is well")
	return cmd
}

// built is the outcome of build as JSON.
type built struct {
	Index string `json:"index"`
	indexer.Summary
	SkippedLines []skipped     `json:"skipped_lines"` // the first
	Warnings     []agent.Check `json:"warnings"`
}

func (t *tool) keysBuild(ctx context.Context, args []string, b keysBuild) error {
	sources, err := parseSources(args)
	if err != nil {
		return err
	}
	out, err := t.outOf(b.out)
	if err != nil {
		return err
	}
	spool, remove, err := t.spoolStdin(ctx, sources)
	if err != nil {
		return interrupted(ctx, err, ": "+out+" is as it was")
	}
	defer remove()
	left := &skips{spool: spool}
	progress, done := t.buildProgress(b.quiet)
	summary, err := indexer.Build(ctx, indexer.Options{
		Sources: sources, Out: out, Progress: progress, Skipped: left.add, Strict: b.strict,
	})
	done()
	if !t.json || err != nil {
		t.printSkips(left)
	}
	if errors.Is(err, indexer.ErrSkipped) {
		return fmt.Errorf("%w: %s is as it was (--strict)", err, out)
	}
	if err != nil {
		return interrupted(ctx, err, ": "+out+" is as it was")
	}
	return t.printBuilt(built{
		Index: out, Summary: summary,
		SkippedLines: append([]skipped{}, left.first...), Warnings: append([]agent.Check{}, t.refusals(out)...),
	}, b.quiet)
}

// outOf is where the index goes. Where nothing else was said its folder is made.
func (t *tool) outOf(out string) (string, error) {
	if out != "" {
		return out, nil
	}
	dir := t.below(index.Dir)
	if err := makeFolder(filepath.Dir(dir), 0o711); err != nil {
		return "", err
	}
	return t.below(index.Users), makeFolder(dir, 0o755)
}

// makeFolder makes a folder unless it is there.
func makeFolder(path string, mode fs.FileMode) error {
	err := os.Mkdir(path, mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func (t *tool) printBuilt(b built, quiet bool) error {
	if t.json {
		return cli.PrintJSON(t.stdout, b)
	}
	for _, warning := range b.Warnings {
		fmt.Fprintf(t.stderr, "latchkey: warning: %s\n  -> %s\n", cli.Plain(warning.Detail), cli.Plain(warning.Remedy))
	}
	if b.Lines == 0 {
		fmt.Fprintln(t.stderr, "latchkey: warning: no source has a line with a key: the index lets nobody in")
	}
	if quiet {
		return nil
	}
	_, err := fmt.Fprintf(t.stdout, "%s: %d users, %d lines, %d bytes\n", cli.Plain(b.Index), b.Users, b.Lines, b.Bytes)
	return err
}
