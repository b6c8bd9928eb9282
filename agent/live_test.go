package agent

import (
	"context"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/keypair/imds"
	"github.com/latchkey-ssh/latchkey/network"
)

// liveEndpoint is an endpoint with a watch, as far as it is not spoilt.
type liveEndpoint struct {
	*endpoint
	waiting atomic.Int32
	watches atomic.Int32

	spoiling sync.Mutex
	news     chan struct{}    // closed when what is bound changes, or how the watch is spoilt
	spoil    http.HandlerFunc // answers watches in place of the endpoint, if set
	tagless  bool             // no answer has an ETag
}

func newLiveEndpoint(t *testing.T, keys ...testmachine.Key) *liveEndpoint {
	t.Helper()
	e := &liveEndpoint{endpoint: &endpoint{instance: testInstance}, news: make(chan struct{})}
	e.endpoint.bind(keys...)
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

func (e *liveEndpoint) bind(keys ...testmachine.Key) {
	e.endpoint.bind(keys...)
	e.change(func() {})
}

// spoilt has watches answered so from now on, those that wait already included.
func (e *liveEndpoint) spoilt(answer http.HandlerFunc) {
	e.change(func() { e.spoil = answer })
}

func (e *liveEndpoint) change(edit func()) {
	e.spoiling.Lock()
	defer e.spoiling.Unlock()
	edit()
	close(e.news)
	e.news = make(chan struct{})
}

func (e *liveEndpoint) state() (etag string, news chan struct{}, spoil http.HandlerFunc) {
	e.spoiling.Lock()
	defer e.spoiling.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.tagless {
		return "", e.news, e.spoil
	}
	hash := fnv.New64()
	fmt.Fprint(hash, e.lines)
	return fmt.Sprintf("%016x", hash.Sum64()), e.news, e.spoil
}

func (e *liveEndpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	etag, news, spoil := e.state()
	if r.FormValue("wait_for_change") == "true" {
		e.watches.Add(1)
		for spoil == nil && etag == r.FormValue("last_etag") && e.waits(r, news) {
			etag, news, spoil = e.state()
		}
		if spoil != nil {
			spoil(w, r)
			return
		}
	}
	if strings.Contains(r.URL.Path, "/public-keys/") && etag != "" {
		w.Header().Set("ETag", etag)
	}
	e.endpoint.ServeHTTP(w, r)
}

// waits waits for news, and tells whether somebody still wants to know.
func (e *liveEndpoint) waits(r *http.Request, news chan struct{}) bool {
	e.waiting.Add(1)
	defer e.waiting.Add(-1)
	select {
	case <-news:
		return true
	case <-r.Context().Done():
		return false
	}
}

// liveConfig is the configuration of a live agent that polls so often.
func (r *rig) liveConfig(e *endpoint, poll string) {
	r.config.Metadata.Endpoint = e.URL
	r.writeConfig("[apply]\nwhen = \"live\"\npoll = \"" + poll + "\"\n")
}

func (r *rig) pollUntilBound(what string, key testmachine.Key) {
	r.t.Helper()
	poll(r.t, what, func() bool { holds, n := r.blockHolds(key); return holds && n == 1 })
}

// TestALiveDaemonHearsOfEachChangeFromTheWatch runs alone: other tests mount
// machines, which makes a daemon look, and it is to have no other reason to. It polls
// once an hour.
func TestALiveDaemonHearsOfEachChangeFromTheWatch(t *testing.T) {
	r := newRig(t)
	r.StartSSHD()
	first, second := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ed25519")
	e := newLiveEndpoint(t)
	r.liveConfig(e.endpoint, "1h")
	r.daemon(e.endpoint)
	r.wantPassword(true)
	e.bind(first)
	poll(t, "passwords are off", func() bool { return r.status().Password == "off" })
	r.wantKey(first, true)
	e.bind(second)
	r.pollUntilBound("the second key is the one that is bound", second)
	poll(t, "the first key is revoked", func() bool { return !r.logsIn(first) })
	r.wantKey(second, true)
	e.bind()
	poll(t, "passwords are on again", func() bool { return r.status().Password == "on" })
	r.wantKey(second, false)
	r.wantPassword(true)
}

// TestALiveDaemonHearsOfEachChangeFromKeypaird: the server of this project, in
// hardened mode. It runs alone as the one above.
func TestALiveDaemonHearsOfEachChangeFromKeypaird(t *testing.T) {
	r := newRig(t)
	key := testmachine.NewKey(t, "ed25519")
	e := imds.New(imds.Instance{ID: testInstance, HTTPTokens: imds.TokensRequired})
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	plain := &endpoint{Server: server}
	r.liveConfig(plain, "1h")
	r.daemon(plain)
	e.Bind("pair", key.Line)
	r.pollUntilBound("the key is bound", key)
	e.ForgetTokens()
	e.Unbind()
	poll(t, "the key is gone", func() bool { holds, _ := r.blockHolds(key); return !holds })
}

// TestABrokenWatchIsNoMoreThanNone: each change is found by the poll, and the
// endpoint is not asked without end.
func TestABrokenWatchIsNoMoreThanNone(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]http.HandlerFunc{
		"reset":            func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"500":              func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "", http.StatusInternalServerError) },
		"404 without ETag": http.NotFound,
		"hangs for ever":   func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"nothing new, at once": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", r.FormValue("last_etag"))
			http.NotFound(w, r)
		},
		"news, at once": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", fmt.Sprintf("%016x", time.Now().UnixNano()))
			http.NotFound(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			key := testmachine.NewKey(t, "ed25519")
			e := newLiveEndpoint(t)
			r.liveConfig(e.endpoint, "1s")
			start := time.Now()
			r.daemon(e.endpoint)
			poll(t, "the endpoint waits", func() bool { return e.waiting.Load() == 1 })
			e.spoilt(spoil) // in the middle of the watch
			e.bind(key)
			r.pollUntilBound("the key is bound by polling", key)
			e.bind()
			poll(t, "the key is gone", func() bool { holds, _ := r.blockHolds(key); return !holds })
			seconds := int(time.Since(start).Seconds()) + 1
			if visits, watches := e.visited(), int(e.watches.Load()); visits > 10+6*seconds || watches > 4+seconds {
				t.Errorf("%d visits and %d watches in %d s", visits, watches, seconds)
			}
			e.spoilt(nil)
			e.bind(key)
			r.pollUntilBound("the key is bound again", key)
		})
	}
}

// TestAnEndpointWithoutAWatchIsPolled, and watched once it has one.
func TestAnEndpointWithoutAWatchIsPolled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	key := testmachine.NewKey(t, "ed25519")
	e := newLiveEndpoint(t)
	e.tagless = true
	r.liveConfig(e.endpoint, "1s")
	r.daemon(e.endpoint)
	e.bind(key)
	r.pollUntilBound("the key is bound", key)
	if n, follows := e.watches.Load(), r.status().Follows; n > 0 || follows != "poll" {
		t.Errorf("it was asked to wait %d times, status says %q", n, follows)
	}
	e.change(func() { e.tagless = false })
	poll(t, "the endpoint waits", func() bool { return e.waiting.Load() == 1 })
}

// TestTheModeOfAWatchingDaemonCanBeChanged, as can what it asks.
func TestTheModeOfAWatchingDaemonCanBeChanged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, other := newLiveEndpoint(t), newLiveEndpoint(t)
	r.liveConfig(e.endpoint, "1h")
	stop := r.daemon(e.endpoint)
	poll(t, "the endpoint waits", func() bool { return e.waiting.Load() == 1 })
	r.liveConfig(other.endpoint, "1h")
	poll(t, "only the other endpoint waits", func() bool { return e.waiting.Load() == 0 && other.waiting.Load() == 1 })
	if follows := r.status().Follows; follows != "watch" {
		t.Errorf("status says %q, want the watch", follows)
	}
	r.writeConfig("[apply]\nwhen = \"boot\"\n")
	poll(t, "none waits", func() bool { return other.waiting.Load() == 0 && r.status().Follows == "" })
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestADaemonThatWatchesEndsAtOnce is not parallel: it counts the goroutines and
// the children of the whole process.
func TestADaemonThatWatchesEndsAtOnce(t *testing.T) {
	for name, side := range map[string]func(r *rig) network.Side{
		"in its own process": func(*rig) network.Side { return nil },
		"in another":         func(r *rig) network.Side { return network.Unprivileged(r.Root) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			e := newLiveEndpoint(t)
			r.liveConfig(e.endpoint, "1h")
			config, err := LoadConfig(r.Root, DefaultConfigPath)
			if err != nil {
				t.Fatal(err)
			}
			before := goleak.IgnoreCurrent()
			d := NewDaemon(Options{Root: r.Root, Config: config, Network: side(r)}, DefaultConfigPath)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- d.Run(ctx, readyOnly(func() {})) }()
			poll(t, "the endpoint waits", func() bool { return e.waiting.Load() == 1 })
			r.status() // it can be asked meanwhile
			if n := len(networkProcesses(t)); (n > 0) != (name == "in another") {
				t.Errorf("%d network processes hold the watch", n)
			}
			start := time.Now()
			cancel()
			if err := <-ended; err != nil || time.Since(start) > time.Second {
				t.Errorf("it ended after %v with %v", time.Since(start), err)
			}
			poll(t, "the endpoint waits no more", func() bool { return e.waiting.Load() == 0 })
			e.Close()
			goleak.VerifyNone(t, before)
			poll(t, "no child is left", func() bool { return len(networkProcesses(t)) == 0 })
		})
	}
}

// TestAnIdleDaemonThatWatchesDoesNotWakeUp runs alone, as the one that does not.
func TestAnIdleDaemonThatWatchesDoesNotWakeUp(t *testing.T) {
	r := newRig(t)
	e := newLiveEndpoint(t, testmachine.NewKey(t, "ed25519"))
	r.liveConfig(e.endpoint, "1h")
	config, err := LoadConfig(r.Root, DefaultConfigPath)
	if err != nil {
		t.Fatal(err)
	}
	cmd := send(t, errand{Root: r.Root, Config: config})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	poll(t, "the endpoint waits", func() bool { return e.waiting.Load() == 1 })
	quiet := func(d time.Duration) int {
		before := switches(t, cmd.Process.Pid)
		<-time.After(d)
		return switches(t, cmd.Process.Pid) - before
	}
	poll(t, "the daemon rests", func() bool { return quiet(300*time.Millisecond) == 0 })
	visited := e.visited()
	if n := quiet(2 * time.Second); n > 2 || e.visited() != visited {
		t.Errorf("%d context switches and %d visits in two seconds of nothing, want none", n, e.visited()-visited)
	}
}

// networkProcesses are those that this process has started and that still run.
func networkProcesses(t *testing.T) []string {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, list := range lists {
		children, _ := os.ReadFile(list) // of a thread that may have ended
		for pid := range strings.FieldsSeq(string(children)) {
			if line, _ := os.ReadFile("/proc/" + pid + "/cmdline"); strings.HasSuffix(string(line), "\x00"+network.Command+"\x00") {
				found = append(found, pid)
			}
		}
	}
	return found
}
