package target

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

// failing is a listener whose first calls of accept fail.
type failing struct {
	net.Listener
	mu   sync.Mutex
	errs []error
}

func (l *failing) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.errs) == 0 {
		return nil, net.ErrClosed
	}
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", err)}
}

func TestNoSingleConnectionEndsAListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New()
		if err != nil {
			t.Fatal(err)
		}
		l := &failing{Listener: closedListener{}, errs: []error{
			syscall.ECONNABORTED, syscall.EPROTO, syscall.ENETDOWN, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EPERM,
			syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		}}
		began := time.Now()
		err = s.Serve(l)
		if !errors.Is(err, net.ErrClosed) || len(l.errs) > 0 {
			t.Errorf("%v; not met: %v", err, l.errs)
		}
		if diff := cmp.Diff(4*acceptPause, time.Since(began)); diff != "" {
			t.Errorf("paused: %s", diff)
		}
		_ = s.Close()
	})
}

func TestTheEndOfAListenerIsTold(t *testing.T) {
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Serve(&failing{Listener: closedListener{}, errs: []error{syscall.EINVAL}}); !errors.Is(err, syscall.EINVAL) {
		t.Error(err)
	}
	e := eventOf(t, s, ListenerFailed)
	want := `accept on :0: accept tcp: accept4: invalid argument`
	if diff := cmp.Diff(want, e.Reason); diff != "" {
		t.Error(diff)
	}
	if line := e.String(); strings.Contains(line, "connection") {
		t.Errorf("it is told of a connection: %s", line)
	}
}

func TestTheAddressIsThatOfTheFirstListener(t *testing.T) {
	s := Start(t)
	first, known := s.Addr(), s.KnownHosts()
	var all []string
	for range 5 {
		addr, err := s.Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("[127.0.0.1]:%d ", addr.(*net.TCPAddr).Port))
		if s.Addr() != first {
			t.Fatalf("the address is %v, was %v", s.Addr(), first)
		}
	}
	lines := strings.SplitAfter(s.KnownHosts(), "\n")
	if lines[0] != known || len(lines) != 7 {
		t.Fatalf("known_hosts: %q", lines)
	}
	for i, address := range all {
		if !strings.HasPrefix(lines[i+1], address) {
			t.Errorf("line %d is not for %s: %s", i+1, address, lines[i+1])
		}
	}
}

// patient is a test that hears what is logged for it.
type patient struct {
	testing.TB
	said chan string
}

func (p patient) Logf(format string, args ...any) { p.said <- fmt.Sprintf(format, args...) }

func TestATestHearsWhichHandlerItIsWaitingFor(t *testing.T) {
	release := make(chan struct{})
	s, err := New(WithRun(func(context.Context, *Session) int { <-release; return 0 }))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("alice"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start("sleep for ever"); err != nil {
		t.Fatal(err)
	}
	hears := patient{t, make(chan string, 1)}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		closeFor(hears, s, time.Millisecond)
	}()
	want := `the SSH server waits for handlers that do not return although their context has ended: alice's exec "sleep for ever"`
	if diff := cmp.Diff(want, <-hears.said); diff != "" {
		t.Error(diff)
	}
	close(release)
	<-closed
	if left := s.unfinished(); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
}

func TestAnEventsLineSaysWhenAndWhoseClient(t *testing.T) {
	when := time.Date(2030, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	e := Event{Time: when, Connection: 7, Kind: Auth, Remote: "192.0.2.1", Client: "SSH-2.0-x", User: "ada", Verdict: Failed}
	want := `2030-01-02T03:04:05.006Z connection 7 from 192.0.2.1: auth client="SSH-2.0-x" user="ada" verdict="failed"`
	if diff := cmp.Diff(want, e.String()); diff != "" {
		t.Error(diff)
	}
}
