package network

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ssh/latchkey/metadata"
)

// watchedEndpoint is one whose watch answers when news is closed.
func watchedEndpoint(t *testing.T) (e Endpoint, waiting *atomic.Int32, news chan struct{}) {
	t.Helper()
	waiting, news = new(atomic.Int32), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/public-keys/") {
			_, _ = w.Write([]byte("i-test"))
			return
		}
		etag := "1"
		if r.FormValue("wait_for_change") != "" {
			waiting.Add(1)
			defer waiting.Add(-1)
			select {
			case <-news:
				etag = "2"
			case <-r.Context().Done():
			}
		}
		w.Header().Set("ETag", etag)
	}))
	t.Cleanup(server.Close)
	return Endpoint{URL: server.URL, Token: metadata.TokenOff}, waiting, news
}

// watchResult is what a watch ended with.
type watchResult struct {
	changed bool
	err     error
}

func startWatch(ctx context.Context, side Side, e Endpoint) <-chan watchResult {
	ended := make(chan watchResult, 1)
	go func() {
		changed, err := side.Watch(ctx, e, "1", time.Hour)
		ended <- watchResult{changed, err}
	}()
	return ended
}

func TestAnotherProcessWatchesAndAnswersAllElseMeanwhile(t *testing.T) {
	e, waiting, news := watchedEndpoint(t)
	r := unprivileged(t)
	ended := startWatch(t.Context(), r, e)
	await(t, "the endpoint waits", func() bool { return waiting.Load() == 1 })
	if got := r.Fetch(t.Context(), e); got.State != metadata.Unbound || got.ETag != "1" {
		t.Errorf("fetched meanwhile %+v", got)
	}
	conn, file, err := r.Loopback(t.Context())
	if err != nil {
		t.Fatalf("a connection meanwhile: %v", err)
	}
	conn.Close()
	file.Close()
	r.Rest() // the watch goes on
	close(news)
	if got := <-ended; !got.changed || got.err != nil {
		t.Errorf("watched %+v, want a change", got)
	}
	if len(r.idle) != 1 {
		t.Errorf("%d processes are kept for the next question, want the one that watched", len(r.idle))
	}
}

func TestAWatchEndsWithItsAskerInBothProcesses(t *testing.T) {
	for name, side := range map[string]Side{"local": &Local{}, "remote": unprivileged(t)} {
		t.Run(name, func(t *testing.T) {
			e, waiting, _ := watchedEndpoint(t)
			ctx, cancel := context.WithCancel(t.Context())
			ended := startWatch(ctx, side, e)
			await(t, "the endpoint waits", func() bool { return waiting.Load() == 1 })
			start := time.Now()
			cancel()
			if got := <-ended; got.err == nil || time.Since(start) > time.Second {
				t.Errorf("after %v: %+v, want an error at once", time.Since(start), got)
			}
			await(t, "the endpoint waits no more", func() bool { return waiting.Load() == 0 })
			side.Rest()
		})
	}
}

// TestAWatchOutlivesTheProcessThatHoldsIt: systemd ends one that has lived long.
func TestAWatchOutlivesTheProcessThatHoldsIt(t *testing.T) {
	var met atomic.Int32
	r := remoteTo(t, func(conn *net.UnixConn) {
		var asked request
		if _, err := receive(conn, &asked); err != nil || asked.Watch == nil || asked.ETag != "1" || asked.Within < time.Hour {
			t.Errorf("asked %+v, %v", asked, err)
		}
		if met.Add(1) > 1 {
			_ = send(conn, reply{Changed: new(true)})
		} // else it dies
	})
	defer r.Rest()
	if got := <-startWatch(t.Context(), r, Endpoint{}); !got.changed || got.err != nil || met.Load() != 2 {
		t.Errorf("watched %+v by %d processes, want a change told by the second", got, met.Load())
	}
}

func TestAProcessThatHasLivedLongIsNotAskedAgain(t *testing.T) {
	var met atomic.Int32
	r := remoteTo(t, func(conn *net.UnixConn) {
		met.Add(1)
		for {
			if _, err := receive(conn, &request{}); err != nil {
				return
			}
			_ = send(conn, reply{Error: "no"})
		}
	})
	defer r.Rest()
	for _, want := range []int32{1, 1, 2, 2} {
		if r.Fetch(t.Context(), Endpoint{}); met.Load() != want {
			t.Errorf("%d processes were asked, want %d", met.Load(), want)
		}
		if want == 1 {
			r.idle[0].since = r.idle[0].since.Add(-linkLife / 2)
		}
	}
}

// TestAHostileNetworkProcessDoesNotWatch: what it says of it is an error, or no
// more than a hint.
func TestAHostileNetworkProcessDoesNotWatch(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                  "",
		"null":                     "null",
		"the other kind of answer": `{"binding":{"state":"unbound","instance_id":"i-1"}}`,
		"a change that is none":    `{"changed":"yes"}`,
		"both":                     `{"changed":true,"error":"no"}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := remoteTo(t, says(text))
			defer r.Rest()
			if changed, err := r.Watch(t.Context(), Endpoint{}, "1", time.Minute); changed || err == nil {
				t.Errorf("changed %v, %v; want an error", changed, err)
			}
		})
	}
}
