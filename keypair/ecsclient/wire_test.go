package ecsclient_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

// transport answers requests without a network, so that time can be synctest's.
type transport func(*http.Request) (status int, body string)

func (answer transport) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body := answer(r)
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func refusal(code string) string {
	return fmt.Sprintf(`{"Code":%q,"Message":"no","RequestId":"R"}`, code)
}

func TestOnlyReadsAreTriedAgainAndOnlyWhatPasses(t *testing.T) {
	list := func(c *ecsclient.Client) error {
		for _, err := range c.KeyPairs(context.Background(), ecsclient.KeyPairFilter{}) {
			return err
		}
		return nil
	}
	create := func(c *ecsclient.Client) error {
		_, err := c.CreateKeyPair(context.Background(), ecsclient.NewKeyPair{Name: "web"})
		return err
	}
	tests := map[string]struct {
		call   func(*ecsclient.Client) error
		status int
		code   string
		tries  int
	}{
		"list, 503":         {list, 503, "ServiceUnavailable", 4},
		"list, throttled":   {list, 400, "Throttling.User", 4},
		"list, 429":         {list, 429, "", 4},
		"list, refused":     {list, 400, "InvalidParameter", 1},
		"create, 503":       {create, 503, "ServiceUnavailable", 1},
		"create, throttled": {create, 400, "Throttling.User", 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nonces := map[string]bool{}
				client := newClient(t, ecsclient.Options{Region: "cn-test", Credentials: someCredentials, HTTP: &http.Client{
					Transport: transport(func(r *http.Request) (int, string) {
						nonces[r.Header.Get("x-acs-signature-nonce")] = true
						return test.status, refusal(test.code)
					}),
				}})
				began := time.Now()
				var refused *ecsclient.Error
				if err := test.call(client); !errors.As(err, &refused) || refused.Code != test.code {
					t.Errorf("got %v", err)
				}
				if len(nonces) != test.tries || time.Since(began) > 10*time.Second {
					t.Errorf("%d nonces in %v, want %d", len(nonces), time.Since(began), test.tries)
				}
			})
		})
	}
}

func TestAReadThatWorksInTheEndHasWorked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		client := newClient(t, ecsclient.Options{Region: "cn-test", Credentials: someCredentials, HTTP: &http.Client{
			Transport: transport(func(*http.Request) (int, string) {
				if tries++; tries < 3 {
					return 500, refusal("InternalError")
				}
				return 200, `{"TotalCount":1,"KeyPairs":{"KeyPair":[{"KeyPairName":"web"}]}}`
			}),
		}})
		if pairs := all(t, client.KeyPairs(context.Background(), ecsclient.KeyPairFilter{})); len(pairs) != 1 {
			t.Errorf("got %v", pairs)
		}
	})
}

func TestNumbersAndTruthMayBeText(t *testing.T) {
	for _, form := range []string{
		`{"TotalCount":"2","FailCount":"1","Results":{"Result":[{"InstanceId":"i-1","Success":"true","Code":"200"},{"InstanceId":"i-2","Success":"false","Code":"X"}]}}`,
		`{"TotalCount":2,"FailCount":1,"Results":{"Result":[{"InstanceId":"i-1","Success":true,"Code":200},{"InstanceId":"i-2","Success":false,"Code":"X"}]}}`,
	} {
		client := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, form) })
		outcomes, err := client.AttachKeyPair(context.Background(), "web", []string{"i-1", "i-2"})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"i-1": "", "i-2": "X"}, codes(outcomes)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", form, diff)
		}
	}
}

func TestAnAnswerThatIsNotECSsIsAnError(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("followed a redirect") }))
	t.Cleanup(elsewhere.Close)
	tests := map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"a portal's page": {
			func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>log in</html>") },
			"it is not ECS's",
		},
		"a gateway's error": {
			func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusForbidden) },
			"HTTP 403, and the answer is not ECS's",
		},
		"a redirect": {
			func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) },
			"HTTP 302, and the answer is not ECS's",
		},
		"no end": {
			func(w http.ResponseWriter, _ *http.Request) {
				for range 9 {
					_, _ = w.Write(bytes.Repeat([]byte(" "), 1<<20))
				}
			},
			"it is not ECS's",
		},
		"cut off": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "100")
				_, _ = io.WriteString(w, `{"RequestId":`)
			},
			"no answer came: unexpected EOF",
		},
		"steering the terminal": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, `{"Code":"X","Message":"a\u001b[2Jb\nc"}`)
			},
			"X: a [2Jb c (HTTP 400",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := serve(t, test.answer).CreateKeyPair(context.Background(), ecsclient.NewKeyPair{Name: "web"})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
}

// TestWhatMayHaveBeenDoneIsTold: a request that nobody has heard is not like one whose answer got lost.
func TestWhatMayHaveBeenDoneIsTold(t *testing.T) {
	var heard atomic.Bool
	client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		heard.Store(true)
		panic(http.ErrAbortHandler)
	})
	_, err := client.CreateKeyPair(context.Background(), ecsclient.NewKeyPair{Name: "web"})
	if !errors.Is(err, ecsclient.ErrNoAnswer) || !heard.Load() {
		t.Errorf("a lost answer: %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	client = newClient(t, ecsclient.Options{Region: "cn-test", Endpoint: "http://" + listener.Addr().String(), Credentials: someCredentials})
	_, err = client.ImportKeyPair(context.Background(), ecsclient.NewKeyPair{Name: "web"}, somePublicKey)
	if err == nil || errors.Is(err, ecsclient.ErrNoAnswer) || strings.Contains(err.Error(), "KeyPairName") {
		t.Errorf("nobody there: %v", err)
	}
}

func TestTheSecretIsNeverSeen(t *testing.T) {
	var text bytes.Buffer
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("X-Acs-Security-Token") // it has to be sent
		if sent := fmt.Sprint(r.URL, r.Header); strings.Contains(sent, "the-secret") || strings.Contains(sent, "the-token") {
			t.Errorf("sent: %s", sent)
		}
		panic(http.ErrAbortHandler)
	})
	err := client.DeleteKeyPairs(context.Background(), []string{"web"})
	fmt.Fprintf(&text, "%v %+v %#v %+v %#v %v", someCredentials, someCredentials, someCredentials, client, client, err)
	slog.New(slog.NewJSONHandler(&text, nil)).Info("who", "as", someCredentials)
	slog.New(slog.NewTextHandler(&text, nil)).Info("who", "as", someCredentials)
	if strings.Contains(text.String(), "the-secret") || strings.Contains(text.String(), "the-token") {
		t.Errorf("seen: %s", text.String())
	}
}

func TestEndpoints(t *testing.T) {
	tests := map[string]string{
		"":                           "https://ecs.cn-test.aliyuncs.com",
		"ecs-vpc.cn-test.example":    "https://ecs-vpc.cn-test.example",
		"http://127.0.0.1:8440":      "http://127.0.0.1:8440",
		"https://[::1]:8440/":        "https://[::1]:8440",
		"ftp://host":                 "",
		"https://user:pass@host":     "",
		"https://host/path":          "",
		"https://host/?Action=X":     "",
		"https://":                   "",
		"http://a b":                 "",
		"https://host\x7f/%zz":       "",
		"unix:///run/keypaird.sock/": "",
	}
	for endpoint, want := range tests {
		client, err := ecsclient.New(ecsclient.Options{Region: "cn-test", Endpoint: endpoint, Credentials: someCredentials})
		switch {
		case want == "" && (err == nil || strings.Contains(err.Error(), "pass")):
			t.Errorf("%q: got %v, want an error without a password", endpoint, err)
		case want != "" && (err != nil || client.Endpoint() != want):
			t.Errorf("%q: got %v, want %s", endpoint, err, want)
		}
	}
	for _, region := range []string{"", "CN", "a.b", "a/b", "-x"} {
		if _, err := ecsclient.New(ecsclient.Options{Region: region, Credentials: someCredentials}); err == nil {
			t.Errorf("region %q was taken", region)
		}
	}
}

func TestATokenIsSentAndSigned(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		signed := r.Header.Get("Authorization")
		if r.Header.Get("x-acs-security-token") != "the-token" || !strings.Contains(signed, ";x-acs-security-token;") {
			t.Errorf("token %q, signed %q", r.Header.Get("x-acs-security-token"), signed)
		}
		_, _ = io.WriteString(w, `{}`)
	})
	if err := client.RebootInstance(context.Background(), "i-1", false); err != nil {
		t.Error(err)
	}
}
