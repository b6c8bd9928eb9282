package target

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/crypto/ssh"
)

// maxAgentConnections bounds how many of a session's programs talk to the agent at once; others wait.
const maxAgentConnections = 16

// maxAgentsAsked bounds how many channels to the client's agent, of all sessions of a connection, wait for the client's
// answer. A session does not wait for that longer than it lasts: it may never come.
const maxAgentsAsked = 128

func (s *sessionChannel) answerAgent([]byte) (string, error) {
	switch {
	case !s.login.mayForwardAgent():
		return "", errors.New("agent forwarding is not permitted")
	case s.agent != nil:
		return "", errors.New("the agent is forwarded already")
	}
	agent, err := listenForAgent()
	if err != nil {
		return "", err
	}
	s.agent, s.session.Agent = agent, agent.path()
	agent.serving.Go(func() { agent.accept(s.connection, s.conn) })
	return "", nil
}

// agentSocket is a socket, in a folder that only its owner may enter, at which the client's agent answers.
type agentSocket struct {
	folder   string
	listener net.Listener
	serving  sync.WaitGroup
	gone     chan struct{} // closed by close

	mu     sync.Mutex
	closed bool
	open   map[io.Closer]struct{} // connections and channels
}

func listenForAgent() (*agentSocket, error) {
	folder, err := os.MkdirTemp("", "latchkey-") // made with mode 0700
	if err != nil {
		return nil, fmt.Errorf("make a folder for the agent's socket: %w", err)
	}
	a := &agentSocket{folder: folder, gone: make(chan struct{}), open: map[io.Closer]struct{}{}}
	if a.listener, err = net.Listen("unix", a.path()); err != nil {
		_ = os.RemoveAll(folder)
		return nil, fmt.Errorf("listen for the agent's users: %w", err)
	}
	return a, nil
}

func (a *agentSocket) path() string { return filepath.Join(a.folder, "agent.sock") }

// accept joins each program that connects with a channel to the client's agent, until close.
func (a *agentSocket) accept(c *connection, client ssh.Conn) {
	free := make(chan struct{}, maxAgentConnections)
	for {
		free <- struct{}{}
		conn, err := a.listener.Accept()
		if err != nil {
			return
		}
		a.serving.Go(func() {
			defer func() { <-free }()
			a.join(c, client, conn)
		})
	}
}

// hold has close end what is open until it is let go.
func (a *agentSocket) hold(open io.Closer) (letGo func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open[open] = struct{}{}
	if a.closed {
		_ = open.Close()
	}
	return func() {
		_ = open.Close()
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.open, open)
	}
}

// join copies between a program and the client's agent until both have said everything.
func (a *agentSocket) join(c *connection, client ssh.Conn, program net.Conn) {
	defer a.hold(program)()
	agent := c.openAgent(client, a.gone)
	if agent == nil {
		return
	}
	defer a.hold(agent)()
	var asked sync.WaitGroup
	asked.Go(func() {
		_, _ = io.Copy(agent, program)
		_ = agent.CloseWrite()
	})
	_, _ = io.Copy(program, agent)
	_ = program.Close() // an agent that has ended answers nobody
	asked.Wait()
}

// openAgent opens a channel to the client's agent. It is nil where the client has none, and once gone is closed.
func (c *connection) openAgent(client ssh.Conn, gone <-chan struct{}) ssh.Channel {
	if c.agentsAsked.Add(1) > maxAgentsAsked {
		c.agentsAsked.Add(-1)
		return nil
	}
	answer := make(chan ssh.Channel)
	c.run(func() { c.askForAgent(client, answer, gone) }, func() { close(answer) })
	select {
	case agent := <-answer:
		return agent
	case <-gone:
		return nil
	}
}

// askForAgent ends when the client has answered, or is gone.
func (c *connection) askForAgent(client ssh.Conn, answer chan<- ssh.Channel, gone <-chan struct{}) {
	defer close(answer)
	defer c.panicked()
	agent, requests, err := client.OpenChannel("auth-agent@openssh.com", nil)
	c.agentsAsked.Add(-1)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests) // ends with the channel
	select {
	case answer <- agent:
	case <-gone:
		_ = agent.Close()
	}
}

// close ends all of it and removes the folder.
func (a *agentSocket) close() {
	_ = a.listener.Close()
	close(a.gone)
	a.mu.Lock()
	a.closed = true
	for open := range a.open {
		_ = open.Close()
	}
	a.mu.Unlock()
	_ = os.RemoveAll(a.folder)
	a.serving.Wait()
}
