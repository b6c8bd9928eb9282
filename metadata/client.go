package metadata

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Client asks one endpoint, as often as wanted. It keeps the token and the connection from
// one fetch to the next, and may be used by several goroutines.
type Client struct {
	options   Options
	base      string // scheme and host
	transport *http.Transport
	watching  *http.Transport // what waits must not hold up what asks

	mu       sync.Mutex
	token    token
	version  string // the tree that was there last time
	instance string // the id that every answer must come from; empty until known
}

// New returns a client for the endpoint that o names. It opens nothing yet. An error says
// which option is wrong and what is expected.
func New(o Options) (*Client, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	base, err := parseEndpoint(o.Endpoint)
	if err != nil {
		return nil, err
	}
	return &Client{
		options:   o,
		base:      base,
		transport: newTransport(o),
		watching:  newWatchTransport(o),
		instance:  o.InstanceID,
	}, nil
}

// Close drops the connection kept for the next fetch. A fetch after Close opens another,
// and a watch that waits goes on.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Fetch asks the endpoint for this instance's binding. It has no error: when the answer
// cannot be had within the retry budget or cannot be trusted, the binding is Unknown and
// Reason says why. What comes back passes Binding.Validate.
func (c *Client) Fetch(ctx context.Context) Binding {
	binding, err := c.tryUntilDefinite(ctx)
	if err != nil {
		binding = Binding{State: Unknown, Reason: reason(err)}
	}
	binding.At = time.Now().UTC()
	return binding
}

// tryUntilDefinite reads the binding, from the start after every transient fault, so that
// what is returned was read in one go.
func (c *Client) tryUntilDefinite(ctx context.Context) (Binding, error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.MaxElapsed+c.options.RequestTimeout)
	defer cancel()
	var fault error
	try := func() (Binding, error) {
		var binding Binding
		binding, fault = c.read(ctx)
		if fault != nil && !errors.As(fault, &transient{}) {
			return Binding{}, backoff.Permanent(fault)
		}
		return binding, fault
	}
	binding, err := backoff.Retry(ctx, try, backoff.WithBackOff(pace()), backoff.WithMaxElapsedTime(c.options.MaxElapsed))
	if err != nil {
		return Binding{}, fault // not err: it may only say that the time is up
	}
	return binding, nil
}

// pace returns the waits between tries: from about 0.1 s doubling to 2 s, each half as
// long again or half as short by chance, so that a rack that boots does not knock in step.
func pace() *backoff.ExponentialBackOff {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval = 100 * time.Millisecond
	waits.Multiplier = 2
	waits.MaxInterval = 2 * time.Second
	return waits
}

// reason returns an error's text as a Binding may carry it.
func reason(err error) string {
	text := []rune(err.Error())
	for i, r := range text {
		if !printable(r) {
			text[i] = ' '
		}
	}
	return string(text[:min(len(text), maxReason/4)]) // a rune is at most four bytes
}
