package bench

import (
	"context"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/keypair/imds"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/network"
)

// watchSide is what waits for an endpoint, and what the endpoint tells it.
type watchSide struct {
	network.Local
	endpoint *imds.Endpoint
	from     network.Endpoint
}

func newWatchSide(b *testing.B) *watchSide {
	b.Helper()
	endpoint := imds.New(imds.Instance{ID: instanceID, HTTPTokens: imds.TokensRequired})
	server := httptest.NewServer(endpoint)
	b.Cleanup(server.Close)
	return &watchSide{endpoint: endpoint, from: network.Endpoint{URL: server.URL, Token: metadata.TokenAuto, InstanceID: instanceID}}
}

// fetch is what is bound now, which must be known.
func (s *watchSide) fetch(b *testing.B) metadata.Binding {
	b.Helper()
	got := s.Fetch(context.Background(), s.from)
	if got.State == metadata.Unknown || got.ETag == "" {
		b.Fatalf("fetched %+v", got)
	}
	return got
}

// hear starts a watch, binds a key once the endpoint holds it, and tells how long after
// that the watch ended, and the fetch of the key.
func (s *watchSide) hear(b *testing.B, key testmachine.Key) (watch, fetch time.Duration) {
	b.Helper()
	etag := s.fetch(b).ETag
	ended := make(chan time.Time, 1)
	go func() {
		if changed, err := s.Watch(context.Background(), s.from, etag, time.Minute); !changed || err != nil {
			b.Errorf("changed %v, %v", changed, err)
		}
		ended <- time.Now()
	}()
	time.Sleep(20 * time.Millisecond) // the endpoint holds it by then; if not, the figure is too high
	start := time.Now()
	s.endpoint.Bind("bench", key.Line)
	watch = (<-ended).Sub(start)
	if got := s.fetch(b); len(got.Keys) != 1 || got.Keys[0].Line() != key.Line {
		b.Fatalf("fetched %+v", got)
	}
	return watch, time.Since(start)
}

// BenchmarkChangeToBinding is from the change at the endpoint to the answer that a waiting
// agent reads, and to the binding that it has fetched then.
func BenchmarkChangeToBinding(b *testing.B) {
	keys := []testmachine.Key{testmachine.NewKey(b, "ed25519"), testmachine.NewKey(b, "ed25519")}
	s := newWatchSide(b)
	defer s.Rest()
	var watches, fetches []time.Duration
	for i := 0; b.Loop(); i++ {
		watch, fetch := s.hear(b, keys[i%2])
		watches, fetches = append(watches, watch), append(fetches, fetch)
	}
	b.ReportMetric(milliseconds(percentile(watches, 99)), "ms-p99/watch")
	b.ReportMetric(5, "goal-ms-p99/watch")
	b.ReportMetric(milliseconds(percentile(fetches, 99)), "ms-p99/binding")
	b.Log("limit: one answer on a connection that is held; six requests of the fetch after it")
}

// percentile of times, which it sorts.
func percentile(times []time.Duration, p int) time.Duration {
	slices.Sort(times)
	return times[(len(times)-1)*p/100]
}
