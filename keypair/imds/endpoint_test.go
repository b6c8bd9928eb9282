package imds_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/latchkey-ssh/latchkey/keypair/imds"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	keyA = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9iqyKO0p7HKHzQ6Y+UVFoG8wOE42yG4xk4XFaxCc1t ada@desk"
	keyB = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMdyR5NdPk6mVyzQm8YtYy6n3HHPtGXNW1LQ0aYeDXYp bea@desk"

	tokenHeader = "X-aliyun-ecs-metadata-token"
	ttlHeader   = "X-aliyun-ecs-metadata-token-ttl-seconds"
)

func instance() imds.Instance {
	return imds.Instance{
		ID: "i-bp1test00001", Hostname: "web-1", RegionID: "cn-hangzhou", ZoneID: "cn-hangzhou-b",
		PrivateIPv4: "192.168.0.10",
	}
}

// answer is what a test compares: status and body.
type answer struct {
	Status int
	Body   string
}

// ask sends one request, headers given as pairs, straight to the handler.
func ask(h http.Handler, method, path string, header ...string) answer {
	request := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, request)
	return answer{recorder.Code, recorder.Body.String()}
}

func check(t *testing.T, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestBothVersionsServeTheTreeOfABoundInstance(t *testing.T) {
	e := imds.New(instance())
	e.Bind("skp-bp1test", keyA+"\n")
	want := map[string]answer{
		"":                                               {200, "dynamic/\nmeta-data/"},
		"/dynamic/instance-identity/":                    {200, "document"},
		"/meta-data/hostname":                            {200, "web-1"},
		"/meta-data/instance-id":                         {200, "i-bp1test00001"},
		"/meta-data/instance-id/":                        {404, "Not Found"},
		"/meta-data/login-user":                          {404, "Not Found"},
		"/meta-data/public-keys":                         {200, "0/\nskp-bp1test/"},
		"/meta-data/public-keys/":                        {200, "0/\nskp-bp1test/"},
		"/meta-data/public-keys/0/":                      {200, "openssh-key"},
		"/meta-data/public-keys/0/openssh-key":           {200, keyA},
		"/meta-data/public-keys/skp-bp1test/openssh-key": {200, keyA},
		"/meta-data/":                                    {200, "hostname\ninstance-id\nnetwork-type\nprivate-ipv4\npublic-keys/\nregion-id\nzone-id"},
		"/meta-data/none":                                {404, "Not Found"},
		"/user-data":                                     {404, "Not Found"},
		"/vendor-data":                                   {404, "Not Found"},
	}
	for _, version := range []string{"/latest", "/2016-01-01"} {
		for path, want := range want {
			t.Run(version+path, func(t *testing.T) { check(t, ask(e, "GET", version+path), want) })
		}
	}
	check(t, ask(e, "GET", "/"), answer{200, "2016-01-01\nlatest"})
	check(t, ask(e, "GET", "/2014-01-01/meta-data/instance-id"), answer{404, "Not Found"})
	check(t, ask(e, "POST", "/latest/meta-data/instance-id"), answer{405, "Method Not Allowed"})
}

func TestAnUnboundInstanceHasNoPublicKeysAnywhere(t *testing.T) {
	e := imds.New(instance())
	e.Bind("skp-bp1test", keyA)
	e.Unbind()
	check(t, ask(e, "GET", "/latest/meta-data/public-keys/"), answer{404, "Not Found"})
	check(t, ask(e, "GET", "/latest/meta-data/public-keys/0/openssh-key"), answer{404, "Not Found"})
	for _, path := range []string{"/latest/meta-data/", "/latest/meta-data/all"} {
		if got := ask(e, "GET", path); strings.Contains(got.Body, "public-keys") {
			t.Errorf("%s has public-keys: %s", path, got.Body)
		}
	}
}

func TestBindReplacesThePairBefore(t *testing.T) {
	e := imds.New(instance())
	e.Bind("first", keyA)
	e.Bind("中文名:x", keyB)
	check(t, ask(e, "GET", "/latest/meta-data/public-keys/"), answer{200, "0/\n中文名:x/"})
	check(t, ask(e, "GET", "/latest/meta-data/public-keys/first/openssh-key"), answer{404, "Not Found"})
	check(t, ask(e, "GET", "/latest/meta-data/public-keys/%E4%B8%AD%E6%96%87%E5%90%8D:x/openssh-key"), answer{200, keyB})
}

func TestAllIsTheTreeAsJSON(t *testing.T) {
	e := imds.New(imds.Instance{ID: "i-1", LoginUser: "ecs-user", KeyPairName: "pair", PublicKey: keyA})
	var got map[string]any
	if err := json.Unmarshal([]byte(ask(e, "GET", "/latest/meta-data/all").Body), &got); err != nil {
		t.Fatal(err)
	}
	key := map[string]any{"openssh-key": keyA}
	check(t, got, map[string]any{
		"instance-id": "i-1", "login-user": "ecs-user", "network-type": "vpc",
		"public-keys": map[string]any{"0": key, "pair": key},
	})
}

func TestTokenRules(t *testing.T) {
	const put, get, id = "PUT", "GET", "/latest/meta-data/instance-id"
	refused := answer{400, "Missing or Invalid Parameters"}
	tests := []struct {
		name, mode, method, path string
		header                   []string
		want                     answer
	}{
		{"no life", "", put, "/latest/api/token", nil, refused},
		{"life of nothing", "", put, "/latest/api/token", []string{ttlHeader, "0"}, refused},
		{"life too long", "", put, "/latest/api/token", []string{ttlHeader, "21601"}, refused},
		{"life of words", "", put, "/latest/api/token", []string{ttlHeader, "1h"}, refused},
		{"through a proxy", "", put, "/latest/api/token", []string{ttlHeader, "60", "X-Forwarded-For", "10.0.0.1"}, answer{403, "Forbidden"}},
		{"read, not put", "", get, "/latest/api/token", nil, answer{405, "Method Not Allowed"}},
		{"unknown token", "", get, id, []string{tokenHeader, "x"}, answer{401, "Unauthorized"}},
		{"none, optional", imds.TokensOptional, get, id, nil, answer{200, "i-bp1test00001"}},
		{"none, required", imds.TokensRequired, get, id, nil, answer{403, "Forbidden"}},
		{"unknown token, required", imds.TokensRequired, get, id, []string{tokenHeader, "x"}, answer{401, "Unauthorized"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			i := instance()
			i.HTTPTokens = test.mode
			check(t, ask(imds.New(i), test.method, test.path, test.header...), test.want)
		})
	}
}

func TestATokenEndsWhenItsLifeDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := instance()
		i.HTTPTokens = imds.TokensRequired
		e := imds.New(i)
		token := ask(e, "PUT", "/latest/api/token", ttlHeader, "60").Body
		read := func() int { return ask(e, "GET", "/latest/meta-data/hostname", tokenHeader, token).Status }
		time.Sleep(59 * time.Second)
		check(t, read(), 200)
		time.Sleep(time.Second)
		check(t, read(), 401)
	})
}

func TestForgottenTokensAreUnknown(t *testing.T) {
	e := imds.New(instance())
	token := ask(e, "PUT", "/latest/api/token", ttlHeader, "60").Body
	check(t, ask(e, "GET", "/latest/meta-data/hostname", tokenHeader, token).Status, 200)
	e.ForgetTokens()
	check(t, ask(e, "GET", "/latest/meta-data/hostname", tokenHeader, token).Status, 401)
}

func TestADisabledEndpointTellsNothing(t *testing.T) {
	i := instance()
	i.HTTPEndpoint = imds.EndpointDisabled
	e := imds.New(i)
	check(t, ask(e, "GET", "/latest/meta-data/instance-id"), answer{403, "Forbidden"})
	check(t, ask(e, "PUT", "/latest/api/token", ttlHeader, "60"), answer{403, "Forbidden"})
}

func TestARequestSeesTheStateOfOneMoment(t *testing.T) {
	e := imds.New(instance())
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for range 200 {
				e.Bind("pair", keyA)
				got := ask(e, "GET", "/latest/meta-data/public-keys/0/openssh-key")
				if got.Body != keyA && got.Status != 404 {
					t.Errorf("got %+v", got)
				}
				e.Unbind()
			}
		})
	}
	workers.Wait()
}

func TestAServerShutsDownWithoutAnsweringWhatHangs(t *testing.T) {
	for _, m := range []imds.Misbehaviour{imds.Timeout, imds.Slow} {
		e := imds.New(instance())
		e.Misbehave(m)
		ctx, cancel := context.WithCancel(t.Context())
		entered := make(chan struct{})
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(entered)
			e.ServeHTTP(w, r)
		}))
		server.Config.BaseContext = func(net.Listener) context.Context { return ctx }
		server.Start()
		go func() {
			<-entered
			cancel()
		}()
		if response, err := server.Client().Post(server.URL+"/latest/meta-data/instance-id", "", nil); err == nil {
			response.Body.Close()
			t.Errorf("%s: answered %s", m, response.Status)
		}
		server.Close()
	}
}

func TestMisbehavioursAreFoundByName(t *testing.T) {
	for _, m := range imds.Misbehaviours() {
		got, err := imds.ParseMisbehaviour(string(m))
		if err != nil {
			t.Error(err)
		}
		check(t, got, m)
	}
	if _, err := imds.ParseMisbehaviour("sulk"); err == nil {
		t.Error("a misbehaviour that is not one was taken")
	}
}

func TestTheKeyAloneIsPlainTextOfAStatedLength(t *testing.T) {
	e := imds.New(instance())
	server := httptest.NewServer(e)
	defer server.Close()
	for name, key := range map[string]string{
		"a key":       keyA,
		"a long one":  "ssh-rsa " + strings.Repeat("A", 4000),
		"no key":      "<html>",
		"a key of sk": "sk-ssh-ed25519@openssh.com AAAA",
	} {
		t.Run(name, func(t *testing.T) {
			e.Bind("pair", key)
			response, err := server.Client().Get(server.URL + "/latest/meta-data/public-keys/0/openssh-key")
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			check(t, err, nil)
			check(t, string(body), key)
			check(t, response.Header.Get("Content-Type"), "text/plain; charset=utf-8")
			check(t, response.ContentLength, int64(len(key)))
		})
	}
}

// Nobody holds a connection by a body that is announced and not sent, also where the server has no limits of time.
func TestARequestWithABodyEndsItsConnection(t *testing.T) {
	s := imds.NewService(imds.Options{})
	mustSet(t, s, instance())
	conns := map[string]net.Conn{}
	for name, handler := range map[string]http.Handler{"instance": s.For(instance().ID), "stranger": s} {
		address := startServer(t, handler)
		for _, body := range []string{"Content-Length: 5", "Transfer-Encoding: chunked"} {
			for _, request := range []string{"GET /", "GET " + watchPath(""), "PUT /latest/api/token", "GET /none"} {
				method, path, _ := strings.Cut(request, " ")
				conns[name+", "+request+", "+body] = open(t, address, method, path, body)
			}
		}
	}
	for name, conn := range conns {
		text := rest(t, conn)
		if statusOf(text) != 400 || !strings.Contains(text, "\r\nConnection: close\r\n") {
			t.Errorf("%s: %q", name, text)
		}
	}
	check(t, s.Endpoint(instance().ID).Waiting(), 0)
}
