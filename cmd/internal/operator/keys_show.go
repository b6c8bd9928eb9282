package operator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
)

func (t *tool) keysShowCommand() *cobra.Command {
	var named []string
	cmd := &cobra.Command{
		Use: "show USER", Short: "Show a user's lines in the key indexes",
		Long: `show prints the lines that sshd gets for a user, in the order in which it tries them. On a
terminal, comments say which index they are from. An index that latchkey-authorized-keys would
refuse is an error; one that is named by --index is shown, whoever may write to it. Exit status
2 means that the user has no lines.`,
		Example: "  latchkey keys show ada\n  latchkey keys show ada | ssh-keygen -lf -\n  latchkey keys show git --json | jq -r '.lines[].fingerprint'",
		Args:    takes(cobra.ExactArgs(1)), ValidArgsFunction: t.completeUsers,
		RunE: func(cmd *cobra.Command, args []string) error { return t.keysShow(cmd.Context(), args[0], named) },
	}
	addIndexFlag(cmd, &named)
	return cmd
}

func (t *tool) keysShow(ctx context.Context, user string, named []string) error {
	if user == "" {
		return cli.UsageError{Err: errors.New("want the name of a user; it is empty")}
	}
	printer := newLinePrinter(t.stdout, t.json)
	err := t.inIndexes(named, func(path string) error {
		visit := func(line string) error { return printer.add(path, user, line) }
		if len(named) > 0 {
			return indexer.Lines(ctx, path, user, visit)
		}
		return t.linesForSSHD(ctx, path, user, visit)
	})
	if err == nil {
		err = printer.finish()
	}
	if err == nil && printer.count == 0 {
		fmt.Fprintf(t.stderr, "latchkey: %s has no lines\n", cli.Plain(user))
		err = cli.ExitError(cli.ExitChanges)
	}
	return interrupted(ctx, err, "")
}

// linesForSSHD are those that sshd gets of an index: none of one that the helper refuses.
func (t *tool) linesForSSHD(ctx context.Context, path, user string, visit func(line string) error) error {
	x, err := index.Open(path, 0, t.top(path))
	if err != nil {
		return openError(path, err)
	}
	defer x.Close()
	return x.All(user, func(line []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return visit(string(line))
	})
}

// linePrinter prints lines of indexes: as they are, or all of them as JSON.
type linePrinter struct {
	json, terminal bool
	to             *bufio.Writer
	last           string    // the index that the last line is from
	lines          []indexed // for JSON
	count          int
}

func newLinePrinter(stdout io.Writer, json bool) *linePrinter {
	_, ok := terminal(stdout)
	return &linePrinter{json: json, terminal: ok, to: bufio.NewWriter(stdout), lines: []indexed{}}
}

func (p *linePrinter) add(path, user, line string) error {
	p.count++
	if p.json {
		one, err := newIndexed(path, user, line)
		p.lines = append(p.lines, one)
		return err
	}
	if p.terminal {
		line = cli.Plain(strings.ReplaceAll(line, "\t", " "))
		if path != p.last {
			line = "# " + cli.Plain(path) + "\n" + line
		}
		p.last = path
	}
	_, err := p.to.WriteString(line + "\n")
	return err
}

func (p *linePrinter) finish() error {
	if p.json {
		if err := printLines(p.to, p.lines); err != nil {
			return err
		}
	}
	return p.to.Flush()
}

func printLines(w io.Writer, lines []indexed) error {
	return cli.PrintJSON(w, struct {
		Lines []indexed `json:"lines"`
	}{lines})
}

// completeUsers completes users of the indexes that latchkey-authorized-keys looks in. What goes
// wrong is not said: nobody has asked for anything yet.
func (t *tool) completeUsers(cmd *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
	var users []string
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	if len(given) == 0 {
		_ = t.inIndexes(nil, func(path string) error {
			return indexer.Users(ctx, path, func(name string) error {
				if strings.HasPrefix(name, begun) {
					users = append(users, cli.Plain(name))
				}
				return nil
			})
		})
	}
	return users, cobra.ShellCompDirectiveNoFileComp
}

// completionTime bounds how long a person who presses Tab waits.
const completionTime = time.Second
