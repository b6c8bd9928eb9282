package metadata

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// watched is an endpoint of the instance i-1 with a watch: the names of the keys below
// public-keys/ are what changes.
type watched struct {
	mu      sync.Mutex
	tag     int           // the ETag
	names   []string      // of the keys bound
	changed chan struct{} // closed at the next change
	waiting atomic.Int32
	queries []string // of each watch
}

func newWatched(names ...string) *watched {
	return &watched{tag: 1, names: names, changed: make(chan struct{})}
}

func (e *watched) bind(names ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tag, e.names = e.tag+1, names
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *watched) now() (etag string, p pages, changed chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p = pages{"instance-id": {body: "i-1"}}
	for _, name := range e.names {
		listing := p["public-keys/"]
		listing.body += name + "/\n"
		p["public-keys/"], p["public-keys/"+name+"/openssh-key"] = listing, page{body: edLine}
	}
	return fmt.Sprintf("%016x", e.tag), p, e.changed
}

func (e *watched) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	etag, p, changed := e.now()
	if r.FormValue("wait_for_change") == "true" && r.FormValue("last_etag") == etag {
		e.wait(r, changed)
		etag, p, _ = e.now()
	}
	if strings.Contains(r.URL.Path, "/public-keys/") {
		w.Header().Set("ETag", etag)
	}
	p.ServeHTTP(w, r)
}

func (e *watched) wait(r *http.Request, changed chan struct{}) {
	e.mu.Lock()
	e.queries = append(e.queries, r.URL.RawQuery)
	e.mu.Unlock()
	e.waiting.Add(1)
	defer e.waiting.Add(-1)
	seconds, _ := time.ParseDuration(r.FormValue("timeout_sec") + "s")
	timer := time.NewTimer(seconds)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-r.Context().Done():
	}
}

// poll returns when cond holds, and fails the test when it does not for ten seconds.
func poll(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !cond(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func TestABindingCarriesTheETagOfItsListing(t *testing.T) {
	long := strings.Repeat("e", maxETag)
	for name, test := range map[string]struct{ etag, want string }{
		"as agreed":    {"00000000deadbeef", "00000000deadbeef"},
		"quoted":       {`W/"x"`, `W/"x"`},
		"none":         {"", ""},
		"longest":      {long, long},
		"too long":     {long + "e", ""},
		"with a blank": {"a b", ""},
		"not ASCII":    {"ä", ""},
	} {
		for _, p := range []pages{
			{"instance-id": {body: "i-1"}},
			{"instance-id": {body: "i-1"}, "public-keys/": {body: "0/"}, "public-keys/0/openssh-key": {body: edLine}},
		} {
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/public-keys/") {
					w.Header().Set("ETag", test.etag)
				} else {
					w.Header().Set("ETag", "another")
				}
				p.ServeHTTP(w, r)
			})
			got := connect(t, handler, Options{}).Fetch(t.Context())
			if got.State == Unknown || got.ETag != test.want || got.Validate() != nil {
				t.Errorf("%s: %s with ETag %q (%v), want %q", name, got.State, got.ETag, got.Validate(), test.want)
			}
		}
	}
}

func TestAWatchEndsWithTheChange(t *testing.T) {
	for name, change := range map[string]struct{ before, after []string }{
		"bind":    {nil, []string{"0"}},
		"unbind":  {[]string{"0"}, nil},
		"replace": {[]string{"0"}, []string{"1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newWatched(change.before...)
			client := connect(t, e, Options{})
			before := client.Fetch(t.Context())
			ended := make(chan error, 1)
			go func() {
				changed, err := client.Watch(t.Context(), before.ETag, 90*time.Second)
				if !changed && err == nil {
					err = errors.New("the time was up")
				}
				ended <- err
			}()
			poll(t, "the endpoint waits", func() bool { return e.waiting.Load() == 1 })
			if got := client.Fetch(t.Context()); got.ETag != before.ETag {
				t.Errorf("a fetch meanwhile: %+v, want as before %+v", got, before)
			}
			e.bind(change.after...)
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if got := client.Fetch(t.Context()); len(got.Keys) != len(change.after) || got.ETag == before.ETag {
				t.Errorf("fetched %+v after the change", got)
			}
			want := []string{"last_etag=" + before.ETag + "&timeout_sec=90&wait_for_change=true"}
			if diff := cmp.Diff(want, e.queries); diff != "" {
				t.Errorf("asked (-want +got)\n%s", diff)
			}
		})
	}
}

func TestAChangeBetweenTheFetchAndTheWatchIsNotMissed(t *testing.T) {
	e := newWatched()
	client := connect(t, e, Options{})
	before := client.Fetch(t.Context())
	e.bind("0")
	if changed, err := client.Watch(t.Context(), before.ETag, time.Hour); !changed || err != nil {
		t.Errorf("changed: %v, %v", changed, err)
	}
}

func TestAWatchWithoutAChangeEndsWithItsTime(t *testing.T) {
	for _, names := range [][]string{{"0"}, nil} {
		client := connect(t, newWatched(names...), Options{})
		if changed, err := client.Watch(t.Context(), fmt.Sprintf("%016x", 1), time.Second); changed || err != nil {
			t.Errorf("%q bound: changed %v, %v", names, changed, err)
		}
	}
}

func TestAWatchThatIsGivenUpEndsAtOnceOnBothSides(t *testing.T) {
	e := newWatched()
	client := connect(t, e, Options{})
	etag := client.Fetch(t.Context()).ETag
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := client.Watch(ctx, etag, time.Hour)
		ended <- err
	}()
	poll(t, "the endpoint waits", func() bool { return e.waiting.Load() == 1 })
	cancel()
	if err := <-ended; err == nil {
		t.Error("no error")
	}
	poll(t, "the endpoint waits no more", func() bool { return e.waiting.Load() == 0 })
}

// TestNoWatchIsBelievedOfAnEndpointThatHasNone: nor does it ever look like a change.
func TestNoWatchIsBelievedOfAnEndpointThatHasNone(t *testing.T) {
	const etag = "0000000000000001"
	for name, test := range map[string]struct {
		etag   string
		page   page
		reason string
		none   bool
	}{
		"no ETag":                   {"", page{200, "0/"}, "has no ETag", true},
		"404 without ETag":          {"", page{404, ""}, "has no ETag", true},
		"an ETag that is none":      {"a b", page{200, "0/"}, "has no ETag", true},
		"at once, unchanged":        {etag, page{200, "0/"}, "answers at once", true},
		"404 at once, unchanged":    {etag, page{404, ""}, "answers at once", true},
		"trouble":                   {"2", page{500, ""}, "in trouble (500)", false},
		"too many":                  {"2", page{503, ""}, "in trouble (503)", false},
		"refused":                   {"2", page{403, ""}, "refused (403)", false},
		"a portal's redirect":       {"2", page{302, ""}, "redirected (302)", false},
		"more than any listing has": {"2", page{200, strings.Repeat("x", maxBody+1)}, "larger than 64 KiB", false},
	} {
		t.Run(name, func(t *testing.T) {
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/public-keys/") {
					w.Header().Set("ETag", test.etag)
				}
				pages{"instance-id": {body: "i-1"}, "public-keys/": test.page}.ServeHTTP(w, r)
			})
			changed, err := connect(t, handler, Options{}).Watch(t.Context(), etag, time.Minute)
			if changed || err == nil || !strings.Contains(err.Error(), test.reason) || errors.Is(err, ErrNoWatch) != test.none {
				t.Errorf("changed %v, %v; want %q", changed, err, test.reason)
			}
		})
	}
}

func TestAWatchOfAnotherInstanceIsNone(t *testing.T) {
	e := newWatched()
	client := connect(t, e, Options{InstanceID: "i-2"})
	if changed, err := client.Watch(t.Context(), "x", time.Minute); changed || err == nil || !strings.Contains(err.Error(), "for instance i-1") {
		t.Errorf("changed %v, %v", changed, err)
	}
}

func TestAWatchThatIsCutShortIsAnError(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/public-keys/") {
			w.Header().Set("ETag", "2")
			w.Header().Set("Content-Length", "9")
			_, _ = io.WriteString(w, "0/")
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, "i-1")
	})
	if changed, err := connect(t, handler, Options{Token: TokenOff}).Watch(t.Context(), "1", time.Minute); changed || err == nil {
		t.Errorf("changed %v, %v", changed, err)
	}
}

// TestAnEndpointThatHangsIsGivenUp: soon after it should have answered.
func TestAnEndpointThatHangsIsGivenUp(t *testing.T) {
	hangs := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/public-keys/") {
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, "i-1")
	})
	client := connect(t, hangs, Options{Token: TokenOff, RequestTimeout: 100 * time.Millisecond})
	began := time.Now()
	changed, err := client.Watch(t.Context(), "1", time.Second)
	if changed || err == nil || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("changed %v, %v", changed, err)
	}
	if took := time.Since(began); took < time.Second || took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

// TestATokenThatEndsWhileTheEndpointWaitsIsRenewed: the watch goes on with the time left.
func TestATokenThatEndsWhileTheEndpointWaitsIsRenewed(t *testing.T) {
	var tokens, watches atomic.Int32
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		newest := fmt.Sprint("token-", tokens.Load())
		switch {
		case r.URL.Path == tokenPath:
			_, _ = fmt.Fprint(w, "token-", tokens.Add(1))
		case strings.HasSuffix(r.URL.Path, "/public-keys/") && watches.Add(1) == 1:
			w.WriteHeader(http.StatusUnauthorized)
		case r.Header.Get(tokenHeader) != newest:
			t.Errorf("%s with %q, want %s", r.URL, r.Header.Get(tokenHeader), newest)
		default:
			w.Header().Set("ETag", "2")
			_, _ = io.WriteString(w, "i-1")
		}
	})
	changed, err := connect(t, handler, Options{}).Watch(t.Context(), "1", time.Minute)
	if !changed || err != nil || tokens.Load() != 2 || watches.Load() != 2 {
		t.Errorf("changed %v, %v, after %d tokens and %d watches; want 2 of each", changed, err, tokens.Load(), watches.Load())
	}
}

// TestAnEndpointMayWaitLessThanAsked: by a limit of its own, but not much less than it.
func TestAnEndpointMayWaitLessThanAsked(t *testing.T) {
	for wait, enough := range map[time.Duration]bool{0: false, 9 * time.Second: false, 11 * time.Second: true, 240 * time.Second: true} {
		synctest.Test(t, func(t *testing.T) {
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/public-keys/") {
					time.Sleep(wait) // in the bubble's time
					w.Header().Set("ETag", "1")
				}
				_, _ = io.WriteString(w, "i-1")
			})
			client, err := New(Options{Token: TokenOff, Dial: inMemory(t, handler)})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			changed, err := client.Watch(t.Context(), "1", 240*time.Second)
			if changed || (err == nil) != enough {
				t.Errorf("after %v: changed %v, %v; want it to be a watch: %v", wait, changed, err, enough)
			}
		})
	}
}

func TestWhatIsNoETagIsNotWatched(t *testing.T) {
	client := connect(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("asked") }), Options{})
	for _, etag := range []string{"", "a b", "a\nb", strings.Repeat("x", maxETag+1)} {
		if _, err := client.Watch(t.Context(), etag, time.Minute); err == nil {
			t.Errorf("watched %q", etag)
		}
	}
	if _, err := client.Watch(t.Context(), "x", 999*time.Millisecond); err == nil {
		t.Error("watched for less than a second")
	}
}

// inMemory dials a server of handler over pipes, which a bubble of synctest can wait for.
func inMemory(t *testing.T, handler http.Handler) func(context.Context, string, string) (net.Conn, error) {
	t.Helper()
	listener := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: handler}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		listener.conns <- theirs
		return ours, nil
	}
}

// pipeListener is a listener whose connections come from a channel.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipeListener) Close() error {
	close(p.closed)
	return nil
}

func (p *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }
