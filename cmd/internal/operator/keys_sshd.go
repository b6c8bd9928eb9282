package operator

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// maxAsked are the users about whom sshd is asked, unless they are named: a Match block may
// leave some out, but an sshd is started for each.
const maxAsked = 8

// asked are the users about whom sshd is asked, of how many.
type asked struct {
	users []string
	of    int
}

func (a asked) String() string {
	text := strings.Join(a.users, ", ")
	if len(a.users) < a.of {
		text += fmt.Sprintf(" (%d of %d users: --user asks for others)", len(a.users), a.of)
	}
	return text
}

// toAsk are the users who were named, or the first of users.index, or where that has none those
// of bound.index.
func (t *tool) toAsk(ctx context.Context, named []string) asked {
	if len(named) > 0 {
		return asked{named, len(named)}
	}
	a := t.firstUsers(ctx, index.Users)
	if a.of == 0 {
		a = t.firstUsers(ctx, index.Bound)
	}
	return a
}

// firstUsers are the first users of an index. What is wrong with it is told elsewhere.
func (t *tool) firstUsers(ctx context.Context, name string) (a asked) {
	_ = indexer.Users(ctx, t.below(name), func(user string) error {
		if a.of++; a.of <= maxAsked {
			a.users = append(a.users, user)
		}
		return nil
	})
	return a
}

// checkAsked checks that sshd asks the helper for these users, and what it is told.
func (t *tool) checkAsked(ctx context.Context, a asked) agent.Check {
	config, err := t.instance.Load()
	if err != nil {
		return sshdCheck(agent.Unsure, "", "whether sshd asks %s: %v", helperName, err)
	}
	waiting := t.progress("asking sshd")
	defer waiting()
	daemon := sshd.New(sshd.Daemon{
		Root: t.instance.Root, Config: config.SSHD.Config,
		Command: config.SSHD.Command, Outside: len(config.SSHD.Command) > 0,
	})
	gets, remedy := "a line of theirs", ""
	for _, user := range a.users {
		effective, err := daemon.Effective(ctx, daemon.Config, sshd.FromOutside(user, 22))
		if err != nil {
			return sshdCheck(agent.Unsure, asRootOr("sshd -t"), "whether sshd asks %s: %v", helperName, err)
		}
		check := t.checkCommand(ctx, user, effective)
		if check.Result != agent.Pass {
			return check
		}
		if check.Remedy != "" { // it works, but could do better
			gets, remedy = check.Detail, check.Remedy
		}
	}
	return sshdCheck(agent.Pass, remedy, "sshd asks %s for %s, and gets %s", helperName, a, gets)
}

func sshdCheck(result agent.Result, remedy, format string, args ...any) agent.Check {
	return agent.Check{Name: "sshd", Result: result, Detail: fmt.Sprintf(format, args...), Remedy: remedy}
}

// asRootOr is what to do about something that may be for want of rights only.
func asRootOr(remedy string) string {
	if os.Geteuid() != 0 {
		return "run latchkey keys check as root"
	}
	return remedy
}

// commandLines are what sshd_config has to have.
func (t *tool) commandLines() string {
	folder := helperFolders[0]
	for _, one := range helperFolders {
		if _, err := os.Stat(t.below(one + helperName)); err == nil {
			folder = one
			break
		}
	}
	return fmt.Sprintf("in sshd_config: AuthorizedKeysCommand %s%s %%u %%U %%h %%t %%k, and AuthorizedKeysCommandUser %s", folder, helperName, agent.HelperUser)
}
