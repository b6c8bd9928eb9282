package operator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// maxAsked are the users about whom sshd is asked: a Match block may leave some out, but an
// sshd is started for each.
const maxAsked = 8

// checkAsked checks that sshd asks the helper for the users of users.index, or where that has
// none of bound.index.
func (t *tool) checkAsked(ctx context.Context) []agent.Check {
	users := t.firstUsers(ctx, index.Users)
	if len(users) == 0 {
		users = t.firstUsers(ctx, index.Bound)
	}
	if len(users) == 0 {
		return nil
	}
	config, err := t.instance.Load()
	if err != nil {
		return []agent.Check{unsureOfSSHD(err)}
	}
	waiting := t.progress("asking sshd")
	defer waiting()
	daemon := sshd.New(sshd.Daemon{
		Root: t.instance.Root, Config: config.SSHD.Config,
		Command: config.SSHD.Command, Outside: len(config.SSHD.Command) > 0,
	})
	for _, user := range users {
		effective, err := daemon.Effective(ctx, daemon.Config, sshd.FromOutside(user, 22))
		if err != nil {
			return []agent.Check{unsureOfSSHD(err)}
		}
		if check := t.checkCommand(user, effective); check.Result != agent.Pass {
			return []agent.Check{check}
		}
	}
	return []agent.Check{sshdCheck(agent.Pass, "", "sshd asks %s for %s", helperName, strings.Join(users, ", "))}
}

// firstUsers are the first users of an index. What is wrong with it is told elsewhere.
func (t *tool) firstUsers(ctx context.Context, name string) (users []string) {
	enough := errors.New("enough")
	_ = indexer.Users(ctx, t.below(name), func(user string) error {
		if users = append(users, user); len(users) == maxAsked {
			return enough
		}
		return nil
	})
	return users
}

func sshdCheck(result agent.Result, remedy, format string, args ...any) agent.Check {
	return agent.Check{Name: "sshd", Result: result, Detail: fmt.Sprintf(format, args...), Remedy: remedy}
}

func unsureOfSSHD(err error) agent.Check {
	return sshdCheck(agent.Unsure, "as root: sshd -t", "whether sshd asks %s: %v", helperName, err)
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

// checkCommand checks what sshd does for the keys of a user.
func (t *tool) checkCommand(user string, effective sshd.Config) agent.Check {
	command := effective.Fields("authorizedkeyscommand")
	if len(command) == 0 || command[0] == "none" {
		return sshdCheck(agent.Fail, t.commandLines(), "sshd asks no program for the keys of %s: no index counts", user)
	}
	program := strings.Trim(command[0], `"`)
	if path.Base(program) != helperName {
		return sshdCheck(agent.Fail, t.commandLines()+"; or have that program ask it", "sshd asks %s for the keys of %s, not %s", program, user, helperName)
	}
	if found := t.checkProgram(t.below(program)); len(found) == 0 {
		return sshdCheck(agent.Fail, t.commandLines(), "sshd asks %s for the keys of %s, which is not there", program, user)
	} else if found[0].Result != agent.Pass {
		return found[0]
	}
	as := strings.Join(effective.Fields("authorizedkeyscommanduser"), " ")
	if as == "" || as == "none" {
		return sshdCheck(agent.Fail, t.commandLines(), "sshd has no AuthorizedKeysCommandUser for %s: it takes no key of %s from the program", user, user)
	}
	if _, err := account.Lookup(t.instance.Root, as); err != nil && !strings.Contains(as, "%") {
		return sshdCheck(agent.Fail, t.commandLines(), "AuthorizedKeysCommandUser of %s: %v", user, err)
	}
	return sshdCheck(agent.Pass, "", "")
}
