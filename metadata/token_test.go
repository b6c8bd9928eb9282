package metadata

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// hardened is an endpoint that hands out tokens and records what it is asked.
type hardened struct {
	taken   int    // tokens handed out
	current string // the token it accepts
	asked   []string
}

func (h *hardened) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.asked = append(h.asked, strings.TrimSpace(r.Method+" "+r.Header.Get(tokenHeader)))
	if r.Method == http.MethodPut {
		h.taken++
		h.current = fmt.Sprintf("token-%d-for-%s", h.taken, r.Header.Get(tokenTTLHeader))
		_, _ = io.WriteString(w, h.current)
		return
	}
	if r.Header.Get(tokenHeader) != h.current {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	pages{"instance-id": {body: "i-1"}}.ServeHTTP(w, r)
}

// log returns what was asked since the last call, repetitions left out.
func (h *hardened) log() []string {
	var log []string
	for _, entry := range h.asked {
		if len(log) == 0 || log[len(log)-1] != entry {
			log = append(log, entry)
		}
	}
	h.asked = nil
	return log
}

// pipes is a listener in memory, so that a server runs within a synctest bubble.
type pipes struct {
	connections chan net.Conn
	closed      chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case connection := <-p.connections:
		return connection, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.connections <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// inBubble runs test in a bubble of fake time with a client of handler.
func inBubble(t *testing.T, handler http.Handler, o Options, test func(t *testing.T, client *Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		listener := newPipes()
		server := &http.Server{Handler: handler}
		served := make(chan error)
		go func() { served <- server.Serve(listener) }()
		o.Dial = listener.dial
		client, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		test(t, client)
		client.Close()
		server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

func expectLog(t *testing.T, client *Client, h *hardened, want ...string) {
	t.Helper()
	if got := client.Fetch(t.Context()); got.State != Unbound {
		t.Errorf("got %s, %q", got.State, got.Reason)
	}
	if diff := cmp.Diff(want, h.log()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestATokenIsKeptAndRenewedBeforeItsEnd(t *testing.T) {
	h := &hardened{}
	inBubble(t, h, Options{}, func(t *testing.T, client *Client) {
		expectLog(t, client, h, "PUT", "GET token-1-for-21600")
		time.Sleep(5 * time.Hour)
		expectLog(t, client, h, "GET token-1-for-21600")
		time.Sleep(24 * time.Minute) // nine tenths of six hours
		expectLog(t, client, h, "PUT", "GET token-2-for-21600")
	})
}

func TestATokenThatIsRefusedIsReplacedOnce(t *testing.T) {
	h := &hardened{}
	inBubble(t, h, Options{TokenTTL: time.Hour}, func(t *testing.T, client *Client) {
		expectLog(t, client, h, "PUT", "GET token-1-for-3600")
		h.current = "forgotten"
		expectLog(t, client, h, "GET token-1-for-3600", "PUT", "GET token-2-for-3600")
	})
}

func TestAnEndpointWithoutHardenedModeIsReadWithoutTokenInAutoOnly(t *testing.T) {
	for _, status := range []int{403, 404, 405, 501} {
		for mode, want := range map[TokenMode]State{TokenAuto: Unbound, TokenRequired: Unknown, TokenOff: Unbound} {
			p := pages{"instance-id": {body: "i-1"}, tokenPath: {status, ""}}
			got := connect(t, p, Options{Token: mode}).Fetch(t.Context())
			if got.State != want {
				t.Errorf("%d, %s: %s, %q", status, mode, got.State, got.Reason)
			}
		}
	}
}

func TestSilenceOrTroubleAtTheTokenIsNoLeaveToGoWithout(t *testing.T) {
	for _, mode := range []TokenMode{TokenAuto, TokenRequired} {
		for _, silent := range []bool{true, false} {
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodGet:
					t.Errorf("%s: %s was read", mode, r.URL.Path)
				case silent:
					<-r.Context().Done()
				default:
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			})
			got := connect(t, handler, Options{Token: mode, RequestTimeout: 50 * time.Millisecond}).Fetch(t.Context())
			if got.State != Unknown || !strings.Contains(got.Reason, "take a token from") {
				t.Errorf("%s: %s, %q", mode, got.State, got.Reason)
			}
		}
	}
}

func TestTokenOffNeverPuts(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.Header.Get(tokenHeader) != "" {
			t.Errorf("%s with token %q", r.Method, r.Header.Get(tokenHeader))
		}
		pages{"instance-id": {body: "i-1"}}.ServeHTTP(w, r)
	})
	if got := connect(t, handler, Options{Token: TokenOff}).Fetch(t.Context()); got.State != Unbound {
		t.Errorf("got %s, %q", got.State, got.Reason)
	}
}

// A server closes a connection that idles; the next fetch must not take that for a fault.
func TestAConnectionClosedMeanwhileIsOpenedAgain(t *testing.T) {
	server := httptest.NewServer(&hardened{})
	defer server.Close()
	client, err := New(Options{Endpoint: server.URL, TokenTTL: time.Second, MaxElapsed: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 20 {
		client.dropToken(client.cachedToken()) // so that the fetch begins with the PUT
		if got := client.Fetch(t.Context()); got.State != Unbound {
			t.Fatalf("got %s, %q", got.State, got.Reason)
		}
		server.CloseClientConnections()
	}
}

func TestATimedOutFetchIsTriedUntilItsBudgetIsSpent(t *testing.T) {
	hangs := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	inBubble(t, hangs, Options{}, func(t *testing.T, client *Client) {
		began := time.Now()
		got := client.Fetch(t.Context())
		if got.State != Unknown || !strings.Contains(got.Reason, "no answer in time") {
			t.Errorf("got %s, %q", got.State, got.Reason)
		}
		if took := time.Since(began); took < 15*time.Second || took > 25*time.Second {
			t.Errorf("took %s", took)
		}
	})
}
