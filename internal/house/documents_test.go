package house

import (
	"regexp"
	"strings"
	"testing"
)

// TestTheGoOfDocumentsIsRunAsExamples: what a document shows is, line by line, in an example that the tests run.
func TestTheGoOfDocumentsIsRunAsExamples(t *testing.T) {
	for document, examples := range map[string]string{"docs/TARGET.md": "sshd/target/example_test.go"} {
		code := unindented(read(t, examples))
		blocks := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(read(t, document), -1)
		if len(blocks) < 5 {
			t.Errorf("%s: found only %d blocks of Go", document, len(blocks))
		}
		for _, block := range blocks {
			if !strings.Contains(code, unindented(block[1])) {
				t.Errorf("%s: this is not in %s:\n%s", document, examples, block[1])
			}
		}
	}
}

// unindented is the text with no blanks at the beginnings of its lines.
func unindented(text string) string {
	return regexp.MustCompile(`(?m)^[ \t]+`).ReplaceAllString(text, "")
}
