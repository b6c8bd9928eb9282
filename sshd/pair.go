package sshd

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// clientPair is a connection of this machine with itself: our end, and theirs
// as the file that becomes sshd's standard input and output.
//
// It is one of TCP over loopback, so that sshd meets the client that it would
// meet from this machine: AllowUsers USER@127.0.0.1 knows it. A client without
// an address is "UNKNOWN" to sshd, a name that PAM looks up in DNS at every
// logon. Only where there is no loopback a socket pair has to do.
func (d *Daemon) clientPair(ctx context.Context) (net.Conn, *os.File, error) {
	if ours, theirs, err := d.Loopback(ctx); err == nil {
		return &ending{ours}, theirs, nil
	}
	return socketPair()
}

// ending is a connection whose Close ends it for the other side, even if a process
// that made it has kept a descriptor of our end.
type ending struct{ net.Conn }

func (e *ending) Close() error {
	if tcp, ok := e.Conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite() // shutdown(2)
	}
	return e.Conn.Close()
}

// LoopbackPair is a TCP connection of this machine with itself: one end, and the
// other as a file. It listens for as long as it takes to connect.
func LoopbackPair(context.Context) (net.Conn, *os.File, error) {
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, nil, fmt.Errorf("make a loopback connection: %w", err)
	}
	defer listener.Close()
	_ = listener.SetDeadline(time.Now().Add(dialTimeout))
	ours, err := net.DialTimeout("tcp4", listener.Addr().String(), dialTimeout)
	if err != nil {
		return nil, nil, fmt.Errorf("make a loopback connection: %w", err)
	}
	theirs, err := acceptFrom(listener, ours.LocalAddr())
	if err != nil {
		ours.Close()
		return nil, nil, fmt.Errorf("make a loopback connection: %w", err)
	}
	return ours, theirs, nil
}

// acceptFrom takes the connection that comes from client. Another process may
// have been faster with one of its own, which is closed.
func acceptFrom(listener *net.TCPListener, client net.Addr) (*os.File, error) {
	for {
		conn, err := listener.AcceptTCP()
		if err != nil {
			return nil, err
		}
		if conn.RemoteAddr().String() != client.String() {
			conn.Close()
			continue
		}
		defer conn.Close()
		return conn.File()
	}
}

// socketPair is a connected pair of sockets without addresses.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "sshd's end")
	file := os.NewFile(uintptr(fds[0]), "our end")
	defer file.Close()
	ours, err := net.FileConn(file)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	return ours, theirs, nil
}
