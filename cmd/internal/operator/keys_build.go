package operator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/internal/tree"
)

// keysBuild is what build was told.
type keysBuild struct {
	out           string
	strict, quiet bool
	allowEmpty    bool
	anyMode       bool
	wait          time.Duration // for another build; negative: as long as it takes
}

func (t *tool) keysBuildCommand() *cobra.Command {
	b := keysBuild{}
	cmd := &cobra.Command{
		Use: "build SOURCE...", Short: "Build the key index of authorized_keys files",
		Long: `build reads authorized_keys files and replaces the index by one of all their lines.
A SOURCE is USER=FILE, or a folder with one file for each user, named as the user is;
in the place of FILE, - is standard input. Lines of a user in several sources follow each
other in the order of the sources. What sshd would skip is skipped, and said.

As with sshd's StrictModes, a file counts only if it and its folder are root's or the
user's, and others may not write to them. A user's file that does not count, or in a folder
cannot be read, is left out and named; the index is built without it, and the exit status is 2.

The index is replaced at once: a logon sees all of the old one or all of the new. If
anything goes wrong, on an interruption, and where no source has a key at all, the old one
stays. Builds of one index wait for each other, and only then read their sources: what was
built last was read last. One whose standard input does not end holds the others up.`,
		Example: "  latchkey keys build /etc/ssh/users\n  latchkey keys build git=/srv/git/keys ada=ada.pub --strict\n  print-keys | latchkey keys build git=- --out /var/lib/latchkey/keys/git.index",
		Args:    takes(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch given := cmd.Flags().Changed("wait"); {
			case given && b.wait < 0:
				return cli.UsageError{Err: fmt.Errorf("--wait %v: want a time that passes, such as 4m", b.wait)}
			case !given:
				b.wait = -1
			}
			return t.keysBuild(cmd.Context(), args, b)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&b.out, "out", "", "the index, a `file` (default: "+index.Users+", below the root)")
	flags.BoolVar(&b.strict, "strict", false, "a line or a file that would be skipped or left out is an error, and nothing is changed")
	flags.BoolVar(&b.quiet, "quiet", false, "say nothing when all is well, but for a long wait")
	flags.DurationVar(&b.wait, "wait", 0, "wait no longer than this `time` for another build of the same index, such as 4m (default: as long as it takes)")
	flags.BoolVar(&b.allowEmpty, "allow-empty", false, "build an index without any line too: the last key was taken away")
	flags.BoolVar(&b.anyMode, "no-strict-modes", false, "take files and folders whoever may write to them, as sshd does with \"StrictModes no\"")
	return cmd
}

// built is the outcome of build as JSON.
type built struct {
	Index string `json:"index"`
	indexer.Summary
	SkippedLines []skipped     `json:"skipped_lines"`  // the first
	LeftOutFiles []skipped     `json:"left_out_files"` // the first
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
	remove := func() {}
	defer func() { remove() }()
	report := &buildReport{}
	defer debug.SetGCPercent(debug.SetGCPercent(50)) // a million files: 1/4 less memory
	progress, done := t.buildProgress(b.quiet)
	summary, err := indexer.Build(ctx, indexer.Options{
		Sources: sources, Out: out, Strict: b.strict, AllowEmpty: b.allowEmpty, AnyMode: b.anyMode, UID: t.uid(),
		Waiting: t.waitingFor(out, b.wait),
		Begin: func() (err error) {
			remove, err = t.spoolStdin(ctx, sources)
			return err
		},
		Progress: progress, Skipped: report.skipped.add, LeftOut: report.left.add, Warned: report.warn,
	})
	done()
	if !t.json || err != nil {
		t.printReport(report)
	}
	if err != nil {
		return whyNotBuilt(ctx, err, out)
	}
	report.warnings = append(report.warnings, t.refusals(out)...)
	return t.printBuilt(built{
		Index: out, Summary: summary, SkippedLines: append([]skipped{}, report.skipped.first...),
		LeftOutFiles: append([]skipped{}, report.left.first...), Warnings: append([]agent.Check{}, report.warnings...),
	}, b.quiet)
}

// whyNotBuilt says what became of the index, and what to do.
func whyNotBuilt(ctx context.Context, err error, out string) error {
	switch {
	case errors.Is(err, indexer.ErrSkipped):
		return fmt.Errorf("%w: %s is as it was (--strict)", err, out)
	case errors.Is(err, indexer.ErrEmpty):
		return fmt.Errorf("%w: %s is as it was; --allow-empty builds one that lets nobody in", err, out)
	}
	return interrupted(ctx, err, ": "+out+" is as it was")
}

// uid looks users up in the machine's files, which it reads when first asked.
func (t *tool) uid() func(user string) (int, bool) {
	accounts := sync.OnceValue(func() map[string]int {
		uids, _ := account.UIDs(t.instance.Root) // without them nobody is known, and root's files count
		return uids
	})
	return func(user string) (int, bool) {
		uid, known := accounts()[user]
		return uid, known
	}
}

// outOf is where the index goes. Where nothing else was said its folder is made.
func (t *tool) outOf(out string) (string, error) {
	if out != "" {
		return out, nil
	}
	if err := t.makeFolder(filepath.Dir(index.Dir), 0o711); err != nil {
		return "", err
	}
	return t.below(index.Users), t.makeFolder(index.Dir, 0o755)
}

// makeFolder makes a folder of the instance unless it is there, by no link out of it.
func (t *tool) makeFolder(name string, mode fs.FileMode) error {
	_, err := tree.Stat(t.instance.Root, name)
	if link, out := errors.AsType[*tree.LinkError](err); out {
		return link
	}
	err = os.Mkdir(t.below(name), mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func (t *tool) printBuilt(b built, quiet bool) error {
	if err := t.printIndex(b, quiet); err != nil {
		return err
	}
	if b.LeftOut > 0 {
		return cli.ExitError(cli.ExitChanges)
	}
	return nil
}

func (t *tool) printIndex(b built, quiet bool) error {
	if t.json {
		return cli.PrintJSON(t.stdout, b)
	}
	for _, warning := range b.Warnings {
		fmt.Fprintf(t.stderr, "latchkey: warning: %s\n", cli.Plain(warning.Detail))
		if warning.Remedy != "" {
			fmt.Fprintf(t.stderr, "  -> %s\n", cli.Plain(warning.Remedy))
		}
	}
	if b.Lines == 0 {
		fmt.Fprintln(t.stderr, "latchkey: warning: no source has a line with a key: the index lets nobody in")
	}
	if quiet {
		return nil
	}
	_, err := fmt.Fprintf(t.stdout, "%s: %s\n", cli.Plain(b.Index), sizes(b.Summary))
	return err
}
