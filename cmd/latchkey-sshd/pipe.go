package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// stdinConn is the connection that standard input and output are: one socket, or a pipe for each direction, as
// ssh's ProxyCommand has them.
func stdinConn(in, out *os.File) (net.Conn, error) {
	switch kind, err := kindOf(in); {
	case err != nil:
		return nil, err
	case kind == unix.S_IFSOCK:
		return net.FileConn(in)
	case kind != unix.S_IFIFO:
		return nil, errors.New("standard input is no socket and no pipe; -i serves a connection")
	}
	kind, err := kindOf(out)
	if err != nil {
		return nil, err
	}
	if kind != unix.S_IFIFO && kind != unix.S_IFSOCK {
		return nil, errors.New("standard input is a pipe, and standard output is not; -i serves a connection")
	}
	c := &pipeConn{}
	if c.in, err = pollable(in); err != nil {
		return nil, err
	}
	c.out, err = pollable(out)
	return c, err
}

// kindOf is the type of a file, as in inode(7).
func kindOf(file *os.File) (uint32, error) {
	var info unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &info); err != nil {
		return 0, fmt.Errorf("stat %s: %w", file.Name(), err)
	}
	return info.Mode & unix.S_IFMT, nil
}

// pollable is the same file once more, whose deadlines hold and whose reads end when it is closed.
func pollable(file *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate %s: %w", file.Name(), err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("duplicate %s: %w", file.Name(), err)
	}
	return os.NewFile(uintptr(fd), file.Name()), nil
}

// pipeConn is a connection of two pipes. It has no addresses.
type pipeConn struct{ in, out *os.File }

// nowhere is the address of what has none.
type nowhere struct{}

func (nowhere) Network() string { return "pipe" }
func (nowhere) String() string  { return "UNKNOWN" }

func (c *pipeConn) Read(p []byte) (int, error)         { return c.in.Read(p) }
func (c *pipeConn) Write(p []byte) (int, error)        { return c.out.Write(p) }
func (c *pipeConn) LocalAddr() net.Addr                { return nowhere{} }
func (c *pipeConn) RemoteAddr() net.Addr               { return nowhere{} }
func (c *pipeConn) SetReadDeadline(t time.Time) error  { return c.in.SetReadDeadline(t) }
func (c *pipeConn) SetWriteDeadline(t time.Time) error { return c.out.SetWriteDeadline(t) }

func (c *pipeConn) SetDeadline(t time.Time) error {
	return errors.Join(c.in.SetReadDeadline(t), c.out.SetWriteDeadline(t))
}

func (c *pipeConn) Close() error { return errors.Join(c.in.Close(), c.out.Close()) }
