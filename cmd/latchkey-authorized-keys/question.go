package main

import "errors"

const name = "latchkey-authorized-keys"

// release is the version of the packages, which the linker sets (-X).
var release = "devel"

const usage = `Print the lines of a key index that let a key log in as USER, for sshd.

Usage:
  ` + name + ` [--index=FILE] USER [UID HOME TYPE KEY] [-- COMMAND [ARG...]]

With USER alone, all of that user's lines; with TYPE and KEY, those for that
key. UID and HOME are not used. COMMAND is another AuthorizedKeysCommand, whose
lines follow.

      --index=FILE  only this index, instead of those in /var/lib/latchkey/keys
      --help        this text
      --version     the version

In sshd_config:
  AuthorizedKeysCommand /usr/sbin/` + name + ` %u %U %h %t %k
  AuthorizedKeysCommandUser latchkey-keys

Exit status: 0, or another when every key has to be refused. The reason is then
in the journal: journalctl -t ` + name + `

See ` + name + `(8).`

// A question is what the arguments ask for.
type question struct {
	text string // to print, and nothing else: help or version

	index        string // "": the usual ones
	user         string
	keyType, key string   // as sshd has them for %t and %k; "": all lines of the user
	command      []string // the administrator's program and its arguments; empty: none
}

// parse takes the arguments apart. Its errors name none of them but an option: a
// key is not for the log.
func parse(words []string) (question, error) {
	var q question
	for len(words) > 0 && len(words[0]) > 0 && words[0][0] == '-' {
		const flag = "--index="
		switch word := words[0]; {
		case word == "--help" || word == "-h":
			return question{text: usage}, nil
		case word == "--version":
			return question{text: name + " version " + release}, nil
		case len(word) > len(flag) && word[:len(flag)] == flag && q.index == "":
			q.index = word[len(flag):]
		default:
			return q, errors.New("option " + word)
		}
		words = words[1:]
	}
	for i, word := range words {
		if word != "--" {
			continue
		}
		if q.command = words[i+1:]; len(q.command) == 0 {
			return q, errors.New("no command after --")
		}
		words = words[:i]
		break
	}
	return q, q.take(words)
}

// take takes the words that say who and what key.
func (q *question) take(words []string) error {
	switch len(words) {
	case 0:
		return errors.New("no user")
	case 1:
	case 5:
		if q.keyType, q.key = words[3], words[4]; q.keyType == "" || q.key == "" {
			return errors.New("an empty type or key")
		}
	default:
		return errors.New("neither a user alone nor user, uid, home, type and key (%u %U %h %t %k)")
	}
	if q.user = words[0]; q.user == "" {
		return errors.New("an empty user")
	}
	return nil
}

// isPlain tells whether a line has no options but begins with the offered key:
// then it lets the key in, whatever follows. One that it does not know for plain
// only costs time.
func (q question) isPlain(line []byte) bool {
	first, rest := cutWord(line)
	second, _ := cutWord(rest)
	return q.key != "" && string(first) == q.keyType && string(second) == q.key
}

// cutWord cuts off the first word; blanks are spaces and tabs, as for sshd.
func cutWord(line []byte) (word, rest []byte) {
	isBlank := func(c byte) bool { return c == ' ' || c == '\t' }
	for len(line) > 0 && isBlank(line[0]) {
		line = line[1:]
	}
	end := 0
	for end < len(line) && !isBlank(line[end]) {
		end++
	}
	return line[:end], line[end:]
}
