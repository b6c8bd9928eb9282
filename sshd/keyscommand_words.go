package sshd

import (
	"errors"
	"fmt"
	"strings"
)

// Words are those with which sshd starts the command: tokens are replaced in each but the first,
// %% and those that the map has by their letter, and a program without arguments gets the user's
// name, %u (sshd_config(5), AuthorizedKeysCommand and TOKENS). Any other token is an error: for
// one that it does not know, sshd ends the connection.
func (k KeysCommand) Words(tokens map[byte]string) ([]string, error) {
	words, err := splitWords(k.Command)
	if err != nil || len(words) == 0 {
		return nil, err
	}
	if len(words) == 1 {
		words = append(words, "%u")
	}
	for i, word := range words[1:] {
		if words[i+1], err = expandTokens(word, tokens); err != nil {
			return nil, err
		}
	}
	return words, nil
}

// splitWords splits a command as sshd does to run it, where a # is no comment.
func splitWords(command string) ([]string, error) {
	var words []string
	for rest := strings.TrimLeft(command, " \t"); rest != ""; rest = strings.TrimLeft(rest, " \t") {
		word, after, err := cutArg(rest)
		if err != nil {
			return nil, err
		}
		words, rest = append(words, word), after
	}
	return words, nil
}

func expandTokens(word string, tokens map[byte]string) (string, error) {
	var expanded strings.Builder
	for {
		text, after, found := strings.Cut(word, "%")
		expanded.WriteString(text)
		if !found {
			return expanded.String(), nil
		}
		if after == "" {
			return "", errors.New("a lone % ends a word: write %%")
		}
		value, known := tokens[after[0]]
		switch {
		case after[0] == '%':
			value = "%"
		case !known:
			return "", fmt.Errorf("sshd knows no token %%%c there", after[0])
		}
		expanded.WriteString(value)
		word = after[1:]
	}
}
