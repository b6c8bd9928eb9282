package sshd

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestACommandsWordsAreThoseThatSSHDStartsItWith(t *testing.T) {
	tokens := map[byte]string{'u': "ada", 'h': "/home/a b", 'k': "AAAA", 'D': ""}
	for command, want := range map[string][]string{
		"/p":                  {"/p", "ada"},
		"/p %u %h %k":         {"/p", "ada", "/home/a b", "AAAA"},
		"/p  \"a %h\"\t'%u'":  {"/p", "a /home/a b", "ada"},
		"/p%u x%uy%%u %D":     {"/p%u", "xaday%u", ""},
		"/p -- /q %u #not":    {"/p", "--", "/q", "ada", "#not"},
		`"/a p" \"%u\" a\ b `: {"/a p", `"ada"`, "a b"},
	} {
		words, err := KeysCommand{Command: command}.Words(tokens)
		if diff := cmp.Diff(want, words); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got)\n%s", command, err, diff)
		}
	}
	for _, command := range []string{"/p %x", "/p %", "/p %u%", `/p "%u`} {
		if words, err := (KeysCommand{Command: command}).Words(tokens); err == nil {
			t.Errorf("%s: %q, want an error", command, words)
		}
	}
}
