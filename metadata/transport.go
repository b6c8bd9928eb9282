package metadata

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	maxBody   = 64 << 10         // bytes of one answer
	maxHeader = 16 << 10         // bytes of its header
	idleFor   = 30 * time.Second // how long an unused connection stays
)

// newTransport returns a transport that goes straight to the endpoint: no proxy from the
// environment, no compression, HTTP/1.1, one connection. It is used without an
// http.Client, so nothing follows a redirect or keeps a cookie.
func newTransport(o Options) *http.Transport {
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: o.ConnectTimeout}).DialContext
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext:            dial,
		TLSHandshakeTimeout:    o.ConnectTimeout,
		Protocols:              protocols,
		DisableCompression:     true,
		MaxConnsPerHost:        1,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        idleFor,
		MaxResponseHeaderBytes: maxHeader,
	}
}

// transient marks a fault that the next try may not meet. All others are definite.
type transient struct{ error }

func (t transient) Unwrap() error { return t.error }

// answer is a response that came whole. The body of anything but 200 is not kept.
type answer struct {
	status int
	etag   string // empty when there is none that can be sent back
	body   string
}

// send makes one request and reads the whole of its answer within RequestTimeout.
func (c *Client) send(ctx context.Context, method, path string, header http.Header) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.RequestTimeout)
	defer cancel()
	return c.sendOver(ctx, c.transport, method, path, header)
}

// sendOver makes one request over a transport and reads the whole of its answer before ctx ends.
func (c *Client) sendOver(ctx context.Context, transport *http.Transport, method, path string, header http.Header) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, nil)
	if err != nil {
		return answer{}, errors.New("not a valid path")
	}
	request.Header = header
	header.Set("User-Agent", "latchkey")
	response, err := transport.RoundTrip(request)
	if err != nil {
		return answer{}, explain(ctx, err)
	}
	defer response.Body.Close()
	body, err := readBody(response)
	if err != nil {
		return answer{}, explain(ctx, err)
	}
	return answer{status: response.StatusCode, etag: etagOf(response.Header), body: body}, nil
}

var (
	errTooLarge = errors.New("answer is larger than 64 KiB")
	errNoLength = errors.New("answer does not say how long it is, so it may have been cut short")
	errNotHTTP  = errors.New("what answers there does not speak HTTP as it should")
)

// readBody reads what an answer of 200 or 404 says, whole or not at all: cut short, either
// could pass for "no key". Other answers mean nothing beyond their status.
func readBody(response *http.Response) (string, error) {
	limited := io.LimitReader(response.Body, maxBody+1)
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusNotFound {
		_, _ = io.Copy(io.Discard, limited) // only so that the connection can be used again
		return "", nil
	}
	if response.ContentLength > maxBody {
		return "", errTooLarge
	}
	if response.ContentLength < 0 && len(response.TransferEncoding) == 0 {
		return "", errNoLength
	}
	body, err := io.ReadAll(limited)
	switch {
	case err != nil:
		return "", err
	case len(body) > maxBody:
		return "", errTooLarge
	}
	return string(body), nil
}

// explain says what went wrong on the wire in words, and whether to try again. Errors of
// the HTTP parser are replaced, because they quote what was received.
func explain(ctx context.Context, err error) error {
	var network net.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, errTooLarge), errors.Is(err, errNoLength), errors.As(err, &certificate):
		return err
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return transient{errors.New("no answer in time")}
	case ctx.Err() != nil:
		return errors.New("stopped before there was an answer")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return transient{errors.New("answer was cut short")}
	case errors.As(err, &network):
		return transient{err}
	}
	return errNotHTTP
}

var (
	errNotFound     = errors.New("not there (404)")
	errUnauthorized = errors.New("not authorized (401): a token is missing, or not accepted")
)

// checkStatus turns every status but 200 into an error, those transient that pass by themselves.
func checkStatus(status int) error {
	switch {
	case status == http.StatusOK:
		return nil
	case status == http.StatusNotFound:
		return errNotFound
	case status == http.StatusUnauthorized:
		return errUnauthorized
	case status == http.StatusForbidden:
		return errors.New("refused (403): the endpoint is disabled, or wants a token")
	case status >= 300 && status < 400:
		return fmt.Errorf("redirected (%d), which a metadata endpoint does not do: a captive portal or proxy in between?", status)
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return transient{fmt.Errorf("endpoint is in trouble (%d)", status)}
	}
	return fmt.Errorf("unexpected status %d", status)
}
