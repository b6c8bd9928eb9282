package target

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

// connect logs in to a server as alice.
func connect(t *testing.T, s *Server) *ssh.Client {
	t.Helper()
	client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("alice"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// saying is a handler that shows what it is and what it was given.
func saying(name string) Handler {
	return func(_ context.Context, s *Session) int {
		fmt.Fprintf(s.Stdout, "%s: %s %q %q\n", name, s.Request, s.Subsystem, s.Command)
		return 0
	}
}

func TestTheLongestCommandThatFitsHasItsHandler(t *testing.T) {
	s := Start(t, OnExec("git push", saying("push")), OnExec("git", saying("git")),
		OnShell(saying("shell")), OnSubsystem("netconf", saying("netconf")), WithRun(NotFound))
	for _, test := range []struct {
		do   func(*dialog) string
		want string
	}{
		{execute("git"), "git: exec \"\" \"git\"\nexit 0"},
		{execute("git pull"), "git: exec \"\" \"git pull\"\nexit 0"},
		{execute("git push"), "push: exec \"\" \"git push\"\nexit 0"},
		{execute("git push\tall"), "push: exec \"\" \"git push\\tall\"\nexit 0"},
		{execute("git pushing"), "git: exec \"\" \"git pushing\"\nexit 0"},
		{execute("gitk"), "stderr: gitk: command not found\nexit 127"},
		{execute(" git"), "stderr:  git: command not found\nexit 127"},
		{execute(""), "stderr: : command not found\nexit 127"},
		{shell, "shell: shell \"\" \"\"\nexit 0"},
		{runSubsystem("netconf"), "netconf: subsystem \"netconf\" \"netconf\"\nexit 0"},
		{runSubsystem("sftp"), "no"},
		{runSubsystem(""), "no"},
	} {
		if got := test.do(newDialog(t, connect(t, s))); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

func TestAForcedCommandTakesTheHandlersPlace(t *testing.T) {
	key := newKey(t)
	s := Start(t, WithAuthorizedKeys(`command="deploy now" `+key.Line), OnExec("deploy", saying("deploy")), OnExec("rm", saying("rm")),
		OnShell(saying("shell")), OnSubsystem("netconf", saying("netconf")), WithRun(NotFound))
	for name, do := range map[string]func(*dialog) string{
		"exec": execute("rm -r"), "shell": shell, "subsystem": runSubsystem("netconf"),
	} {
		client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("alice", ssh.PublicKeys(key.Signer)))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		subsystem := map[string]string{"subsystem": "netconf"}[name]
		want := fmt.Sprintf("deploy: %s %q \"deploy now\"\nexit 0", name, subsystem)
		if got := do(newDialog(t, client)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestAHandlerSeesWhatTheClientAskedFor(t *testing.T) {
	sessions := make(chan Session, 1)
	s := Start(t, WithSettings("SetEnv FROM=admin"), WithRun(func(_ context.Context, s *Session) int {
		sessions <- *s
		return 0
	}))
	d := newDialog(t, connect(t, s))
	d.pty(80, 24, "")
	d.setenv("LC_X", "1")
	d.exec("show me")
	d.end()
	got := <-sessions
	if diff := cmp.Diff(&PTY{Term: "vt100", Window: Window{Columns: 80, Rows: 24}}, got.PTY, cmp.AllowUnexported(PTY{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"show me", "exec", "1", "admin", "vt100", "alice", "publickey"},
		[]string{got.Command, got.Request, got.Getenv("LC_X"), got.Getenv("FROM"), got.Getenv("TERM"), got.Getenv("USER"), got.Method}); diff != "" {
		t.Error(diff)
	}
	if got.Fingerprint != ssh.FingerprintSHA256(s.ClientKey().PublicKey()) || got.Getenv("NOT") != "" {
		t.Errorf("%+v", got)
	}
}

func TestAHandlerHasTheLatestWindowAndEverySignal(t *testing.T) {
	begun, look := make(chan struct{}), make(chan struct{})
	s := Start(t, WithRun(func(_ context.Context, s *Session) int {
		close(begun)
		<-look
		fmt.Fprint(s.Stdout, (<-s.Windows).Columns, " ", <-s.Signals, " ", <-s.Signals, " ", <-s.Signals, "\n")
		return 0
	}))
	d := newDialog(t, connect(t, s))
	d.pty(80, 24, "")
	d.exec("x")
	<-begun
	for columns := range uint32(100) {
		d.window(columns+1, 24)
	}
	answers := []string{d.signal("INT"), d.ask("break", struct{ Length uint32 }{0})}
	for range maxSignals {
		answers = append(answers, d.signal("USR1"))
	}
	close(look)
	if diff := cmp.Diff("100 INT BREAK USR1\r\nexit 0", d.end()); diff != "" {
		t.Error(diff)
	}
	want := append(slices.Repeat([]string{"yes"}, maxSignals), "no", "no")
	if diff := cmp.Diff(want, answers); diff != "" {
		t.Error("signals:", diff)
	}
}

func TestAHandlerCanEndBySignal(t *testing.T) {
	s := Start(t, WithRun(func(_ context.Context, s *Session) int {
		s.ExitSignal = &ExitSignal{Name: "ABRT", CoreDumped: true, Message: "on purpose"}
		return 3
	}))
	if got := execute("x")(newDialog(t, connect(t, s))); got != "SIGABRT core=true on purpose" {
		t.Error(got)
	}
	e := exitOf(t, s)
	if e.Status != nil || e.Signal != "ABRT" {
		t.Errorf("told: %s", e)
	}
}

func exitOf(t *testing.T, s *Server) Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	e, err := s.WaitFor(ctx, func(e Event) bool { return e.Kind == Exit })
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestATerminalsLinesEndInCRLF(t *testing.T) {
	s := Start(t, WithRun(func(_ context.Context, s *Session) int {
		for _, text := range []string{"one\n", "two\r", "\n\n", "three"} {
			if n, err := io.WriteString(s.Stdout, text); n != len(text) || err != nil {
				t.Errorf("wrote %d bytes, %v", n, err)
			}
		}
		fmt.Fprintln(s.Stderr, " four")
		return 0
	}))
	client := connect(t, s)
	for want, terminal := range map[string]bool{
		"one\r\ntwo\r\n\r\nthree four\r\nexit 0": true, "one\ntwo\r\n\nthreestderr:  four\nexit 0": false,
	} {
		d := newDialog(t, client)
		if terminal {
			d.pty(80, 24, "")
		}
		if got := execute("x")(d); got != want {
			t.Errorf("terminal %v: %q", terminal, got)
		}
	}
}

func TestVariablesAreBounded(t *testing.T) {
	s := Start(t, WithRun(func(_ context.Context, s *Session) int {
		own := slices.DeleteFunc(slices.Clone(s.Env), func(v string) bool { return !strings.HasPrefix(v, "LC_") })
		fmt.Fprint(s.Stdout, len(own))
		return 0
	}))
	d := newDialog(t, connect(t, s))
	granted := 0
	for i := range 1000 {
		if d.setenv(fmt.Sprintf("LC_%d", i), "x") == "yes" {
			granted++
		}
	}
	if got := execute("x")(d); got != "128exit 0" || granted != maxVariables {
		t.Errorf("%d granted, the program has %q", granted, got)
	}
	if told := len(s.Events()); told > 2*maxToldRequests {
		t.Errorf("%d events", told)
	}
	d = newDialog(t, connect(t, s))
	large := strings.Repeat("x", maxVariableBytes/2)
	if got := d.setenv("LC_A", large) + d.setenv("LC_B", large); got != "yesno" {
		t.Errorf("two of half the limit: %s", got)
	}
	for _, name := range []string{"", "LC_A=LC_B", "LC_\x00"} {
		if d.setenv(name, "x") == "yes" {
			t.Errorf("%q is a variable", name)
		}
	}
	if d.setenv("LC_C", "x\x00y") == "yes" {
		t.Error("a value with NUL was taken")
	}
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	s := Start(t, WithRun(NotFound))
	d := newDialog(t, connect(t, s))
	for _, request := range []string{"pty-req", "env", "exec", "subsystem"} {
		for _, payload := range []string{"", "\x00", "\xff\xff\xff\xff", "\x00\x00\x00\x09short"} {
			if ok, err := d.SendRequest(request, true, []byte(payload)); ok || err != nil {
				t.Errorf("%s %q: %v, %v", request, payload, ok, err)
			}
		}
	}
	if d.exec("a\x00b") == "yes" {
		t.Error("a command with NUL was taken")
	}
	if got := execute("fine")(d); got != "stderr: fine: command not found\nexit 127" {
		t.Error(got)
	}
}

func TestAPanicOfAHandlerIsTold(t *testing.T) {
	s := Start(t, WithRun(func(context.Context, *Session) int { panic("on purpose") }))
	if got := execute("x")(newDialog(t, connect(t, s))); got != "exit 255" {
		t.Error(got)
	}
	if !slices.ContainsFunc(s.Events(), func(e Event) bool { return e.Kind == Panicked && e.Reason == "on purpose" }) {
		t.Error("nobody is told")
	}
}

func TestASessionIsOverForTheCountBeforeTheClientKnows(t *testing.T) {
	s := Start(t, WithSettings("MaxSessions 1"), WithRun(func(context.Context, *Session) int { return 0 }))
	client := connect(t, s)
	for range 200 {
		if got := execute("x")(newDialog(t, client)); got != "exit 0" {
			t.Fatal(got)
		}
	}
}
