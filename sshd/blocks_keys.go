package sshd

import (
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
)

// What is in the block of the keys command depends on the instance, so its marks
// carry a checksum of each such line: where one of them is lost, the
// other still tells our lines from an administrator's that begin alike.
const (
	keysBeginMark = "# BEGIN latchkey keys command "
	keysEndMark   = "# END latchkey keys command "
	blockWords    = " (latchkeyd puts this back and takes it away)"
	blockWordsNL  = ", with the newline before it" + blockWords
	matchAll      = "Match all" // ends the block, for whatever comes after it
)

// markedKeys is the Match block of the keys command between marks. The newline
// before it is ours too if that is said.
func markedKeys(keysBlock string, newline bool) string {
	id := checksums(lines(keysBlock))
	words := blockWords
	if newline {
		words = blockWordsNL
	}
	return keysBeginMark + id + words + "\n" + keysBlock + matchAll + "\n" + keysEndMark + id + "\n"
}

// checksums are those of the lines, as one word.
func checksums(lines []string) string {
	var sums []string
	for _, line := range lines {
		sums = append(sums, fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(line))))
	}
	return strings.Join(sums, "-")
}

// keysMark is the word of checksums in a mark, "" for any other line.
func keysMark(line string) string {
	id, found := strings.CutPrefix(line, keysEndMark)
	if !found {
		id, found = strings.CutPrefix(line, keysBeginMark)
		id = strings.TrimSuffix(strings.TrimSuffix(id, blockWordsNL), blockWords)
	}
	if !found || !isChecksums(id) {
		return ""
	}
	return id
}

// isChecksums tells whether word is of the form that checksums gives to the lines
// of a keys command's block.
func isChecksums(word string) bool {
	var first, second, third uint32
	_, err := fmt.Sscanf(word, "%08x-%08x-%08x", &first, &second, &third)
	return err == nil && word == fmt.Sprintf("%08x-%08x-%08x", first, second, third)
}

// keysBlocks are the blocks of a keys command that any mark among the lines
// tells of, as blocks has them: those of their lines that are still there.
func keysBlocks(all []string) [][]string {
	var ids []string
	for _, line := range all {
		if id := keysMark(line); id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	var found [][]string
	for _, id := range ids {
		block := []string{keysBeginMark + id + blockWords, keysBeginMark + id + blockWordsNL}
		for sum := range strings.SplitSeq(id, "-") {
			if i := slices.IndexFunc(all, func(line string) bool { return checksums([]string{line}) == sum }); i >= 0 {
				block = append(block, all[i])
			}
		}
		found = append(found, append(block, matchAll, keysEndMark+id))
	}
	return found
}

// markEdited marks the lines between both marks of a keys command that set
// what we set there, whatever somebody has made of them: left alone
// they would be global, and in force for everybody.
func markEdited(ours []bool, all []string) {
	begin := -1
	for i, line := range all {
		switch {
		case strings.HasPrefix(line, "# BEGIN latchkey "):
			begin = -1
			if keysMark(line) != "" {
				begin = i
			}
		case begin >= 0 && keysMark(line) != "":
			for at := begin; at <= i; at++ {
				ours[at] = ours[at] || setsKeysCommand(all[at])
			}
			begin = -1
		}
	}
}

// setsKeysCommand tells the lines that are like one of a keys command's block.
func setsKeysCommand(line string) bool {
	keyword, rest, err := splitKeyword(line)
	if err != nil {
		return false
	}
	switch strings.ToLower(keyword) {
	case commandKeyword, commandUserKeyword:
		return true
	case "match":
		block, err := parseMatch(Directive{}, rest, nil)
		return err == nil && len(block.Criteria) == 1 && slices.Contains([]string{"user", "all"}, block.Criteria[0].Name)
	}
	return false
}
