package target

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"syscall"
	"time"
)

// acceptPause is how long Serve waits for files to be closed when it may open no more.
const acceptPause = 20 * time.Millisecond

// Serve serves every connection that l accepts until Close, and closes l. The error is never nil; after Close
// it is ErrClosed.
func (s *Server) Serve(l net.Listener) error {
	if !s.track(func() { s.listeners = append(s.listeners, l) }) {
		_ = l.Close()
		return ErrClosed
	}
	return s.accept(l)
}

// accept serves a listener that is tracked.
func (s *Server) accept(l net.Listener) error {
	defer s.untrack(func() { s.listeners = slices.DeleteFunc(s.listeners, func(of net.Listener) bool { return of == l }) })
	defer l.Close()
	for {
		conn, err := acceptNext(l, s.pause)
		if err != nil {
			return s.acceptError(l, err)
		}
		go func() {
			_ = s.ServeConn(conn)
		}()
	}
}

// acceptNext is the next connection of a listener, or why there will be none any more.
func acceptNext(l net.Listener, pause func(time.Duration)) (net.Conn, error) {
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			return conn, nil
		case isOneOf(err, scarcities):
			pause(acceptPause)
		case isOneOf(err, mishaps):
		default:
			return nil, err
		}
	}
}

// What accept(2) fails with and a listener survives: the machine is short of something for a while; a single connection was gone, or
// not wanted by a firewall, before it was fetched.
var (
	scarcities = []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM}
	mishaps    = []error{
		syscall.ECONNABORTED, syscall.EINTR, syscall.EPERM, syscall.EPROTO, syscall.ENOPROTOOPT, syscall.ENETDOWN, syscall.ENETUNREACH,
		syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ENONET,
	}
)

func isOneOf(err error, of []error) bool {
	return slices.ContainsFunc(of, func(one error) bool { return errors.Is(err, one) })
}

// pause waits, but not for longer than until Close.
func (s *Server) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.closing:
	}
}

func (s *Server) acceptError(l net.Listener, err error) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return ErrClosed
	}
	err = fmt.Errorf("accept on %s: %w", l.Addr(), err)
	s.tell(Event{Kind: ListenerFailed, Reason: err.Error()})
	return err
}

// ServeConn serves one connection to its end and closes it. It returns an error only where nothing was
// served: after Close, and when too many connections are on their way to a login already.
func (s *Server) ServeConn(conn net.Conn) error {
	defer conn.Close()
	c := s.newConnection(conn)
	if !s.track(func() { s.conns[c] = struct{}{} }) {
		return ErrClosed
	}
	defer s.untrack(func() { delete(s.conns, c) })
	if err := c.begin(); err != nil {
		return err
	}
	defer c.finish()
	defer c.panicked()
	c.library().HandleConn(&wire{Conn: &readAheadConn{Conn: acknowledgingQuickly(conn)}, connection: c})
	return nil
}

// Close ends every session and connection, and returns when all are gone.
func (s *Server) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	for _, l := range s.listeners {
		_ = l.Close()
	}
	for c := range s.conns {
		c.close()
	}
	s.mu.Unlock()
	s.running.Wait()
	s.record.end()
	return nil
}

func (s *Server) track(add func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Add(1)
	add()
	return true
}

func (s *Server) untrack(remove func()) {
	s.mu.Lock()
	remove()
	s.mu.Unlock()
	s.running.Done()
}

// panicked, deferred, keeps a panic in what serves one connection, or a part of it, from ending the others.
func (c *connection) panicked() {
	if fault := recover(); fault != nil {
		c.tellPanic(fault)
	}
}

// tellPanic is for who has recovered from a panic, while the stack is still there.
func (c *connection) tellPanic(fault any) {
	c.tell(Event{Kind: Panicked, Reason: fmt.Sprint(fault)})
	fmt.Fprintf(os.Stderr, "panic in a connection from %s: %v\n%s", c.remote, fault, debug.Stack())
}

// host is the address of one end without its port, in the form that sshd compares: an IPv4 address
// mapped into IPv6 is IPv4. What has no address, such as a socket pair, is "UNKNOWN".
func host(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return "UNKNOWN"
	}
	return tcp.AddrPort().Addr().Unmap().String()
}

func port(addr net.Addr) int {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 65535
}
