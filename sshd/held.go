package sshd

import (
	"slices"
	"strings"
)

// Held is what our lines, as they stand, ask for; of lines that somebody has
// damaged, as far as it can be read.
func (f *Files) Held() Policy {
	var h heldPolicy
	for line := range strings.Lines(string(f.DropIn)) {
		h.read(line)
	}
	h.match = Criterion{} // which ends with the file
	ours := ownLines(f.Main)
	for i, line := range lines(string(f.Main)) {
		if ours[i] {
			h.read(line)
		}
	}
	return h.policy
}

// heldPolicy is a policy that is read line by line.
type heldPolicy struct {
	policy Policy
	match  Criterion // of the Match line that is in force
}

func (h *heldPolicy) read(line string) {
	keyword, rest, err := splitKeyword(line)
	if err != nil {
		return
	}
	keyword = strings.ToLower(keyword)
	args, err := argsOf(keyword, rest)
	if err != nil || len(args) == 0 {
		return
	}
	switch {
	case keyword == "match":
		if block, err := parseMatch(Directive{}, rest, nil); err == nil {
			h.match = block.Criteria[0]
		}
	case isPasswordKeyword(keyword) && strings.EqualFold(args[0], "no"):
		h.policy.Closed = true
		h.policy.Guard = h.policy.Guard || h.match.Name == "all"
	case keyword == commandKeyword:
		h.policy.Keys.For, h.policy.Keys.Command = h.user(), args[0]
	case keyword == commandUserKeyword:
		h.policy.Keys.For, h.policy.Keys.User = h.user(), args[0]
	}
}

// user is whom the Match line in force names.
func (h *heldPolicy) user() string {
	if h.match.Name != "user" {
		return ""
	}
	return h.match.Pattern
}

// Holds tells whether anything of ours is in the files.
func (f *Files) Holds() bool {
	return f.DropIn != nil || slices.Contains(ownLines(f.Main), true)
}

// HoldsClosed tells whether any line of ours closes passwords, be the policy
// whole or not.
func (f *Files) HoldsClosed() bool { return f.Held().Closed }

// Closed tells whether the policy that closes passwords, with or without the
// guard and a keys command, is in the files whole and where it has effect.
func (f *Files) Closed() bool {
	keys := f.Held().Keys
	return f.With(Policy{Closed: true, Keys: keys}).Equal(f) || f.With(Policy{Closed: true, Guard: true, Keys: keys}).Equal(f)
}
