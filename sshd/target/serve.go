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

// maxStarting is how many connections may be on their way to a login at once; sshd's MaxStartups drops all above 100 too.
const maxStarting = 100

// acceptPause is how long Serve waits for files to be closed when it may open no more.
const acceptPause = 20 * time.Millisecond

// Serve serves every connection that l accepts until Close, and closes l. The error is never nil; after Close
// it is ErrClosed.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if !s.track(func() { s.listeners[l] = struct{}{} }) {
		return ErrClosed
	}
	defer s.untrack(func() { delete(s.listeners, l) })
	for {
		conn, err := l.Accept()
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ECONNABORTED) {
			time.Sleep(acceptPause)
			continue
		}
		if err != nil {
			return s.acceptError(l, err)
		}
		go func() {
			_ = s.ServeConn(conn)
		}()
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
	if !s.track(func() { s.conns[conn] = struct{}{} }) {
		return ErrClosed
	}
	defer s.untrack(func() { delete(s.conns, conn) })
	auth, err := s.authenticate(conn)
	if err != nil {
		return err
	}
	defer auth.over()
	defer logPanic("connection of " + auth.remote)
	s.ssh.HandleConn(&tiedConn{Conn: conn, auth: auth})
	return nil
}

// Close ends every session and connection, and returns when all are gone.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for l := range s.listeners {
		_ = l.Close()
	}
	for conn := range s.conns {
		_ = conn.Close()
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

// tiedConn carries a connection's authentication to where the library asks for its settings.
type tiedConn struct {
	net.Conn
	auth *authentication
}

// logPanic, deferred, keeps a panic in what serves one connection from ending the others.
func logPanic(what string) {
	if fault := recover(); fault != nil {
		fmt.Fprintf(os.Stderr, "panic in %s: %v\n%s", what, fault, debug.Stack())
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
