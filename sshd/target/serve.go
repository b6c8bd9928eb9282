package target

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"syscall"
	"time"
)

// acceptPause is how long Serve waits for files to be closed when it may open no more.
const acceptPause = 20 * time.Millisecond

// Serve serves every connection that l accepts until Close, and closes l. The error is never nil; after Close
// it is ErrClosed.
func (s *Server) Serve(l net.Listener) error {
	if !s.track(func() { s.listeners[l] = struct{}{} }) {
		_ = l.Close()
		return ErrClosed
	}
	return s.accept(l)
}

// accept serves a listener that is tracked.
func (s *Server) accept(l net.Listener) error {
	defer s.untrack(func() { delete(s.listeners, l) })
	defer l.Close()
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			go func() {
				_ = s.ServeConn(conn)
			}()
		case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
			s.pause(acceptPause)
		case errors.Is(err, syscall.ECONNABORTED):
		default:
			return s.acceptError(l, err)
		}
	}
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
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	return fmt.Errorf("accept on %s: %w", l.Addr(), err)
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
	for l := range s.listeners {
		_ = l.Close()
	}
	for c := range s.conns {
		c.cut("the server was closed")
	}
	s.mu.Unlock()
	s.running.Wait()
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
		c.tell(Event{Kind: Panicked, Reason: fmt.Sprint(fault)})
		fmt.Fprintf(os.Stderr, "panic in a connection from %s: %v\n%s", c.remote, fault, debug.Stack())
	}
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
