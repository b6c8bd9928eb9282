package target

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"weak"
)

// onlyConnection is the connection that the server has.
func onlyConnection(t *testing.T, s *Server) *connection {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) != 1 {
		t.Fatalf("%d connections", len(s.conns))
	}
	for c := range s.conns {
		return c
	}
	return nil
}

func TestAListenerThatWasCancelledIsForgotten(t *testing.T) {
	s := Start(t)
	client := connect(t, s)
	l, err := client.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := onlyConnection(t, s)
	c.forwards.mu.Lock()
	listener := weak.Make(c.forwards.listeners[0])
	c.forwards.mu.Unlock()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, "the listener is forgotten", func() bool { runtime.GC(); return listener.Value() == nil })
	onlyConnection(t, s) // whose end would have it forgotten too
}

// TestAnAgentThatNeverAnswersKeepsNoSession: the client leaves the channel to its agent open for ever, neither granted nor refused.
func TestAnAgentThatNeverAnswersKeepsNoSession(t *testing.T) {
	ask, sockets := make(chan struct{}), make(chan string, 1)
	s := Start(t, WithRun(func(_ context.Context, s *Session) int {
		conn, err := net.Dial("unix", s.Agent)
		if err != nil {
			t.Error(err)
			return 1
		}
		defer conn.Close()
		<-ask
		sockets <- s.Agent
		return 0
	}))
	client := connect(t, s)
	offers := client.HandleChannelOpen("auth-agent@openssh.com")
	for range 3 {
		d := newDialog(t, client)
		forwardAgent(d)
		d.exec("x")
		<-offers
		ask <- struct{}{}
		if got := d.end(); got != "exit 0" {
			t.Error(got)
		}
		socket := <-sockets
		await(t, "the end of "+socket, func() bool { _, err := os.Stat(filepath.Dir(socket)); return os.IsNotExist(err) })
	}
	w := &onlyConnection(t, s).watch
	await(t, "the end of all sessions", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.channels == 0 })
}

// TestOnlySoManyChannelsToAnAgentWait: the rest is closed at once.
func TestOnlySoManyChannelsToAnAgentWait(t *testing.T) {
	asked := make(chan struct{})
	s := Start(t, WithRun(func(_ context.Context, s *Session) int {
		conn, err := net.Dial("unix", s.Agent)
		if err != nil {
			t.Error(err)
			return 1
		}
		defer conn.Close()
		if s.Command == "wait" {
			_, _ = conn.Read(make([]byte, 1)) // as long as nobody answers
		} else {
			<-asked
		}
		return 0
	}))
	client := connect(t, s)
	offers := client.HandleChannelOpen("auth-agent@openssh.com")
	for range maxAgentsAsked {
		d := newDialog(t, client)
		forwardAgent(d)
		d.exec("ask and go")
		<-offers
		asked <- struct{}{}
		if got := d.end(); got != "exit 0" {
			t.Fatal(got)
		}
	}
	d := newDialog(t, client)
	forwardAgent(d)
	d.exec("wait")
	if got := d.end(); got != "exit 0" {
		t.Error(got)
	}
}
