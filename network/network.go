// Package network is what latchkey does on the network, and the wall around it.
//
// There are four things to do there: ask the metadata endpoint, wait for it to
// have news, ask the running sshd, and make the loopback connection that an
// sshd -i is spoken to over. A process with privilege does none of them. It has
// other processes do them, which may read what strangers send because there is
// nothing that they could do with its rights: [Remote] asks, [Serve] answers, and
// what crosses between the two are small values that are validated on arrival.
// [Local] does the same things in the process that it is called in.
package network

import (
	"context"
	"net"
	"os"
	"sync"
	"time"

	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// Side is what touches the network. Its methods may be called by several
// goroutines.
type Side interface {
	// Fetch asks the endpoint for the instance's binding. It must return one that
	// passes Validate: unknown, with the reason, where it cannot ask.
	Fetch(ctx context.Context, from Endpoint) metadata.Binding
	// Watch waits until the endpoint has news since the binding with that ETag, as
	// metadata.Client.Watch does, and tells whether it has. The answer is a hint,
	// whoever gave it: Fetch says what is bound. While it waits, all else can be
	// asked. It must return at once when ctx ends.
	Watch(ctx context.Context, from Endpoint, etag string, timeout time.Duration) (changed bool, err error)
	// Ask asks the running sshd once, or persistently: as often as its limits allow
	// until there is an answer.
	Ask(ctx context.Context, q sshd.Question, persist bool) sshd.Answer
	// Loopback makes a connection as sshd.LoopbackPair does.
	Loopback(ctx context.Context) (net.Conn, *os.File, error)
	// Rest gives back what is only needed while there is something to ask. A watch
	// goes on.
	Rest()
}

// Endpoint says which metadata endpoint is to be asked, and how.
type Endpoint struct {
	URL        string             `json:"url"`
	Token      metadata.TokenMode `json:"token"`
	InstanceID string             `json:"instance_id,omitempty"` // the instance known from before, "" for none
}

// Check refuses an endpoint that cannot be asked, without asking it.
func (e Endpoint) Check() error {
	_, err := e.client()
	return err
}

func (e Endpoint) client() (*metadata.Client, error) {
	return metadata.New(metadata.Options{Endpoint: e.URL, Token: e.Token, InstanceID: e.InstanceID})
}

// Local touches the network itself. Its zero value is ready for use.
type Local struct {
	mu       sync.Mutex
	endpoint Endpoint
	client   *metadata.Client // of endpoint; it keeps token and connection
}

// Fetch is Side's.
func (l *Local) Fetch(ctx context.Context, from Endpoint) metadata.Binding {
	client, err := l.clientOf(from)
	if err != nil {
		return metadata.Binding{State: metadata.Unknown, Reason: err.Error()}
	}
	return client.Fetch(ctx)
}

// Watch is Side's.
func (l *Local) Watch(ctx context.Context, from Endpoint, etag string, timeout time.Duration) (bool, error) {
	client, err := l.clientOf(from)
	if err != nil {
		return false, err
	}
	return client.Watch(ctx, etag, timeout)
}

func (l *Local) clientOf(e Endpoint) (*metadata.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil && l.endpoint == e {
		return l.client, nil
	}
	client, err := e.client()
	if err != nil {
		return nil, err
	}
	if l.client != nil {
		l.client.Close()
	}
	l.endpoint, l.client = e, client
	return client, nil
}

// Ask is Side's.
func (*Local) Ask(ctx context.Context, q sshd.Question, persist bool) sshd.Answer {
	if persist {
		return q.Persist(ctx)
	}
	return q.Ask(ctx)
}

// Loopback is Side's.
func (*Local) Loopback(ctx context.Context) (net.Conn, *os.File, error) {
	return sshd.LoopbackPair(ctx)
}

// Rest is Side's.
func (l *Local) Rest() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil {
		l.client.Close()
	}
}
