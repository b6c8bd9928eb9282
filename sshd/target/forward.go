package target

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// The limits of one connection. Beyond them a channel is refused for a shortage of resources, a request to listen
// fails, and a connection to a forwarded listener is closed at once.
const (
	maxForwarded = 512 // channels at a time
	maxListeners = 64  // requests to listen at a time
)

// forwardDialTimeout is how long a forwarding may take to reach its target.
const forwardDialTimeout = 30 * time.Second

var (
	errTooManyForwarded = errors.New("too many forwarded channels")
	errTooManyListeners = errors.New("too many listeners")
)

// forwards are the forwardings of one connection.
type forwards struct {
	mu        sync.Mutex
	channels  int
	listeners []*forwardListener
}

// parse reads what a client asks for into asked, whose host or path is at name. A client that does not keep to the
// format is cut off, as sshd does it.
func (c *connection) parse(conn *ssh.ServerConn, request string, payload []byte, asked any, name *string) bool {
	if ssh.Unmarshal(payload, asked) == nil && !strings.ContainsRune(*name, 0) {
		return true
	}
	c.tellForward(Event{Request: request}, errors.New("malformed: the connection is ended"))
	_ = conn.Close()
	return false
}

// begin counts a channel, unless there are too many.
func (f *forwards) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.channels >= maxForwarded {
		return false
	}
	f.channels++
	return true
}

func (f *forwards) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.channels--
}

// streamConn is a TCP or Unix-domain connection.
type streamConn interface {
	net.Conn
	CloseWrite() error
}

// forwardTo serves a channel to an address. It is answered when the address is reached, since the answer says so.
func (c *connection) forwardTo(ctx context.Context, channel ssh.NewChannel, event Event, network, address string) {
	if !c.forwards.begin() {
		c.rejectForward(channel, event, ssh.ResourceShortage, errTooManyForwarded)
		return
	}
	defer c.forwards.end()
	dialer := net.Dialer{Timeout: forwardDialTimeout}
	peer, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		c.rejectForward(channel, event, ssh.ConnectionFailed, err)
		return
	}
	event.Verdict = Accepted
	c.tell(event)
	accepted, requests, err := channel.Accept()
	if err != nil {
		_ = peer.Close()
		return
	}
	splice(ctx, accepted, requests, peer.(streamConn))
}

// rejectForward refuses a channel. The client is told what sshd tells it: why a host could not be reached, but not by
// which rule it is denied.
func (c *connection) rejectForward(channel ssh.NewChannel, event Event, code ssh.RejectionReason, why error) {
	event.Verdict, event.Reason = Failed, why.Error()
	c.tell(event)
	_ = channel.Reject(code, clientsReason(channel.ChannelType(), code, why))
}

func clientsReason(channelType string, code ssh.RejectionReason, why error) string {
	var number syscall.Errno
	var unknown *net.DNSError
	switch {
	case channelType != "direct-tcpip" || code != ssh.ConnectionFailed:
	case errors.As(why, &number):
		return number.Error()
	case errors.As(why, &unknown):
		return "name or service not known"
	}
	return "open failed"
}

// splice carries bytes both ways until both sides have said all that they had to say, or the connection ends, and
// closes both. A side that is done is told to the other, which may go on.
func splice(ctx context.Context, channel ssh.Channel, requests <-chan *ssh.Request, peer streamConn) {
	stop := context.AfterFunc(ctx, func() { _ = peer.Close() })
	defer stop()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		ssh.DiscardRequests(requests)
		_ = peer.SetReadDeadline(time.Unix(1, 0)) // the client has closed: what the peer has to say is of no use
	}()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(channel, peer)
		_ = channel.CloseWrite()
	})
	both.Go(func() {
		if _, err := io.Copy(peer, channel); err != nil {
			go discard(channel)
		}
		_ = peer.CloseWrite()
	})
	both.Wait()
	_ = peer.Close()
	_ = channel.Close()
	<-gone
}

// discard reads what nobody takes any more, as long as the client sends: else it would wait for a window for ever. It
// ends with the channel.
func discard(channel ssh.Channel) { _, _ = io.Copy(io.Discard, channel) }
