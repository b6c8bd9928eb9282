package sshd

import (
	"context"
	"fmt"
	"strings"
)

// withoutOurs asks sshd what it would ask for the user's keys if it were not for us.
func (p *prover) withoutOurs(ctx context.Context) {
	if p.subject.Command != (KeysCommand{}) && p.candidate.Bare != "" {
		p.bare, p.bareErr = p.daemon.BothEffective(ctx, p.candidate.Bare, p.subject.User)
	}
}

const chainRemedy = "let a global line, or a Match by User, or by Group of a group in /etc/group, name the command and its user; " +
	"or set apply.delivery = \"file\" in latchkey.toml"

// chainCauses compare sshd's own word on an administrator's AuthorizedKeysCommand with
// what the text of the configuration said, by which it is asked after ours. sshd may know
// more than the text tells: which groups a user is in, of those that only a directory
// server has.
func (p *prover) chainCauses() []Cause {
	if len(p.bare) == 0 {
		return nil
	}
	text, err := p.candidate.files.AdminKeysCommand(p.subject.User, p.subject.Groups)
	if err != nil {
		return []Cause{{causeCommand + "chain", err.Error(), chainRemedy}}
	}
	for _, config := range p.bare {
		if sshds := config.keysCommand(); !sshds.sameAs(text) {
			return []Cause{{causeCommand + "chain", fmt.Sprintf(
				"without latchkey, sshd asks %s for the keys of %s, where its configuration as text says %s",
				sshds.describe(), p.subject.User, text.describe()), chainRemedy}}
		}
	}
	return nil
}

// keysCommand is the command that sshd asks, by sshd -T; zero for none.
func (c Config) keysCommand() KeysCommand {
	value := func(keyword string) string {
		if len(c[keyword]) == 0 || strings.EqualFold(c[keyword][0], "none") {
			return ""
		}
		return c[keyword][0]
	}
	if value(commandKeyword) == "" {
		return KeysCommand{}
	}
	return KeysCommand{Command: value(commandKeyword), User: value(commandUserKeyword)}
}

// sameAs tells whether k, as sshd -T has it, is the command that a line of the
// configuration sets. Releases before 8.5 end the line at a #.
func (k KeysCommand) sameAs(line KeysCommand) bool {
	words := func(text string) string { return strings.Join(strings.Fields(text), " ") }
	uncommented, _, _ := strings.Cut(line.Command, "#")
	command := words(k.Command)
	return k.User == line.User && (command == words(line.Command) || command == words(uncommented))
}

// describe names the command and its user.
func (k KeysCommand) describe() string {
	if k.Command == "" {
		return "no command"
	}
	return fmt.Sprintf("%q as %q", k.Command, k.User)
}
