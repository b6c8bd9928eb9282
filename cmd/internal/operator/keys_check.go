package operator

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/internal/account"
)

func (t *tool) keysCheckCommand() *cobra.Command {
	var users []string
	cmd := &cobra.Command{
		Use: "check [FILE]", Short: "Check every byte of a key index, and what sshd needs to use it",
		Long: `check reads the whole index, and tells what latchkey-authorized-keys would refuse: owner
and mode of the index and of every folder above it. Without FILE it checks both indexes that
latchkey-authorized-keys looks in, as far as they are there, that program itself, and that
sshd asks it for the users of users.index: for the first eight of them, or for those named by
--user, the words that sshd -T shows are run as sshd would, but for a command after --, and
have to get a line of the user's. It changes nothing. Exit status 2 means that there are findings.`,
		Example: "  latchkey keys check\n  latchkey keys check --json | jq '.checks[] | select(.result != \"pass\")'",
		Args:    takes(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && len(users) > 0 {
				return cli.UsageError{Err: errors.New("--user is about what sshd asks: want it without FILE")}
			}
			return t.keysCheck(cmd.Context(), args, users)
		},
	}
	cmd.Flags().StringArrayVar(&users, "user", nil, "ask sshd about this `name`, which may be given again (default: the first of users.index)")
	_ = cmd.RegisterFlagCompletionFunc("user", t.completeUsers)
	return cmd
}

func (t *tool) keysCheck(ctx context.Context, named, users []string) error {
	var checks []agent.Check
	err := t.inIndexes(named, func(path string) error {
		found, err := t.checkIndex(ctx, path)
		checks = append(checks, found...)
		return err
	})
	if err != nil {
		return interrupted(ctx, err, "")
	}
	if len(named) == 0 {
		checks = append(checks, t.checkHelper()...)
		checks = append(checks, t.checkSSHD(ctx, checks, users))
	}
	if err := interrupted(ctx, ctx.Err(), ""); err != nil {
		return err
	}
	return t.finishChecks(checks)
}

// checkSSHD asks sshd once all that comes before is in order: it would find the same.
func (t *tool) checkSSHD(ctx context.Context, before []agent.Check, users []string) agent.Check {
	for _, check := range before {
		if check.Result == agent.Fail {
			return sshdCheck(agent.Unsure, "mend that, and check again", "not asked, because %q failed", check.Name)
		}
	}
	a := t.toAsk(ctx, users)
	if a.of == 0 {
		return sshdCheck(agent.Unsure, "", "not asked, because no index has a user")
	}
	return t.checkAsked(ctx, a)
}

// checkIndex fails only where the index cannot be read.
func (t *tool) checkIndex(ctx context.Context, path string) ([]agent.Check, error) {
	waiting := t.progress("reading " + path)
	summary, err := indexer.Check(ctx, path)
	waiting()
	var damaged *index.Error
	if errors.As(err, &damaged) {
		return []agent.Check{t.brokenIndex(path, err)}, nil
	}
	if err != nil {
		return nil, err
	}
	if found := t.refusals(path); len(found) > 0 {
		return found, nil
	}
	if summary.Lines == 0 && path == t.below(index.Users) {
		return []agent.Check{{
			Name: "index", Result: agent.Fail, Detail: path + ": it has no line, and lets nobody in",
			Remedy: "build it of the users' keys: latchkey keys build; or remove it",
		}}, nil
	}
	return []agent.Check{{Name: "index", Result: agent.Pass, Detail: path + ": " + sizes(summary)}}, nil
}

const helperName = "latchkey-authorized-keys"

// helperFolders are where it is installed: by a package, by make install.
var helperFolders = []string{"/usr/sbin/", "/usr/local/sbin/"}

// checkHelper checks the program that sshd starts, and the account that it starts it as.
func (t *tool) checkHelper() []agent.Check {
	var checks []agent.Check
	for _, folder := range helperFolders {
		checks = append(checks, t.checkProgram(t.below(folder+helperName))...)
	}
	if len(checks) == 0 {
		checks = append(checks, agent.Check{
			Name: "helper", Result: agent.Fail, Remedy: "install the package, or: make install",
			Detail: helperName + " is neither in " + t.below("/usr/sbin") + " nor in " + t.below("/usr/local/sbin"),
		})
	}
	return append(checks, t.checkAccount())
}

// checkProgram is nothing for a program that is not there.
func (t *tool) checkProgram(path string) []agent.Check {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	found, err := t.untrusted(path, forProgram)
	switch {
	case err != nil:
		return []agent.Check{{Name: "helper", Result: agent.Unsure, Detail: err.Error()}}
	case len(found) > 0:
		return found
	}
	return []agent.Check{{Name: "helper", Result: agent.Pass, Detail: path + ": sshd would run it"}}
}

func (t *tool) checkAccount() agent.Check {
	check := agent.Check{Name: "helper-account", Result: agent.Pass, Detail: "the account " + agent.HelperUser + " is there"}
	if _, err := account.Lookup(t.instance.Root, agent.HelperUser); err != nil {
		check.Result, check.Detail, check.Remedy = agent.Fail, err.Error(), "systemd-sysusers"
	}
	return check
}
