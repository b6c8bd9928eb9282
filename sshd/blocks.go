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
// where nothing was set before, and the Match blocks directly before the first
// Match, since one at the top would swallow every global line below it.
func withBlocks(main []byte, p Policy) []byte {
	at := firstMatch(main)
	return slices.Concat([]byte(markedGlobals(p)), main[:at], []byte(markedMatches(p, cutShort(main[:at]))), main[at:])
}

// cutShort tells whether text ends within a line.
func cutShort(text []byte) bool { return len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) }

// markedGlobals are p's global lines between marks.
func markedGlobals(p Policy) string {
	if p.globals() == "" {
		return ""
	}
	return policyBegin + "\n" + p.globals() + policyEnd + "\n"
}

// markedMatches are p's Match blocks between marks. The first of them begins
// with a newline of ours where what is before them lacks one.
func markedMatches(p Policy, newline bool) string {
	var text string
	if keys := p.keysBlock(); keys != "" {
		text = markedKeys(keys, newline)
	}
	if guard := p.guard(); guard != "" {
		begin := guardBegin
		if newline && text == "" {
			begin = guardBeginNL
		}
		text += begin + "\n" + guard + guardEnd + "\n"
	}
	if newline && text != "" {
		text = "\n" + text
	}
	return text
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
		case marksNewline(trimmed(line)):
			out, newline = cutNewline(out) // to be put back if anything follows
		}
		n++
	}
	return out
}

// marksNewline tells the marks that say that the newline before them is ours.
func marksNewline(line string) bool {
	return line == guardBeginNL || strings.HasPrefix(line, keysBeginMark) && strings.HasSuffix(line, blockWordsNL)
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
// inclusive, in their order. Not all of them need be there. See keysBlocks for
// the one whose lines are not always the same.
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
	for _, block := range slices.Concat(blocks, keysBlocks(all)) {
		for i, line := range all {
			switch {
			case strings.HasPrefix(line, "# BEGIN") && slices.Contains(block, line):
				markDown(ours[i:], all[i:], block)
			case line == block[len(block)-1] && !ours[i]:
				markUp(ours[:i+1], all[:i+1], block)
			}
		}
	}
	markEdited(ours, all)
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
