package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	"github.com/latchkey-ssh/latchkey/internal/tree"
)

// The status socket: whoever connects is sent one Report as JSON.
const (
	socketName   = "socket"
	socketAnswer = 5 * time.Second
)

// ErrRunning tells that another agent already serves the instance.
var ErrRunning = errors.New("an agent already runs on this instance")

// ErrNotRunning tells that no agent answers on the status socket.
var ErrNotRunning = errors.New("no agent runs on this instance")

func (a *Agent) socketPath() string { return filepath.Join(a.root, RunDir, socketName) }

// listen opens the status socket of the agent that has claimed the instance, and so has
// found that no link leads to another's.
// One that is left over from an agent that died is taken away.
func (a *Agent) listen() (net.Listener, error) {
	path := a.socketPath()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open the status socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the status socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return nil, fmt.Errorf("open the status socket: %w", err)
	}
	return listener, nil
}

// serve answers on the status socket until it is closed. report makes the
// answer.
func serve(ctx context.Context, listener net.Listener, report func(context.Context) (*Report, error)) {
	var group sync.WaitGroup
	defer group.Wait()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		group.Go(func() { answer(ctx, conn, report) })
	}
}

func answer(ctx context.Context, conn net.Conn, report func(context.Context) (*Report, error)) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(socketAnswer))
	ctx, cancel := context.WithTimeout(ctx, socketAnswer)
	defer cancel()
	if r, err := report(ctx); err == nil {
		_ = json.NewEncoder(conn).Encode(r)
	}
}

// AskRunning is the report of the agent that runs on the instance.
func (a *Agent) AskRunning(ctx context.Context) (*Report, error) {
	_, err := tree.Stat(a.root, path.Join(RunDir, socketName))
	if _, out := errors.AsType[*tree.LinkError](err); out {
		return nil, ErrNotRunning // the socket there is another instance's
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", a.socketPath())
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("ask the agent: %w", err)
	}
	if err != nil {
		return nil, ErrNotRunning
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * socketAnswer))
	var r Report
	if err := json.NewDecoder(conn).Decode(&r); err != nil {
		return nil, fmt.Errorf("ask the agent: %w", err)
	}
	return &r, nil
}
