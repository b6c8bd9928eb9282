package metadata

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxETag = 64 // bytes
	// shortestWait is how long an endpoint that has a watch waits at least when asked to
	// wait longer: one may have a limit of its own, none has one this short.
	shortestWait = 10 * time.Second
)

// ErrNoWatch tells that the endpoint answers, but does not wait for a change.
var ErrNoWatch = errors.New("the endpoint does not wait for changes")

// Watch waits until what is bound differs from the Binding that had this ETag, and reports
// whether it does; false means that the time is up. timeout is how long the endpoint is
// asked to wait, in whole seconds, at least one; Watch ends at the latest some RequestTimeouts
// after it. What came is not believed: a change is a reason to Fetch. Nothing that
// changes between that Fetch and the Watch is missed.
//
// The error is ErrNoWatch when the answer has no ETag or comes long before its time
// though nothing has changed. Any other says why the endpoint could not be asked. After an
// error the endpoint is to be polled for a while: the next Watch may fail as fast.
//
// The request is the one that Google Compute Engine's metadata server takes: the parameters
// wait_for_change, last_etag and timeout_sec, and an ETag in each answer.
func (c *Client) Watch(ctx context.Context, etag string, timeout time.Duration) (changed bool, err error) {
	if !validETag(etag) || timeout < time.Second {
		return false, errors.New("watch: want an ETag, and a second at least")
	}
	token, err := c.currentToken(ctx)
	if err != nil {
		return false, err
	}
	v := &visit{client: c, token: token}
	if _, err := v.identify(ctx); err != nil {
		return false, err
	}
	began := time.Now()
	now, err := v.await(ctx, etag, began.Add(timeout))
	switch {
	case err != nil && !errors.Is(err, errNotFound): // without a key bound it is 404
		return false, err
	case now.etag == "":
		return false, fmt.Errorf("watch %s: %w: its answer has no ETag", v.url(keysLeaf), ErrNoWatch)
	case now.etag != etag:
		return true, nil
	case time.Since(began) < min(timeout/2, shortestWait):
		return false, fmt.Errorf("watch %s: %w: it answers at once", v.url(keysLeaf), ErrNoWatch)
	}
	return false, nil
}

// await makes the request that is answered when the ETag is another, or when end has come.
func (v *visit) await(ctx context.Context, etag string, end time.Time) (answer, error) {
	return v.withToken(ctx, func() (answer, error) {
		wait := max(time.Until(end).Round(time.Second), time.Second)
		ctx, cancel := context.WithTimeout(ctx, wait+v.client.options.RequestTimeout)
		defer cancel()
		query := url.Values{
			"wait_for_change": {"true"},
			"last_etag":       {etag},
			"timeout_sec":     {strconv.Itoa(int(wait / time.Second))},
		}
		got, err := v.client.sendOver(ctx, v.client.watching, http.MethodGet, v.path(keysLeaf)+"?"+query.Encode(), v.header())
		return v.checked(keysLeaf, got, err)
	})
}

// newWatchTransport returns a transport with a connection for each request, since one that
// waits has it for minutes. The dialler's TCP keep-alive tells when the other end is gone.
func newWatchTransport(o Options) *http.Transport {
	transport := newTransport(o)
	transport.MaxConnsPerHost = 0
	transport.DisableKeepAlives = true
	return transport
}

// etagOf returns the ETag of an answer, empty when it is none that can be sent back.
func etagOf(header http.Header) string {
	if etag := header.Get("ETag"); validETag(etag) {
		return etag
	}
	return ""
}

// validETag reports whether etag is opaque text as an endpoint may give it, which goes
// back to it as it is.
func validETag(etag string) bool {
	notVisible := func(r rune) bool { return r <= ' ' || r > '~' }
	return etag != "" && len(etag) <= maxETag && !strings.ContainsFunc(etag, notVisible)
}
