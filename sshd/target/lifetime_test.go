package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

func TestBothCutWhoDoesNotLogInWithinLoginGraceTime(t *testing.T) {
	t.Parallel()
	w := newTwins(t, "LoginGraceTime 1\n")
	got := w.agree(t, func(t *testing.T, at twin) string {
		began := time.Now()
		heard(t, at.addr)
		return fmt.Sprint("cut after a second: ", time.Since(began) >= time.Second)
	})
	if got != "cut after a second: true" {
		t.Error(got)
	}
	if got := eventOf(t, w.ours, Disconnected).Reason; got != "LoginGraceTime: nobody has logged in within 1s" {
		t.Errorf("reason: %s", got)
	}
}

func TestBothEndTheConnectionAfterMaxAuthTries(t *testing.T) {
	w := newTwins(t, "MaxAuthTries 3\n")
	got := w.agree(t, func(_ *testing.T, at twin) string {
		tries := 0
		_, err := at.login(ssh.RetryableAuthMethod(ssh.PasswordCallback(func() (string, error) {
			tries++
			return "wrong", nil
		}), 10))
		return fmt.Sprintf("%d tries, disconnected: %v", tries, strings.Contains(strings.ToLower(err.Error()), "too many authentication failures"))
	})
	if got != "3 tries, disconnected: true" {
		t.Error(got)
	}
	if got := eventOf(t, w.ours, Disconnected).Reason; !strings.Contains(got, "too many authentication failures") {
		t.Errorf("reason: %s", got)
	}
}

// deaf logs in and then answers nothing.
func deaf(t *testing.T, at twin) ssh.Conn {
	t.Helper()
	conn, _, _, err := ssh.NewClientConn(dial(t, at.addr), at.addr, &ssh.ClientConfig{
		User: "alice", Auth: []ssh.AuthMethod{ssh.Password("tulip")},
		HostKeyCallback: ssh.FixedHostKey(at.hostKey), HostKeyAlgorithms: []string{at.hostKey.Type()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestBothCutAClientThatGivesNoSignOfLife(t *testing.T) {
	t.Parallel()
	w := newTwins(t, "ClientAliveInterval 1\nClientAliveCountMax 1\n", alice())
	got := w.agree(t, func(t *testing.T, at twin) string {
		began := time.Now()
		_ = deaf(t, at).Wait()
		return fmt.Sprint("cut after two intervals: ", time.Since(began) >= 2*time.Second)
	})
	if got != "cut after two intervals: true" {
		t.Error(got)
	}
	if got := eventOf(t, w.ours, Disconnected).Reason; !strings.HasPrefix(got, "ClientAliveCountMax: no sign of the client for 2") {
		t.Errorf("reason: %s", got)
	}
}

func TestBothKeepAClientThatAnswers(t *testing.T) {
	t.Parallel()
	w := newTwins(t, "ClientAliveInterval 1\nClientAliveCountMax 1\n", alice())
	got := w.agree(t, func(t *testing.T, at twin) string {
		client, err := at.login(ssh.Password("tulip"))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		session, err := client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		out, err := session.Output("sleep 2.5; echo there")
		return fmt.Sprintf("%q %v", out, err)
	})
	if got != `"there\n" <nil>` {
		t.Error(got)
	}
}

func TestBothCutAConnectionWithoutChannels(t *testing.T) {
	t.Parallel()
	w := newTwins(t, "UnusedConnectionTimeout 1\n", alice())
	got := w.agree(t, func(t *testing.T, at twin) string {
		client, err := at.login(ssh.Password("tulip"))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		out, status := run(t, client, "sleep 1.5; echo used")
		_ = client.Wait() // unused from here on
		return fmt.Sprintf("%q %d, then cut", out, status)
	})
	if got != `"used\n" 0, then cut` {
		t.Error(got)
	}
	if got := eventOf(t, w.ours, Disconnected).Reason; got != "UnusedConnectionTimeout: no channel was open for 1s" {
		t.Errorf("reason: %s", got)
	}
}

func TestAnIdleConnectionIsCut(t *testing.T) {
	s := Start(t, WithIdleTimeout(time.Second))
	client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("alice"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_ = client.Wait()
	if got := eventOf(t, s, Disconnected).Reason; got != "idle: nothing was sent or received for 1s" {
		t.Errorf("reason: %s", got)
	}
}

func TestTheReasonTellsWhoEndedTheConnection(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(t *testing.T, s *Server)
		want string
	}{
		{"left before its version", func(t *testing.T, s *Server) { _ = dial(t, s.Addr().String()).Close() }, "the client left"},
		{"left after the login", func(t *testing.T, s *Server) {
			client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("alice"))
			if err != nil {
				t.Fatal(err)
			}
			_ = client.Close()
		}, "the client left"},
		{"speaks something else", func(t *testing.T, s *Server) {
			_, _ = io.WriteString(dial(t, s.Addr().String()), "SSH-2.0-x\r\n\x00\x00\x00\x01garbage")
		}, "small"},
		{"the server closes", func(t *testing.T, s *Server) {
			hold(t, s.Addr().String(), 1)
			_ = s.Close()
		}, "the server was closed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := Start(t)
			test.do(t, s)
			if got := eventOf(t, s, Disconnected).Reason; !strings.Contains(got, test.want) {
				t.Errorf("reason: %s", got)
			}
		})
	}
}

func TestADelayIsDoubledUntilItIsLongerThanWhatPassed(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct{ passed, want time.Duration }{
		{0, 5 * ms},
		{3 * ms, 2 * ms},
		{6 * ms, 4 * ms},
		{21 * ms, 19 * ms},
		{6 * time.Second, 0}, // more than sshd ever waits for
	} {
		if got := remainingDelay(5*ms, test.passed); got != test.want {
			t.Errorf("after %v: %v, want %v", test.passed, got, test.want)
		}
	}
}

func TestEveryRefusalButThatOfNoneTakesItsTime(t *testing.T) {
	const least = 300 * time.Millisecond
	s := Start(t, alice(), WithFailureDelay(least))
	for _, test := range []struct {
		name, user string
		method     ssh.AuthMethod
		delayed    bool
	}{
		{"only none", "alice", nil, false},
		{"wrong password", "alice", ssh.Password("wrong"), true},
		{"unknown user", "bob", ssh.Password("wrong"), true},
		{"a method that is off", "alice", ssh.PublicKeys(newKey(t).Signer), false}, // the client does not even try
		{"right password", "alice", ssh.Password("tulip"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := s.ClientConfig(test.user, test.method)
			if test.method == nil {
				config.Auth = nil
			}
			began := time.Now()
			if client, err := ssh.Dial("tcp", s.Addr().String(), config); err == nil {
				_ = client.Close()
			}
			if took := time.Since(began); (took >= least) != test.delayed {
				t.Errorf("took %v", took)
			}
		})
	}
}

// scarce is a listener on a machine that is out of files at first.
type scarce struct {
	net.Listener
	failures int
	asked    *int
}

func (l *scarce) Accept() (net.Conn, error) {
	*l.asked++
	if *l.asked <= l.failures {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}

func TestWithoutAFreeFileAcceptWaitsAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New()
		if err != nil {
			t.Fatal(err)
		}
		began, asked := time.Now(), 0
		err = s.Serve(&scarce{Listener: closedListener{}, failures: 3, asked: &asked})
		if !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if diff := cmp.Diff(3*acceptPause, time.Since(began)); diff != "" || asked != 4 {
			t.Errorf("asked %d times\n%s", asked, diff)
		}
	})
}

// closedListener has been closed.
type closedListener struct{ net.Listener }

func (closedListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (closedListener) Close() error              { return nil }
func (closedListener) Addr() net.Addr            { return &net.TCPAddr{} }

func TestCloseDoesNotWaitForAFileToBecomeFree(t *testing.T) {
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	began := time.Now()
	s.pause(time.Hour)
	if time.Since(began) > time.Minute {
		t.Error("the pause outlived the server")
	}
}

func TestTheEndOfAConnectionIsTheLastThatIsToldOfIt(t *testing.T) {
	var s *Server
	early := make(chan bool, 1)
	s = Start(t, OnExec("linger", func(ctx context.Context, _ *Session) int {
		<-ctx.Done()
		soon, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		_, err := s.WaitFor(soon, func(e Event) bool { return e.Kind == Disconnected })
		early <- err == nil
		return 0
	}))
	client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("alice"))
	if err != nil {
		t.Fatal(err)
	}
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start("linger"); err != nil {
		t.Fatal(err)
	}
	_ = client.Close()
	if <-early {
		t.Error("the end of the connection was told before that of its session")
	}
	eventOf(t, s, Disconnected)
}
