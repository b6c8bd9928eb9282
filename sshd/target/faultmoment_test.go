package target

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// after is what comes after each moment, by what is told of it: nothing of it may be told where the connection ends or falls
// silent at the moment.
var after = map[Moment][]string{
	AtVersion:     {"auth none", "auth publickey", "command", "exit"},
	AtKeyExchange: {"auth none", "auth publickey", "command", "exit"},
	AtKeyReply:    {"auth none", "auth publickey", "command", "exit"},
	AtAuth:        {"auth none", "auth publickey", "command", "exit"},
	AtQuery:       {"auth publickey", "command", "exit"},
	AtSignature:   {"auth publickey accepted", "auth publickey failed", "command", "exit"},
	AtSession:     {"request", "command", "exit"},
	AtCommand:     {"request", "command", "exit"},
	AtExit:        {},
}

// told is what a server tells of a connection, from its first event to its last.
func told(t *testing.T, s *Server) string {
	t.Helper()
	eventOf(t, s, Disconnected)
	var all []string
	for _, e := range s.Events() {
		all = append(all, strings.Join(strings.Fields(string(e.Kind)+" "+e.Method+" "+string(e.Verdict)), " "))
	}
	return strings.Join(all, "\n")
}

func TestWhatComesAfterTheEndDoesNotHappen(t *testing.T) {
	for _, fault := range []func(Moment) Fault{Silent, Disconnect} {
		for _, at := range moments {
			f := fault(at)
			t.Run(f.String(), func(t *testing.T) {
				t.Parallel()
				ran := make(chan bool, 1)
				s := Start(t, WithFault(f), WithRun(func(context.Context, *Session) int { ran <- true; return 0 }))
				conn := dial(t, s.Addr().String())
				ended := make(chan error, 1)
				go func() { ended <- useConn(conn, s) }()
				eventOf(t, s, Misbehaved)
				if strings.HasPrefix(f.String(), "silent") {
					_ = conn.Close()
				}
				if <-ended == nil {
					t.Error("the client got an answer")
				}
				events := told(t, s)
				for _, unwanted := range after[at] {
					if strings.Contains(events, unwanted) {
						t.Errorf("%s was told:\n%s", unwanted, events)
					}
				}
				if got := len(ran) > 0; got != (at == AtExit) {
					t.Errorf("a command ran: %v", got)
				}
				if got := eventOf(t, s, Disconnected).Reason; got != "fault "+f.String() {
					t.Errorf("reason: %s", got)
				}
			})
		}
	}
}

func TestWhatAClientDidNotWaitForDoesNotHappen(t *testing.T) {
	for _, at := range []Moment{AtSession, AtCommand} {
		t.Run(string(at), func(t *testing.T) {
			t.Parallel()
			ran := make(chan bool, 1)
			s := Start(t, WithFault(Slow(at, 200*time.Millisecond)), WithRun(func(context.Context, *Session) int { ran <- true; return 0 }))
			conn := dial(t, s.Addr().String())
			ended := make(chan error, 1)
			go func() { ended <- useConn(conn, s) }()
			eventOf(t, s, Misbehaved)
			_ = conn.Close()
			<-ended
			if events := told(t, s); len(ran) > 0 || strings.Contains(events, "command") {
				t.Errorf("the command ran:\n%s", events)
			}
		})
	}
}

// After the client was told why it cannot log in, the server may be closed at any time.
func TestTheReasonIsThatOfTheKeyExchangeWhateverComesNext(t *testing.T) {
	old := testmachine.NewKey(t, "rsa-2048").Signer // made once: each server would make its own
	for range 40 {
		s := misbehaves(t, WithHostKey(old), WithFault(OldAlgorithms()))
		if err := use(s); err == nil || !strings.Contains(err.Error(), "no common algorithm") {
			t.Fatal(err)
		}
		_ = s.Close()
		if got := eventOf(t, s, Disconnected).Reason; !strings.Contains(got, "no common algorithm") {
			t.Fatalf("reason: %s", got)
		}
	}
}

func TestTheReasonIsTheSilenceWhoeverLeavesThen(t *testing.T) {
	for range 40 {
		s := misbehaves(t, WithFault(Silent(AtCommand)))
		client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("alice"))
		if err != nil {
			t.Fatal(err)
		}
		session, err := client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- session.Run("true") }()
		eventOf(t, s, Misbehaved)
		_ = client.Close()
		<-ended
		if got := eventOf(t, s, Disconnected).Reason; got != "fault silent:command" {
			t.Fatalf("reason: %s", got)
		}
	}
}

func TestAServerThatIsClosedHasNothingMoreToTell(t *testing.T) {
	s := Start(t)
	waiting := make(chan error, 1)
	go func() {
		_, err := s.WaitFor(context.Background(), func(Event) bool { return false })
		waiting <- err
	}()
	_ = s.Close()
	if err := <-waiting; !errors.Is(err, ErrClosed) {
		t.Errorf("one who waited: %v", err)
	}
	if _, err := s.WaitFor(context.Background(), func(Event) bool { return false }); !errors.Is(err, ErrClosed) {
		t.Errorf("one who comes later: %v", err)
	}
}

func TestCloseTellsEverythingBeforeWaitForGivesUp(t *testing.T) {
	s := misbehaves(t)
	if err := use(s); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	e, err := s.WaitFor(context.Background(), func(e Event) bool { return e.Kind == Disconnected })
	if diff := cmp.Diff(Disconnected, e.Kind); diff != "" || err != nil {
		t.Error(err, diff)
	}
}
