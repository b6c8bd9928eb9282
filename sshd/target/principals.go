package target

import (
	"errors"
	"fmt"
	"strings"

	"github.com/latchkey-ssh/latchkey/authkeys"
)

var errPrincipalsCommand = errors.New("AuthorizedPrincipalsCommand is not run by this server, only by sshd")

// principalLine is what lets in a certificate whose authority is trusted for all users: the principals that the user has by option,
// else a line of AuthorizedPrincipalsFile, else the user's own name. The line's options are in force.
func (p *policy) principalLine(c *certificate) (*authkeys.Entry, error) {
	if len(p.user.Principals) > 0 {
		return principalIn(unbounded(p.user.Principals...), c)
	}
	if p.sets("authorizedprincipalsfile") {
		text, err := p.readUserFile("AuthorizedPrincipalsFile", keySource{file: p.value("authorizedprincipalsfile"), asUser: true})
		if err != nil && !errors.As(err, new(missingFile)) {
			return nil, err
		}
		return principalIn(string(text), c)
	}
	if p.sets("authorizedprincipalscommand") {
		return nil, errPrincipalsCommand
	}
	return principalIn(unbounded(p.conn.User), c)
}

// unbounded are lines that take nothing from what a certificate grants.
func unbounded(principals ...string) string {
	var lines strings.Builder
	for _, principal := range principals {
		fmt.Fprintln(&lines, "no-touch-required", principal)
	}
	return lines.String()
}

// principalIn finds the first line of "[options] principal" that names one of the certificate's. A # begins a comment
// wherever it stands (sshd_config(5) AuthorizedPrincipalsFile). A line with options that cannot be read is passed over.
func principalIn(text string, c *certificate) (*authkeys.Entry, error) {
	for line := range strings.SplitSeq(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		line = strings.Trim(line, " \t")
		end := strings.LastIndexAny(line, " \t") + 1
		options, principal := line[:end], line[end:]
		if principal == "" || !c.names(principal) {
			continue
		}
		// Options are read as those before a key; which one it is does not matter here.
		if lines := authkeys.Parse([]byte(options + c.authorityLine)).Keys(); len(lines) == 1 {
			return lines[0], nil
		}
	}
	return nil, errPrincipal
}
