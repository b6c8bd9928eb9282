package sshd

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// TestAStrangersConnectionIsNotTakenForOurs: for a moment anybody on the
// machine can connect.
func TestAStrangersConnectionIsNotTakenForOurs(t *testing.T) {
	t.Parallel()
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var conns [2]net.Conn
	for i := range conns { // the stranger first
		if conns[i], err = net.Dial("tcp4", listener.Addr().String()); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
	}
	theirs, err := acceptFrom(listener, conns[1].LocalAddr())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.WriteString("ours"); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	for i, want := range []string{"", "ours"} {
		if got, err := io.ReadAll(conns[i]); string(got) != want || err != nil {
			t.Errorf("client %d was told %q, %v, want %q", i, got, err, want)
		}
	}
}

// TestAConnectionThatSomebodyKeepsEndsAllTheSame: else sshd would wait for it.
func TestAConnectionThatSomebodyKeepsEndsAllTheSame(t *testing.T) {
	t.Parallel()
	var kept *os.File
	d := New(Daemon{Loopback: func(ctx context.Context) (net.Conn, *os.File, error) {
		ours, theirs, err := LoopbackPair(ctx)
		if err == nil {
			kept, err = ours.(*net.TCPConn).File()
		}
		return ours, theirs, err
	}})
	ours, theirs, err := d.clientPair(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	defer theirs.Close()
	if err := ours.Close(); err != nil {
		t.Fatal(err)
	}
	conn, err := net.FileConn(theirs)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read %d, %v; want the end", n, err)
	}
}

func TestLoopbackPairHasLoopbackAddresses(t *testing.T) {
	t.Parallel()
	ours, theirs, err := LoopbackPair(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	defer theirs.Close()
	if host, _, _ := net.SplitHostPort(ours.LocalAddr().String()); host != "127.0.0.1" {
		t.Errorf("our end is at %s, want 127.0.0.1", host)
	}
}
