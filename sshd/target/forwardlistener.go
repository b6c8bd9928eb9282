package target

import (
	"context"
	"net"
	"slices"

	"golang.org/x/crypto/ssh"
)

// forwardListener listens on behalf of a client.
type forwardListener struct {
	sockets []net.Listener // one for each address family
	network string
	host    string // or path, as the client names it
	port    uint32 // 0 for a path

	channelType string
	payload     func(net.Conn) []byte // of the channel for a connection

	forget func() bool // at the end of the connection there is nothing to do any more
}

func (l *forwardListener) close() {
	l.forget()
	l.closeSockets()
}

func (l *forwardListener) closeSockets() {
	for _, socket := range l.sockets {
		_ = socket.Close()
	}
}

// add remembers a listener, unless there are too many.
func (f *forwards) add(l *forwardListener) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.listeners) >= maxListeners {
		return errTooManyListeners
	}
	f.listeners = append(f.listeners, l)
	return nil
}

// cancel closes the listeners that this client asked for by that name, and tells whether there were any.
func (f *forwards) cancel(network, host string, port uint32) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := len(f.listeners)
	f.listeners = slices.DeleteFunc(f.listeners, func(l *forwardListener) bool {
		if l.network != network || l.host != host || l.port != port {
			return false
		}
		l.close()
		return true
	})
	return len(f.listeners) < before
}

// answerListener answers a request to listen: with l, whose sockets are there unless why says that there are none. The
// answer goes out before the first connection is passed on: until then the client does not know what that is for.
func (c *connection) answerListener(
	ctx context.Context, conn *ssh.ServerConn, request *ssh.Request, l *forwardListener, reply []byte, why error,
) (bool, []byte) {
	l.forget = context.AfterFunc(ctx, l.closeSockets)
	if why == nil {
		why = c.forwards.add(l)
	}
	c.tellForward(Event{Request: request.Type, Target: target(l.network, l.host, l.port)}, why)
	if why != nil {
		l.close()
		return false, nil
	}
	_ = request.Reply(true, reply)
	request.WantReply = false // it has been answered
	for _, socket := range l.sockets {
		c.run(func() { c.acceptForwarded(ctx, conn, l, socket) }, l.close)
	}
	return true, nil
}

// tellForward tells what came of a request.
func (c *connection) tellForward(event Event, why error) {
	event.Kind, event.Verdict = Forward, Accepted
	if why != nil {
		event.Verdict, event.Reason = Failed, why.Error()
	}
	c.tell(event)
}

// acceptForwarded passes on what connects, until the listener is closed.
func (c *connection) acceptForwarded(ctx context.Context, conn *ssh.ServerConn, l *forwardListener, socket net.Listener) {
	defer c.panicked()
	defer socket.Close()
	for {
		peer, err := acceptNext(socket, c.pause)
		if err != nil {
			return
		}
		c.run(func() { c.forwardFrom(ctx, conn, l, peer.(streamConn)) }, func() { _ = peer.Close() })
	}
}

// forwardFrom opens a channel to the client for a connection to its listener.
func (c *connection) forwardFrom(ctx context.Context, conn *ssh.ServerConn, l *forwardListener, peer streamConn) {
	defer c.panicked()
	defer peer.Close()
	event := Event{Request: l.channelType, Target: target(l.network, l.host, l.port)}
	if !c.forwards.begin() {
		c.tellForward(event, errTooManyForwarded)
		return
	}
	defer c.forwards.end()
	c.watch.opened()
	defer c.watch.closed()
	channel, requests, err := conn.OpenChannel(l.channelType, l.payload(peer))
	c.tellForward(event, err)
	if err == nil {
		splice(ctx, channel, requests, peer)
	}
}

// run has a goroutine do something that the connection waits for at its end, or instead of that, after its end.
func (c *connection) run(do, instead func()) {
	if !c.enter() {
		instead()
		return
	}
	go func() {
		defer c.serving.Done()
		do()
	}()
}
