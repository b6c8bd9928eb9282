package metadata

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
)

// TestMain runs every test with a proxy in the environment, at an address of nobody. It is
// set here because net/http reads the environment once.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		if err := os.Setenv(name, "http://192.0.2.9:3128"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// page is one answer of an endpoint made for a test; the zero status is 200.
type page struct {
	status int
	body   string
}

// pages are an endpoint by path below meta-data/; what is not in it is 404. A PUT of a
// token is answered from tokenPath, else there is no hardened mode.
type pages map[string]page

func (p pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	found, ok := p[strings.TrimPrefix(r.URL.Path, "/latest/meta-data/")]
	if !ok {
		found = page{http.StatusNotFound, "<html>404</html>"}
	}
	if found.status != 0 {
		w.WriteHeader(found.status)
	}
	_, _ = io.WriteString(w, found.body)
}

// connect returns a client of handler that tries once.
func connect(t testing.TB, handler http.Handler, o Options) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	o.Endpoint = server.URL
	if o.MaxElapsed == 0 {
		o.MaxElapsed = time.Millisecond
	}
	client, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

var ignoreTime = cmpopts.IgnoreFields(Binding{}, "At")

func TestWhatTheEndpointSaysIsTheBinding(t *testing.T) {
	id := page{body: "i-1"}
	a, b := mustKey(t, edLine), mustKey(t, edLine2)
	named := func(key Key, name string) Key { key.Name = name; return key }
	tests := map[string]struct {
		pages pages
		want  Binding
	}{
		"no public-keys":    {pages{"instance-id": id}, Binding{State: Unbound}},
		"an empty listing":  {pages{"instance-id": id, "public-keys/": {}}, Binding{State: Unbound}},
		"a newline":         {pages{"instance-id": id, "public-keys/": {body: "\n"}}, Binding{State: Unbound}},
		"unbound, a user":   {pages{"instance-id": id, "login-user": {body: "admin"}}, Binding{State: Unbound, User: "admin"}},
		"final newlines":    {pages{"instance-id": {body: "i-1\n"}, "public-keys/": {body: "0/\r\n"}, "public-keys/0/openssh-key": {body: edLine + "\r\n"}}, Binding{State: Bound, Keys: []Key{a}}},
		"a logon user":      {pages{"instance-id": id, "public-keys/": {body: "0/"}, "public-keys/0/openssh-key": {body: edLine}, "login-user": {body: "ecs-user\n"}}, Binding{State: Bound, User: "ecs-user", Keys: []Key{a}}},
		"number and name":   {pages{"instance-id": id, "public-keys/": {body: "0/\nskp-x/"}, "public-keys/0/openssh-key": {body: edLine}, "public-keys/skp-x/openssh-key": {body: edLine}}, Binding{State: Bound, Keys: []Key{named(a, "skp-x")}}},
		"name and two more": {pages{"instance-id": id, "public-keys/": {body: "n1/\n0/\nn2/"}, "public-keys/0/openssh-key": {body: edLine}, "public-keys/n1/openssh-key": {body: edLine}, "public-keys/n2/openssh-key": {body: edLine + " x"}}, Binding{State: Bound, Keys: []Key{named(a, "n1,n2")}}},
		"listing's order":   {pages{"instance-id": id, "public-keys/": {body: "1/\n0/\n1/"}, "public-keys/0/openssh-key": {body: edLine}, "public-keys/1/openssh-key": {body: edLine2}}, Binding{State: Bound, Keys: []Key{b, a}}},
		"no slash, script":  {pages{"instance-id": id, "public-keys/": {body: "密钥:1.a_b"}, "public-keys/密钥:1.a_b/openssh-key": {body: edLine}}, Binding{State: Bound, Keys: []Key{named(a, "密钥:1.a_b")}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.want.InstanceID = "i-1"
			got := connect(t, test.pages, Options{InstanceID: "i-1"}).Fetch(t.Context())
			if diff := cmp.Diff(test.want, got, ignoreTime); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if err := got.Validate(); err != nil || got.At.IsZero() {
				t.Errorf("at %v, %v", got.At, err)
			}
		})
	}
}

// Invariant 5, the metadata side: whatever is wrong with an answer makes the binding unknown.
func TestUnknownWhateverIsWrongWithAnAnswer(t *testing.T) {
	const html = "<html>Welcome to the hotel</html>"
	tests := map[string]struct {
		path   string
		page   page
		reason string
	}{
		"no identity":           {"instance-id", page{404, ""}, "not there (404)"},
		"identity is a page":    {"instance-id", page{200, html}, "a web page came"},
		"identity is OK":        {"instance-id", page{200, "success"}, "not an instance id"},
		"identity of two lines": {"instance-id", page{200, "i-1\ni-2"}, "not an instance id"},
		"identity of nobody":    {"instance-id", page{200, ""}, "not an instance id"},
		"another identity":      {"instance-id", page{200, "i-2"}, "endpoint answers for instance i-2, this is i-1"},
		"listing refused":       {"public-keys/", page{403, ""}, "refused (403)"},
		"listing is a page":     {"public-keys/", page{200, html}, "a web page came"},
		"listing of nothing":    {"public-keys/", page{200, " "}, "not a listing of keys"},
		"listing with a gap":    {"public-keys/", page{200, "0/\n\n1/"}, "not a listing of keys"},
		"listing of paths":      {"public-keys/", page{200, "../../x/"}, "not a listing of keys"},
		"listing of a parent":   {"public-keys/", page{200, "../"}, "not a listing of keys"},
		"listing as in EC2":     {"public-keys/", page{200, "0=name"}, "not a listing of keys"},
		"listing gone":          {"public-keys/", page{410, ""}, "unexpected status 410"},
		"listing in part":       {"public-keys/", page{206, "0/"}, "unexpected status 206"},
		"listing without body":  {"public-keys/", page{204, ""}, "unexpected status 204"},
		"listing moved":         {"public-keys/", page{301, ""}, "redirected (301)"},
		"listing in trouble":    {"public-keys/", page{503, ""}, "in trouble (503)"},
		"listing too often":     {"public-keys/", page{429, ""}, "in trouble (429)"},
		"listing endless":       {"public-keys/", page{200, strings.Repeat("0/\n", 30000)}, "larger than 64 KiB"},
		"listing of many":       {"public-keys/", page{200, numbers(40)}, "more than 32 entries"},
		"a listed key away":     {"public-keys/1/openssh-key", page{404, ""}, "not there (404)"},
		"a listed key cut":      {"public-keys/1/openssh-key", page{200, edLine2[:60]}, "openssh-key: public key: "},
		"a listed key empty":    {"public-keys/1/openssh-key", page{200, ""}, "does not begin with a key type"},
		"a listed key a page":   {"public-keys/1/openssh-key", page{200, html}, "a web page came"},
		"a key with options":    {"public-keys/1/openssh-key", page{200, "no-pty " + edLine2}, "without options"},
		"a key of two lines":    {"public-keys/1/openssh-key", page{200, edLine + "\n" + edLine2}, "more than one line"},
		"user is a page":        {"login-user", page{200, html}, "a web page came"},
		"user is an option":     {"login-user", page{200, "-x"}, "not a user name"},
		"user is nobody":        {"login-user", page{200, ""}, "not a user name"},
		"user refused":          {"login-user", page{403, ""}, "refused (403)"},
		"token is a page":       {tokenPath, page{200, html}, "a web page came"},
		"token of two words":    {tokenPath, page{200, "a b"}, "not a token"},
		"token in trouble":      {tokenPath, page{500, ""}, "in trouble (500)"},
		"token not given":       {tokenPath, page{400, ""}, "unexpected status 400"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := pages{
				"instance-id": {body: "i-1"}, "public-keys/": {body: "0/\n1/"},
				"public-keys/0/openssh-key": {body: edLine}, "public-keys/1/openssh-key": {body: edLine2},
			}
			p[test.path] = test.page
			got := connect(t, p, Options{InstanceID: "i-1"}).Fetch(t.Context())
			if got.State != Unknown || !strings.Contains(got.Reason, test.reason) {
				t.Errorf("got %s, %q; want %q", got.State, got.Reason, test.reason)
			}
			if err := got.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

// numbers lists directories 0/ to n-1/.
func numbers(n int) string {
	var listing strings.Builder
	for i := range n {
		fmt.Fprintf(&listing, "%d/\n", i)
	}
	return listing.String()
}

func TestSixteenKeysAreTakenAndSeventeenAreUnknown(t *testing.T) {
	for n, want := range map[int]State{16: Bound, 17: Unknown} {
		p := pages{"instance-id": {body: "i-1"}, "public-keys/": {body: numbers(n)}}
		for i := range n {
			key := encode(fields("ssh-ed25519", strings.Repeat(string(rune('a'+i)), 32)))
			p[fmt.Sprintf("public-keys/%d/openssh-key", i)] = page{body: "ssh-ed25519 " + key}
		}
		got := connect(t, p, Options{}).Fetch(t.Context())
		if got.State != want || want == Bound && len(got.Keys) != n {
			t.Errorf("%d keys: %s with %d, %q", n, got.State, len(got.Keys), got.Reason)
		}
	}
}

func TestAnAnswerOfAnotherInstanceInBetweenIsUnknown(t *testing.T) {
	var asked atomic.Int64
	swapped := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := pages{"instance-id": {body: fmt.Sprintf("i-%d", asked.Load())}}
		if r.URL.Path == "/latest/meta-data/public-keys/" {
			asked.Add(1)
		}
		p.ServeHTTP(w, r)
	})
	got := connect(t, swapped, Options{}).Fetch(t.Context())
	if want := "endpoint answered for instance i-0, then for i-1"; got.State != Unknown || got.Reason != want {
		t.Errorf("got %s, %q", got.State, got.Reason)
	}
}

func TestTheFirstInstanceIsTheOneFromThenOn(t *testing.T) {
	p := pages{"instance-id": {body: "i-1"}}
	client := connect(t, p, Options{})
	if got := client.Fetch(t.Context()); got.State != Unbound {
		t.Fatalf("got %s, %q", got.State, got.Reason)
	}
	p["instance-id"] = page{body: "i-2"}
	if got := client.Fetch(t.Context()); got.State != Unknown {
		t.Errorf("an answer of i-2 was taken: %s", got.State)
	}
}

func TestTheOlderTreeIsFoundAndRemembered(t *testing.T) {
	var asked []string
	older := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		r.URL.Path = strings.Replace(r.URL.Path, "/latest/", "/none/", 1)
		r.URL.Path = strings.Replace(r.URL.Path, "/2016-01-01/", "/latest/", 1)
		pages{"instance-id": {body: "i-1"}}.ServeHTTP(w, r)
	})
	client := connect(t, older, Options{Token: TokenOff})
	for range 2 {
		if got := client.Fetch(t.Context()); got.State != Unbound {
			t.Fatalf("got %s, %q", got.State, got.Reason)
		}
	}
	const older16 = "/2016-01-01/meta-data/"
	visit := []string{older16 + "instance-id", older16 + "public-keys/", older16 + "login-user", older16 + "instance-id"}
	want := append(append([]string{"/latest/meta-data/instance-id"}, visit...), visit...)
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	pinned := connect(t, older, Options{Version: "latest"})
	if got := pinned.Fetch(t.Context()); got.State != Unknown {
		t.Errorf("a client held to latest is %s", got.State)
	}
}

func TestTransientFaultsAreTriedAgainAndDefiniteOnesAreNot(t *testing.T) {
	tests := map[string]struct {
		first page
		want  State
		asked int64
	}{
		"500": {page{500, ""}, Unbound, 3},
		"503": {page{503, ""}, Unbound, 3},
		"429": {page{429, ""}, Unbound, 3},
		"403": {page{403, ""}, Unknown, 1},
		"302": {page{302, ""}, Unknown, 1},
		"web": {page{200, "<html>"}, Unknown, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				id := page{body: "i-1"}
				if strings.HasSuffix(r.URL.Path, "/instance-id") && asked.Add(1) == 1 {
					id = test.first
				}
				pages{"instance-id": id}.ServeHTTP(w, r)
			})
			got := connect(t, handler, Options{Token: TokenOff, MaxElapsed: 10 * time.Second}).Fetch(t.Context())
			if got.State != test.want || asked.Load() != test.asked {
				t.Errorf("%s after asking %d times for the instance, %q", got.State, asked.Load(), got.Reason)
			}
		})
	}
}

func TestNoListenerIsUnknownWithinTheBudget(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	endpoint := "http://" + listener.Addr().String()
	listener.Close()
	client, err := New(Options{Endpoint: endpoint, MaxElapsed: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	got := client.Fetch(t.Context())
	if got.State != Unknown || !strings.Contains(got.Reason, "connection refused") {
		t.Errorf("got %s, %q", got.State, got.Reason)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestACancelledFetchEndsAtOnceAndIsUnknown(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	hangs := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	got := connect(t, hangs, Options{MaxElapsed: time.Minute, RequestTimeout: time.Minute}).Fetch(ctx)
	if got.State != Unknown || !strings.Contains(got.Reason, "stopped before") {
		t.Errorf("got %s, %q", got.State, got.Reason)
	}
}

func TestOneClientServesManyGoroutines(t *testing.T) {
	client := connect(t, pages{"instance-id": {body: "i-1"}, tokenPath: {body: "t"}}, Options{})
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			if got := client.Fetch(t.Context()); got.State != Unbound {
				t.Errorf("got %s, %q", got.State, got.Reason)
			}
		})
	}
	workers.Wait()
}
