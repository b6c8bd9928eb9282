package target

import (
	"slices"

	"github.com/latchkey-ssh/latchkey/authkeys"
)

// proof is what stands behind a login.
type proof struct {
	method string              // the last one
	keys   []string            // fingerprints of the keys that were proved
	lines  []*authkeys.Options // of the lines they are on
}

// with is the proof with another one after it.
func (p proof) with(next proof) proof {
	next.keys = append(slices.Clip(p.keys), next.keys...)
	next.lines = append(slices.Clip(p.lines), next.lines...)
	return next
}

// agreesWith tells whether not more than one command is forced by both.
func (p proof) agreesWith(next proof) bool {
	first, forced := p.forcedCommand()
	second, forcedToo := next.forcedCommand()
	return !forced || !forcedToo || first == second
}

// forcedCommand is what the keys' lines let the session run instead of what its user asks for.
func (p proof) forcedCommand() (string, bool) {
	for _, line := range p.lines {
		if line.Command != nil {
			return *line.Command, true
		}
	}
	return "", false
}

// all tells whether every line grants what may says.
func (p proof) all(may func(*authkeys.Options) bool) bool {
	return !slices.ContainsFunc(p.lines, func(o *authkeys.Options) bool { return !may(o) })
}

// forcedCommand is ForceCommand, else the key line's command.
func (l *login) forcedCommand() (string, bool) {
	if command, forced := l.policy.forcedCommand(); forced {
		return command, true
	}
	return l.proof.forcedCommand()
}

func (l *login) mayPTY() bool {
	return l.policy.is("permittty") && l.proof.all(func(o *authkeys.Options) bool { return o.PTY })
}

func (l *login) mayForwardAgent() bool {
	return !l.policy.is("disableforwarding") && l.policy.is("allowagentforwarding") &&
		l.proof.all(func(o *authkeys.Options) bool { return o.AgentForwarding })
}
