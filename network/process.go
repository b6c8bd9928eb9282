package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/internal/asuser"
)

const (
	// Command is the argument by which every program of ours that has privilege
	// becomes the network process instead.
	Command = "network"
	// SocketPath is where systemd starts one for whoever connects, as the unit
	// latchkey-network.socket says.
	SocketPath = "/run/latchkey/network"
	// User is the account that the process belongs to, and nobody the one where
	// there is no such account.
	User   = "latchkey"
	nobody = 65534
)

// Unprivileged is a Side in a process without privilege: one that systemd starts
// and confines, where the unit for it is there; else a child of this process,
// which is to be a program that calls ServeInherited when its argument is
// Command. Where systemd listens there is no other way, whatever becomes of the
// processes that it starts: who can spoil them must not get one that is less
// confined. root is the root folder of the instance that is served.
func Unprivileged(root string) *Remote {
	if root != "/" {
		return &Remote{connect: startChild}
	}
	return &Remote{connect: connectSystem}
}

func connectSystem(ctx context.Context) (*link, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unixpacket", SocketPath)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) { // nobody listens
		return startChild(ctx)
	}
	if err != nil {
		return nil, err
	}
	return &link{UnixConn: conn.(*net.UnixConn)}, nil
}

// startChild starts this very program as the network process.
func startChild(context.Context) (*link, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket pair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "network")
	defer theirs.Close()
	conn, err := unixConn(os.NewFile(uintptr(fds[0]), "network"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe", Command)
	cmd.Args[0] = filepath.Base(os.Args[0])
	cmd.Env, cmd.Dir = []string{}, "/"
	cmd.Stdin, cmd.Stderr = theirs, os.Stderr
	cmd.WaitDelay = time.Second
	if err := asuser.Start(cmd, credentials()); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("start the network process: %w", err)
	}
	go func() { _ = cmd.Wait() }() // it is only to be reaped: what it had to say, it has said
	return &link{UnixConn: conn, child: cmd.Process}, nil
}

// credentials are whose the child is to be: an account of its own, else that of
// nobody. Without privilege there is none to be given up.
func credentials() asuser.Credentials {
	if os.Geteuid() != 0 {
		return asuser.Credentials{UID: os.Geteuid(), GID: os.Getegid()}
	}
	if own, err := account.Lookup("/", User); err == nil && own.UID != 0 {
		return asuser.Credentials{UID: own.UID, GID: own.GID}
	}
	return asuser.Credentials{UID: nobody, GID: nobody}
}

// unixConn is the socket in file, which is closed.
func unixConn(file *os.File) (*net.UnixConn, error) {
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("use %s as a socket: %w", file.Name(), err)
	}
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		_ = conn.Close()
		return nil, ErrNoSocket
	}
	return socket, nil
}

// ErrNoSocket tells that nobody is there to be served.
var ErrNoSocket = errors.New("standard input is not a socket: this command is started by systemd, or by latchkey itself")

// ServeInherited serves the connection that is this process's standard input.
func ServeInherited(ctx context.Context) error {
	conn, err := unixConn(os.Stdin)
	if err != nil {
		return ErrNoSocket
	}
	return Serve(ctx, conn)
}
