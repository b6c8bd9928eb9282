package account_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// TestEachProblemKeepsALoginOutAndItsRemedyHelps is why the causes can be
// believed: a real sshd with PAM refuses the account that has the problem, and
// takes it again after the remedy was typed.
func TestEachProblemKeepsALoginOutAndItsRemedyHelps(t *testing.T) {
	m := testmachine.New(t)
	m.StartSSHD()
	tests := []struct {
		cause account.Cause
		stage string // shell, for the user given as $1
	}{
		{account.AccountExpired, "chage --expiredate 2001-01-01 $1"},
		{account.AccountExpired, "chage --expiredate $(date +%F) $1"},
		{account.PasswordMustChange, "chage --lastday 0 $1"},
		{account.PasswordMustChange, "chage --lastday 2001-01-01 --maxdays 10 $1"},
		{account.PasswordLapsed, "chage --lastday 2001-01-01 --maxdays 10 --inactive 10 $1"},
		{account.ShellMissing, "usermod --shell /bin/none $1"},
		{account.ShellNotExecutable, "usermod --shell /etc/passwd $1"},
		{account.ShellRefuses, "usermod --shell /usr/sbin/nologin $1"},
		{account.ShellRefuses, "usermod --shell /bin/false $1"},
		{account.NologinFile, "touch /etc/nologin"},
		{account.NologinFile, "touch /run/nologin"},
	}
	for i, test := range tests {
		t.Run(fmt.Sprintf("%s %d", test.cause, i), func(t *testing.T) {
			user := fmt.Sprintf("user%d", i)
			m.AddUser(user, "")
			key := testmachine.NewKey(t, "ed25519")
			m.AuthorizedKeys(user, key.Line)
			m.Run(t, "sh", "-c", test.stage, "sh", user)
			problems := problemsOf(t, m, user)
			if len(problems) != 1 || problems[0].Cause != test.cause {
				t.Fatalf("problems are %+v", problems)
			}
			if err := m.Login(t, user, key.Signer); err == nil {
				t.Error("the login works all the same")
			}
			m.Run(t, "sh", "-c", problems[0].Remedy)
			if err := m.Login(t, user, key.Signer); err != nil {
				t.Errorf("after %q: %v", problems[0].Remedy, err)
			}
			if problems := problemsOf(t, m, user); len(problems) != 0 {
				t.Errorf("after the remedy problems are %+v", problems)
			}
		})
	}
}

func TestRemedyMakesAHome(t *testing.T) {
	m := testmachine.New(t)
	m.AddUser("alice", "")
	m.Run(t, "rm", "-r", "/home/alice")
	problems := problemsOf(t, m, "alice")
	if len(problems) != 1 || problems[0].Cause != account.HomeMissing {
		t.Fatalf("problems are %+v", problems)
	}
	m.Run(t, "sh", "-c", problems[0].Remedy)
	if problems := problemsOf(t, m, "alice"); len(problems) != 0 {
		t.Errorf("after the remedy problems are %+v", problems)
	}
}

func problemsOf(t *testing.T, m *testmachine.Machine, user string) []account.Problem {
	t.Helper()
	a, err := account.Lookup(m.Root, user)
	if err != nil {
		t.Fatal(err)
	}
	return a.Problems(m.Root, time.Now())
}

// TestAgreesWithGlibc compares with getent(1) and id(1) of a machine whose
// files are as nasty as glibc puts up with. Left out is that glibc lets a
// group line that was commented out still give its members the group's id.
func TestAgreesWithGlibc(t *testing.T) {
	m := testmachine.New(t)
	m.WriteFile("/etc/passwd", strings.Join([]string{
		"root:x:0:0:root:/root:/bin/bash",
		"  blank:x:1001:1001::/home/blank:/bin/sh",
		"# hidden:x:1002:1002:::",
		"twice:x:1003:1003::/home/one:/bin/sh",
		"twice:x:1004:1004::/home/two:/bin/sh",
		"broken:x:number:1:::",
		"broken:x:1005:1005::/home/broken:/bin/sh",
		"short:x:1006:1006",
		"tooshort:x:1007",
		"last:x:1009:1009::/home/last:/bin/sh",
	}, "\n"), 0o644)
	m.WriteFile("/etc/group", strings.Join([]string{
		"root:x:0:",
		"one:x:2001:twice,last",
		" two:x:2002:  twice , last",
		"three:x:number:last",
		"four:x:2004",
		"again:x:2001:last,last",
		"last:x:1009:",
	}, "\n"), 0o644)
	for _, user := range []string{"root", "blank", "hidden", "twice", "broken", "short", "tooshort", "last"} {
		if diff := cmp.Diff(glibcView(m, user), ourView(m, user)); diff != "" {
			t.Errorf("%s (-glibc +ours):\n%s", user, diff)
		}
	}
}

// view is an account as both sides can show it.
type view struct{ Passwd, Groups string }

func glibcView(m *testmachine.Machine, user string) view {
	entry, err := m.Chroot("getent", "passwd", user).Output()
	if err != nil {
		return view{}
	}
	groups, _ := m.Chroot("id", "-G", user).Output() // a group without a name is no failure here
	f := strings.SplitN(strings.TrimSpace(string(entry)), ":", 7)
	if f[6] == "" {
		f[6] = "/bin/sh"
	}
	return view{strings.Join([]string{f[0], f[2], f[3], f[5], f[6]}, ":"), sortedWords(string(groups))}
}

func ourView(m *testmachine.Machine, user string) view {
	a, err := account.Lookup(m.Root, user)
	if err != nil {
		return view{}
	}
	passwd := fmt.Sprintf("%s:%d:%d:%s:%s", a.Name, a.UID, a.GID, a.Home, a.Shell)
	return view{passwd, sortedWords(strings.Trim(fmt.Sprint(a.Groups), "[]"))}
}

func sortedWords(text string) string {
	return strings.Join(slices.Compact(slices.Sorted(strings.FieldsSeq(text))), " ")
}
