package imds_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/latchkey-ssh/latchkey/keypair/imds"
	"github.com/latchkey-ssh/latchkey/metadata"
)

// connect starts a server for e and returns a client of it, with little patience.
func connect(t testing.TB, e *imds.Endpoint, o metadata.Options) *metadata.Client {
	t.Helper()
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	o.Endpoint = server.URL
	if o.RequestTimeout == 0 {
		o.RequestTimeout = 2 * time.Second
	}
	if o.MaxElapsed == 0 {
		o.MaxElapsed = time.Millisecond // one try
	}
	client, err := metadata.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func mustKey(t testing.TB, line, name string) metadata.Key {
	t.Helper()
	key, err := metadata.ParseKey(line)
	if err != nil {
		t.Fatal(err)
	}
	key.Name = name
	return key
}

func TestTheClientFollowsBindRebindAndUnbind(t *testing.T) {
	for _, tokens := range []string{imds.TokensOptional, imds.TokensRequired} {
		t.Run(tokens, func(t *testing.T) {
			i := instance()
			i.HTTPTokens, i.LoginUser = tokens, "ecs-user"
			e := imds.New(i)
			client := connect(t, e, metadata.Options{InstanceID: i.ID})
			expect := func(state metadata.State, keys ...metadata.Key) {
				t.Helper()
				want := metadata.Binding{State: state, InstanceID: i.ID, User: "ecs-user", Keys: keys}
				got := client.Fetch(t.Context())
				if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(got, "At", "ETag")); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
			}
			expect(metadata.Unbound)
			e.Bind("skp-a", keyA)
			expect(metadata.Bound, mustKey(t, keyA, "skp-a"))
			e.Bind("密钥:b", keyB)
			expect(metadata.Bound, mustKey(t, keyB, "密钥:b"))
			e.ForgetTokens()
			expect(metadata.Bound, mustKey(t, keyB, "密钥:b"))
			e.Unbind()
			expect(metadata.Unbound)
		})
	}
}

// The other half of invariant 5, "unknown changes nothing": whatever the endpoint does
// wrong is unknown, whether a key is bound or not.
func TestEveryMisbehaviourIsUnknown(t *testing.T) {
	reasons := map[imds.Misbehaviour]string{
		imds.Timeout:          "no answer in time",
		imds.Slow:             "no answer in time",
		imds.Error500:         "endpoint is in trouble (500)",
		imds.Busy:             "endpoint is in trouble (429)",
		imds.HalfBody:         "answer was cut short",
		imds.NoLength:         "does not say how long it is",
		imds.Oversized:        "larger than 64 KiB",
		imds.HTML:             "a web page came",
		imds.Redirect:         "redirected (302)",
		imds.StaleToken:       "not authorized (401)",
		imds.WrongInstance:    "endpoint answers for instance i-wrong0instance00000, this is i-bp1test00001",
		imds.SwappedInstance:  "then for i-wrong0instance00000",
		imds.KeyMissing:       "not there (404)",
		imds.KeyOptions:       "without options",
		imds.KeySecondLine:    "more than one line",
		imds.KeyOfAnotherType: "not of the stated type",
	}
	for _, m := range imds.Misbehaviours() {
		reason, wrong := reasons[m]
		if !wrong && m != imds.None {
			t.Errorf("no reason is expected of %q", m)
		}
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			e := imds.New(instance())
			e.Bind("pair", keyA)
			e.Misbehave(m)
			patience := 10 * time.Second
			if m == imds.Timeout || m == imds.Slow {
				patience = imds.SlowDelay / 2
			}
			client := connect(t, e, metadata.Options{InstanceID: "i-bp1test00001", RequestTimeout: patience})
			expectReason(t, client, reason)
			if !strings.HasPrefix(string(m), "key-") {
				e.Unbind()
				expectReason(t, client, reason)
			}
			e.Bind("pair", keyA)
			e.Misbehave(imds.None)
			expectReason(t, client, "")
		})
	}
}

// The same faults, but only where the keys are listed: nothing passes for "no key is bound".
func TestAFaultOfTheListingIsNeverUnbound(t *testing.T) {
	for _, m := range []imds.Misbehaviour{
		imds.Timeout, imds.Error500, imds.Busy, imds.HalfBody, imds.NoLength, imds.Oversized, imds.HTML, imds.Redirect,
	} {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			e := imds.New(instance())
			e.Misbehave(m, "/public-keys")
			client := connect(t, e, metadata.Options{RequestTimeout: 100 * time.Millisecond})
			if got := client.Fetch(t.Context()); got.State != metadata.Unknown {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func expectReason(t *testing.T, client *metadata.Client, reason string) {
	t.Helper()
	got := client.Fetch(t.Context())
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	if known := got.State != metadata.Unknown; known != (reason == "") || !strings.Contains(got.Reason, reason) {
		t.Errorf("got %s, %q; want reason %q", got.State, got.Reason, reason)
	}
}

func TestASlowEndpointIsWaitedFor(t *testing.T) {
	e := imds.New(instance())
	e.Misbehave(imds.Slow, "instance-id")
	expectReason(t, connect(t, e, metadata.Options{MaxElapsed: 10 * time.Second}), "")
}

func TestADisabledEndpointIsUnknown(t *testing.T) {
	i := instance()
	i.HTTPEndpoint = imds.EndpointDisabled
	expectReason(t, connect(t, imds.New(i), metadata.Options{}), "refused (403)")
}

func TestWithoutATokenARequiringEndpointIsUnknown(t *testing.T) {
	i := instance()
	i.HTTPTokens = imds.TokensRequired
	expectReason(t, connect(t, imds.New(i), metadata.Options{Token: metadata.TokenOff}), "wants a token")
}

// BenchmarkFetch measures the endpoint's answer -> Binding, over loopback, connection and
// token kept.
func BenchmarkFetch(b *testing.B) {
	e := imds.New(instance())
	e.Bind("pair", keyA)
	client := connect(b, e, metadata.Options{})
	b.ReportAllocs()
	for b.Loop() {
		if got := client.Fetch(b.Context()); got.State != metadata.Bound {
			b.Fatal(got.Reason)
		}
	}
}

// BenchmarkFirstFetch is a fetch as at boot: a new client, connection and token.
func BenchmarkFirstFetch(b *testing.B) {
	e := imds.New(instance())
	e.Bind("pair", keyA)
	server := httptest.NewServer(e)
	defer server.Close()
	b.ReportAllocs()
	for b.Loop() {
		client, err := metadata.New(metadata.Options{Endpoint: server.URL})
		if err != nil {
			b.Fatal(err)
		}
		if got := client.Fetch(b.Context()); got.State != metadata.Bound {
			b.Fatal(got.Reason)
		}
		client.Close()
	}
}
