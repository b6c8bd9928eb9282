package target

import (
	"context"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

func TestTerminalModesAreReadAllOrNone(t *testing.T) {
	echoOff := "\x35\x00\x00\x00\x00"
	for name, test := range map[string]struct {
		encoded string
		want    []mode
	}{
		"none":               {"", nil},
		"the end alone":      {"\x00", nil},
		"one":                {echoOff + "\x00", []mode{{53, 0}}},
		"one, and no end":    {echoOff, []mode{{53, 0}}},
		"two":                {echoOff + "\x80\x00\x00\x96\x00\x00", []mode{{53, 0}, {128, 38400}}},
		"cut short":          {echoOff + "\x35\x00", nil},
		"behind the end":     {echoOff + "\x00" + echoOff, nil},
		"a code not defined": {echoOff + "\xa0\x00\x00\x00\x00\x00", nil},
	} {
		if diff := cmp.Diff(test.want, parseModes([]byte(test.encoded)), cmp.AllowUnexported(mode{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestWhoeverHoldsTheTerminalKeepsNobodyWaiting: the one that does is no more of the session, so that nobody ends it.
func TestWhoeverHoldsTheTerminalKeepsNobodyWaiting(t *testing.T) {
	for name, leave := range map[string]func(*Server, *ssh.Client, *dialog){
		"the server is closed":   func(s *Server, _ *ssh.Client, _ *dialog) { _ = s.Close() },
		"the connection is gone": func(_ *Server, c *ssh.Client, _ *dialog) { _ = c.Close() },
		"the channel is closed":  func(_ *Server, _ *ssh.Client, d *dialog) { _ = d.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			s := Start(t)
			client := connect(t, s)
			d := newDialog(t, client)
			d.pty(80, 24, "")
			d.exec("setsid sleep 1000 & echo $!; exec sleep 1000")
			holder := pidsIn(t, d, 1)[0]
			t.Cleanup(func() { _ = syscall.Kill(holder, syscall.SIGKILL) })
			await(t, "a session of its own", func() bool { return len(sessionMembers(holder)) == 1 })
			go leave(s, client, d)
			said(t, s, "exit", ofKind(Exit))
			if !alive(holder) {
				t.Error("the holder is dead: nothing is tested")
			}
		})
	}
}

// TestATerminalTakesMoreInputThanItHolds: who writes waits for the program to read.
func TestATerminalTakesMoreInputThanItHolds(t *testing.T) {
	d := newDialog(t, connect(t, Start(t)))
	d.pty(80, 24, "")
	d.exec("stty raw -echo; echo ready; head -c 300000 | cksum")
	d.wait("ready")
	text := strings.Repeat("0123456789", 30_000)
	d.send(text)
	if got := d.end(); !strings.Contains(got, " 300000\n") || !strings.HasSuffix(got, "exit 0") {
		t.Error(got)
	}
}

// stuck is a writer that returns when it is let go.
type stuck struct{ letGo chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	<-s.letGo
	return len(p), nil
}

func TestOutputThatNobodyTakesDoesNotKeepAShell(t *testing.T) {
	for name, pty := range map[string]*PTY{"pipes": nil, "terminal": {Term: "vt100"}} {
		t.Run(name, func(t *testing.T) {
			out := stuck{make(chan struct{})}
			defer close(out.letGo)
			ctx, end := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer end()
			over := make(chan int, 1)
			go func() {
				over <- Shell(ctx, &Session{
					Shell: "/bin/sh", Command: "echo x; exec sleep 1000", PTY: pty, Stdin: strings.NewReader(""), Stdout: out, Stderr: io.Discard,
				})
			}()
			select {
			case <-over:
			case <-time.After(10 * time.Second):
				t.Error("it waits")
			}
		})
	}
}
