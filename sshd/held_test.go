package sshd

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatOurLinesAskForIsReadFromThem(t *testing.T) {
	t.Parallel()
	full := Policy{Closed: true, Guard: true, Keys: asking}
	dropIn := string(full.dropIn())
	const main = "PasswordAuthentication no\nAuthorizedKeysCommand /usr/bin/own\nAuthorizedKeysCommandUser nobody\n"
	blocks := string(withBlocks([]byte(main), full))
	for name, test := range map[string]struct {
		main, dropIn string
		want         Policy
	}{
		"nothing of ours":             {main, "", Policy{}},
		"an Include of ours alone":    {string(withInclude([]byte(main))), "", Policy{}},
		"the drop-in":                 {main, dropIn, full},
		"the main file":               {blocks, "", full},
		"an emptied drop-in":          {main, "\n", Policy{}},
		"closed":                      {main, string(Policy{Closed: true}.dropIn()), Policy{Closed: true}},
		"keys alone":                  {main, string(Policy{Keys: asking}.dropIn()), Policy{Keys: asking}},
		"one closing line left":       {main, "kbdinteractiveauthentication = NO\r\n", Policy{Closed: true}},
		"a line that opens":           {main, "PasswordAuthentication yes\n", Policy{}},
		"without the user's Match":    {main, strings.Replace(dropIn, "Match User ecs-user\n", "", 1), Policy{Closed: true, Guard: true, Keys: KeysCommand{Command: asking.Command, User: "nobody"}}},
		"without the command":         {main, strings.Replace(dropIn, "\tAuthorizedKeysCommand "+asking.Command+"\n", "", 1), Policy{Closed: true, Guard: true, Keys: KeysCommand{For: testUser, User: "nobody"}}},
		"without its user, in blocks": {strings.Replace(blocks, "\tAuthorizedKeysCommandUser nobody\n", "", 1), "", Policy{Closed: true, Guard: true, Keys: KeysCommand{For: testUser, Command: asking.Command}}},
		"another command":             {main, strings.Replace(dropIn, asking.Command, "/bin/mine", 1), Policy{Closed: true, Guard: true, Keys: KeysCommand{testUser, "/bin/mine", "nobody"}}},
		"nonsense":                    {main, "\x00\xff \"\nMatch\nMatch User\n=\n", Policy{}},
	} {
		files := &Files{Main: []byte(test.main)}
		if test.dropIn != "" {
			files.DropIn = []byte(test.dropIn)
		}
		if diff := cmp.Diff(test.want, files.Held(), cmp.AllowUnexported(Policy{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if files.HoldsClosed() != test.want.Closed || files.Holds() != (test.main != main || files.DropIn != nil) {
			t.Errorf("%s: holds %v, closed %v", name, files.Holds(), files.HoldsClosed())
		}
	}
}

func TestADamagedPolicyIsNotClosed(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	whole := string(Policy{Closed: true, Guard: true, Keys: asking}.dropIn())
	for line := range strings.Lines(whole) {
		m.WriteFile(DropIn, strings.Replace(whole, line, "", 1), 0o644)
		if files := m.files(); files.Closed() || !files.HoldsClosed() {
			t.Errorf("without %q: closed %v, holds closed %v", line, files.Closed(), files.HoldsClosed())
		}
	}
	if m.WriteFile(DropIn, whole, 0o644); !m.files().Closed() {
		t.Error("the whole policy is not closed")
	}
}
