package target

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

func TestOptionsThatCannotBeMeantAreRefused(t *testing.T) {
	key := newKey(t)
	for _, test := range []struct {
		opt  Option
		want string
	}{
		{nil, "an Option is nil"},
		{WithFault(Fault{}), "WithFault: no fault: Slow, Silent and the like make one"},
		{WithFault(Slow("lunch", time.Second)), `WithFault: slow:lunch:1s: "lunch" is not a moment: ` + momentNames()},
		{WithFault(Slow(AtAuth, -time.Second)), "WithFault: slow:auth:-1s: the time is negative"},
		{WithFault(Silent("")), `WithFault: silent:: "" is not a moment: ` + momentNames()},
		{WithFault(Disconnect("never")), `WithFault: disconnect:never: "never" is not a moment: ` + momentNames()},
		{OnExec("", NotFound), "OnExec: the command is empty"},
		{OnExec("deploy", nil), "OnExec deploy: the Handler is nil"},
		{OnShell(nil), "OnShell: the Handler is nil"},
		{OnSubsystem("", NotFound), "OnSubsystem: the name is empty"},
		{OnSubsystem("x", nil), "OnSubsystem x: the Handler is nil"},
		{WithRun(nil), "WithRun: the Handler is nil"},
		{WithLog(nil), "WithLog: the function is nil"},
		{WithJSONLog(nil), "WithJSONLog: the writer is nil"},
		{WithAuthorizedKeysFunc(nil), "WithAuthorizedKeysFunc: the function is nil"},
		{WithAuthorizedKeysFile(""), "WithAuthorizedKeysFile: the path is empty"},
		{WithHostKey(nil), "WithHostKey: a key is nil"},
		{WithUserCA(nil), "WithUserCA: a key is nil"},
		{WithUser(User{Password: "tulip"}), "WithUser: a user without a name"},
		{WithUser(User{Name: "a:b"}), `WithUser: "a:b" cannot be a user's name`},
		{WithUser(User{Name: "a\nb"}), `WithUser: "a\nb" cannot be a user's name`},
		{WithUser(User{Name: "\xff"}), `WithUser: "\xff" cannot be a user's name`},
		{func(o *options) { WithUser(User{Name: "ada"})(o); WithUser(User{Name: "ada"})(o) }, "WithUser: there are two users of the name ada"},
		{WithAuthorizedKeys("# mine\nnot a key\n"), "WithAuthorizedKeys: no line is a key: line 2: "},
		{WithUser(User{Name: "ada", AuthorizedKeys: "nonsense " + key.Line}), "user ada: no line of AuthorizedKeys is a key: line 1: options: "},
	} {
		s, err := New(test.opt)
		if err == nil {
			_ = s.Close()
			t.Errorf("no error, want %s", test.want)
			continue
		}
		if !strings.HasPrefix(err.Error(), test.want) || strings.Contains(err.Error(), strings.Fields(key.Line)[1]) {
			t.Error(cmp.Diff(test.want, err.Error()))
		}
	}
}

func TestATextOfCommentsIsAFileThatLetsNobodyIn(t *testing.T) {
	s := Start(t, WithAuthorizedKeys("# none yet\n"))
	if _, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("ada", ssh.PublicKeys(newKey(t).Signer))); err == nil {
		t.Error("logged in")
	}
}

func TestFaultsThatAreNoneChangeNothing(t *testing.T) {
	s := misbehaves(t, WithFault(RefuseSignature()))
	if err := s.SetFaults(Silent(AtAuth), Silent("lunch")); err == nil {
		t.Error("taken")
	}
	if diff := cmp.Diff([]Fault{RefuseSignature()}, s.nextFaults(), cmp.AllowUnexported(Fault{})); diff != "" {
		t.Error(diff)
	}
}
