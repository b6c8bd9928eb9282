package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheReasonIsInTheJournalAsSSHDsOwnMessagesAre(t *testing.T) {
	r := newRig(t)
	r.log(problem, "first\nPRIORITY=7\nMESSAGE=forged")
	r.log(warning, "second")
	want := []map[string]string{
		{"PRIORITY": "3", "SYSLOG_FACILITY": "10", "SYSLOG_IDENTIFIER": "latchkey-authorized-keys", "MESSAGE": "first\nPRIORITY=7\nMESSAGE=forged"},
		{"PRIORITY": "4", "SYSLOG_FACILITY": "10", "SYSLOG_IDENTIFIER": "latchkey-authorized-keys", "MESSAGE": "second"},
	}
	if diff := cmp.Diff(want, r.logged()); diff != "" {
		t.Errorf("the journal (-want +got):\n%s", diff)
	}
}

func TestWithoutAJournalTheReasonGoesToSyslog(t *testing.T) {
	r := newRig(t)
	inbox := r.listen(r.syslog)
	r.log(problem, "the journal takes this")
	if err := os.Remove(r.journal); err != nil {
		t.Fatal(err)
	}
	r.log(problem, "no index")
	if got := string(r.arrived(inbox)); got != "<83>latchkey-authorized-keys: no index" {
		t.Errorf("syslog has %q", got)
	}
	r.log(warning, "chained")
	if got := string(r.arrived(inbox)); got != "<84>latchkey-authorized-keys: chained" {
		t.Errorf("syslog has %q", got)
	}
}

// TestALogThatNobodyTakesDoesNotHang: nor is it waited for where there is none.
func TestALogThatNobodyTakesDoesNotHang(t *testing.T) {
	r := newRig(t)
	r.stderr = -1
	for range 2000 { // more than the socket holds
		r.log(problem, "again")
	}
	r.journal, r.syslog = r.path("none"), r.path("none")
	r.want(t, "", exitUsage)
}

func TestTheReasonIsOnStandardErrorToo(t *testing.T) {
	r := newRig(t)
	said, err := os.Create(r.path("stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	r.stderr = int(said.Fd())
	r.run(nil)
	text, err := os.ReadFile(said.Name())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), "latchkey-authorized-keys: wrong usage: no user; see ") {
		t.Errorf("said %q", text)
	}
}
