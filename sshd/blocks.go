package sshd

import (
	"bytes"
	"slices"
	"strings"
)

// Marks of the blocks in the main file. The guard mark with an addition says
// that the newline before it is ours too.
const (
	policyBegin   = "# BEGIN latchkey password policy (latchkeyd puts this back and takes it away)"
	policyEnd     = "# END latchkey password policy"
	guardBegin    = "# BEGIN latchkey password guard (latchkeyd puts this back and takes it away)"
	guardBeginNL  = "# BEGIN latchkey password guard, with the newline before it (latchkeyd puts this back and takes it away)"
	guardEnd      = "# END latchkey password guard"
	includeDropIn = "Include " + DropIn
)

// withInclude is main with an Include of the drop-in in a marked block at the
// very top, where nothing was set before.
func withInclude(main []byte) []byte {
	return append([]byte(policyBegin+"\n"+includeDropIn+"\n"+policyEnd+"\n"), main...)
}

// withBlocks is main with p in marked blocks: global lines at the very top,
// where nothing was set before, and the guard directly before the first Match,
// since a Match at the top would swallow every global line below it.
func withBlocks(main []byte, p Policy) []byte {
	top := policyBegin + "\n" + p.globals() + policyEnd + "\n"
	guard := p.guard()
	if guard == "" {
		return append([]byte(top), main...)
	}
	guard += guardEnd + "\n"
	at := firstMatch(main)
	if at == len(main) && at > 0 && main[at-1] != '\n' {
		guard = "\n" + guardBeginNL + "\n" + guard
	} else {
		guard = guardBegin + "\n" + guard
	}
	return slices.Concat([]byte(top), main[:at], []byte(guard), main[at:])
}

// firstMatch is the offset of the first Match line, or the end.
func firstMatch(main []byte) int {
	offset := 0
	for line := range bytes.Lines(main) {
		if keyword, _, err := splitKeyword(string(line)); err == nil && strings.EqualFold(keyword, "match") {
			return offset
		}
		offset += len(line)
	}
	return len(main)
}

// withoutBlocks is main without our blocks, the bytes around them untouched.
func withoutBlocks(main []byte) []byte {
	out, newline, n := []byte{}, "", 0
	ours := ownLines(main)
	for line := range bytes.Lines(main) {
		switch {
		case !ours[n]:
			out = append(append(out, newline...), line...)
			newline = ""
		case trimmed(line) == guardBeginNL:
			out, newline = cutNewline(out) // to be put back if anything follows
		}
		n++
	}
	return out
}

// cutNewline cuts the newline off text, as an editor may have written it.
func cutNewline(text []byte) ([]byte, string) {
	for _, newline := range []string{"\r\n", "\n"} {
		if bytes.HasSuffix(text, []byte(newline)) {
			return text[:len(text)-len(newline)], newline
		}
	}
	return text, ""
}

// blocks are the lines of our blocks, between the first mark and the last
// inclusive, in their order. Not all of them need be there.
var blocks = [][]string{
	slices.Concat([]string{policyBegin, includeDropIn}, lines(Policy{Closed: true}.globals()), []string{policyEnd}),
	slices.Concat([]string{guardBegin, guardBeginNL}, lines(Policy{Closed: true, Guard: true}.guard()), []string{guardEnd}),
}

// lines are the lines of text, without the white space around them: editors
// like to change that.
func lines(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		all = append(all, strings.TrimSpace(line))
	}
	return all
}

func trimmed(line []byte) string { return string(bytes.TrimSpace(line)) }

// ownLines tells, line by line, what in main is ours: from the first mark to
// the last, or as far from either as there follow lines that we would have
// written, each once and in order. So a block that has lost a mark or a line
// goes wholly, and never takes an administrator's line with it.
func ownLines(main []byte) []bool {
	all := lines(string(main))
	ours := make([]bool, len(all))
	for _, block := range blocks {
		for i, line := range all {
			switch {
			case strings.HasPrefix(line, "# BEGIN") && slices.Contains(block, line):
				markDown(ours[i:], all[i:], block)
			case line == block[len(block)-1] && !ours[i]:
				markUp(ours[:i+1], all[:i+1], block)
			}
		}
	}
	return ours
}

// markDown marks the lines that are block's, from its first mark on.
func markDown(ours []bool, all, block []string) {
	for i, line := range all {
		at := slices.Index(block, line)
		if at < 0 {
			return
		}
		ours[i], block = true, block[at+1:]
	}
}

// markUp marks the lines that are block's, from its last mark back.
func markUp(ours []bool, all, block []string) {
	for i := len(all) - 1; i >= 0 && !ours[i]; i-- {
		at := slices.Index(block, all[i])
		if at < 0 {
			return
		}
		ours[i], block = true, block[:at]
	}
}
