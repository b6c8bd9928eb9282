package metadata

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// raw is an endpoint that answers every request with the same bytes and hangs up.
func raw(answer string) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			if _, err := http.ReadRequest(bufio.NewReader(server)); err == nil {
				_, _ = io.WriteString(server, answer)
			}
		}()
		return client, nil
	}
}

func TestAnAnswerThatIsNotWholeIsUnknown(t *testing.T) {
	tests := map[string]struct{ answer, reason string }{
		"nothing":         {"", "answer was cut short"},
		"half a header":   {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", "answer was cut short"},
		"half a line":     {"HTTP/1.1 200 OK\r\nContent-", "does not speak HTTP"},
		"half a body":     {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ni-1", "answer was cut short"},
		"half a 404":      {"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n404", "answer was cut short"},
		"half a chunk":    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ni-1", "answer was cut short"},
		"no end":          {"HTTP/1.0 200 OK\r\n\r\ni-1", "does not say how long it is"},
		"announced large": {"HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\ni-1", "larger than 64 KiB"},
		"chunked large":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10001\r\n" + strings.Repeat("x", 0x10001) + "\r\n0\r\n\r\n", "larger than 64 KiB"},
		"not HTTP":        {edLine + "\r\n\r\n", "does not speak HTTP"},
		"header endless":  {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20), "does not speak HTTP"},
		"compressed":      {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b", "not an instance id"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client, err := New(Options{Token: TokenOff, MaxElapsed: time.Millisecond, Dial: raw(test.answer)})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			got := client.Fetch(t.Context())
			if got.State != Unknown || !strings.Contains(got.Reason, test.reason) {
				t.Errorf("got %s, %q; want %q", got.State, got.Reason, test.reason)
			}
			if strings.Contains(got.Reason, "AAAA") {
				t.Errorf("the reason quotes the answer: %q", got.Reason)
			}
		})
	}
}

func TestNothingOfTheEnvironmentOrOfAnAnswerLeadsElsewhere(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the request went elsewhere")
	}))
	defer elsewhere.Close()
	var moved atomic.Bool
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Cookies()) > 0 || r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("headers %v", r.Header)
		}
		http.SetCookie(w, &http.Cookie{Name: "portal", Value: "1"})
		if moved.Load() {
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
			return
		}
		pages{"instance-id": {body: "i-1"}}.ServeHTTP(w, r)
	})
	// net/http uses no proxy for loopback, so the endpoint has to look like another host.
	server := httptest.NewServer(handler)
	defer server.Close()
	client, err := New(Options{Endpoint: "http://192.0.2.1", Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != "192.0.2.1:80" {
			t.Errorf("dialled %s", address)
		}
		return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if got := client.Fetch(t.Context()); got.State != Unbound {
		t.Errorf("got %s, %q", got.State, got.Reason)
	}
	moved.Store(true)
	if got := client.Fetch(t.Context()); got.State != Unknown {
		t.Errorf("redirected, got %s", got.State)
	}
}
