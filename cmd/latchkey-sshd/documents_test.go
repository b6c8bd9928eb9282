package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/sshd/target"
)

// documents are those that tell all about the program.
var documents = []string{"packaging/man/latchkey-sshd.1", "docs/TARGET.md"}

func document(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestEveryOptionIsInTheManPage(t *testing.T) {
	p := &program{}
	page := document(t, documents[0])
	options := regexp.MustCompile(`(?m)^ +(?:(-[A-Za-z]), )?-(-[a-z-]+)`).FindAllStringSubmatch(p.command().Flags().FlagUsages(), -1)
	if len(options) < 20 {
		t.Fatalf("found only %d options", len(options))
	}
	for _, option := range options {
		want := "Fl " + option[2]
		if option[1] != "" {
			want = "Fl " + option[1][1:] + " , " + want
		}
		if !regexp.MustCompile(`(?m)^\.It (?:.* )?` + want + `(?: |$)`).MatchString(page) {
			t.Errorf("latchkey-sshd(1) does not explain %s%s", option[2], option[1])
		}
	}
}

// TestWhatTheDocumentShowsRuns: its shell and its Python, as they are.
func TestWhatTheDocumentShowsRuns(t *testing.T) {
	testmachine.RequireProgram(t, "ssh")
	for _, test := range []struct{ language, program, want string }{
		{"sh", "sh", "hello from ada\n"},
		{"python", "python3", "127.0.0.1 "},
	} {
		t.Run(test.language, func(t *testing.T) {
			interpreter := testmachine.RequireProgram(t, test.program)
			block := regexp.MustCompile("(?ms)^```" + test.language + "\n(.*?)^```$").FindStringSubmatch(document(t, documents[1]))
			if block == nil {
				t.Fatal("the document shows none")
			}
			cmd := exec.Command(interpreter)
			cmd.Stdin, cmd.Dir, cmd.Stderr = strings.NewReader(block[1]), t.TempDir(), os.Stderr
			if out, err := cmd.Output(); err != nil || !strings.HasPrefix(string(out), test.want) {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// members are the names that a struct has in JSON.
func members(of any) []string {
	var names []string
	structure := reflect.TypeOf(of)
	for i := range structure.NumField() {
		name, _, _ := strings.Cut(structure.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

func TestEveryMemberOfItsJSONIsDocumented(t *testing.T) {
	for _, name := range slices.Concat(members(announcement{}), members(userEntry{}), members(target.Event{})) {
		for path, form := range map[string]string{documents[0]: `Cm (?:[a-z_]+ , )*` + name + `(?: |$)`, documents[1]: "`" + name + "`"} {
			if !regexp.MustCompile(`(?m)` + form).MatchString(document(t, path)) {
				t.Errorf("%s does not explain %s", path, name)
			}
		}
	}
}
