package ecsapi

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/ecsapi/signature"
	"github.com/latchkey-ssh/latchkey/keypair/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	linux   = "i-linux1"
	linux2  = "i-linux2"
	windows = "i-windows1"
	unknown = "i-unknown1"

	ed25519Line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
)

// world is a region with its API and an access key to it.
type world struct {
	t      testing.TB
	region *keypair.Region
	api    *API
	key    keypair.AccessKey
	log    *bytes.Buffer
}

func newWorld(t testing.TB) *world {
	t.Helper()
	store := memstore.New()
	w := &world{t: t, log: new(bytes.Buffer)}
	w.region = openRegion(t, store)
	w.api = New(w.region, Options{Log: slog.New(slog.NewJSONHandler(w.log, nil))})
	var err error
	if w.key, err = w.region.CreateAccessKey(t.Context(), "tests"); err != nil {
		t.Fatal(err)
	}
	for _, i := range []keypair.Instance{{ID: linux}, {ID: linux2}, {ID: windows, OSType: keypair.Windows}} {
		if _, err := w.region.Register(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func openRegion(t testing.TB, store keypair.Store) *keypair.Region {
	t.Helper()
	region, err := keypair.Open(t.Context(), store, keypair.Options{ID: "cn-test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		region.Close()
		_ = store.Close()
	})
	return region
}

// params are a request's, in pairs: an action and then names and values. RegionId and Version are added.
func params(action string, pairs ...string) map[string]string {
	p := map[string]string{"Action": action, "Version": Version, "RegionId": "cn-test"}
	for i := 0; i < len(pairs); i += 2 {
		p[pairs[i]] = pairs[i+1]
	}
	return p
}

// style is one way to send a request: what it is called and how it is built, signed.
type style struct {
	name  string
	build func(p map[string]string, key signature.AccessKey, now time.Time, nonce string) *http.Request
}

var styles = []style{
	{"V1 GET", v1("GET", false)},
	{"V1 POST query", v1("POST", false)},
	{"V1 POST form", v1("POST", true)},
	{"V3 GET", v3("GET", false)},
	{"V3 POST query", v3("POST", false)},
	{"V3 POST form", v3("POST", true)},
}

func v1(method string, form bool) func(map[string]string, signature.AccessKey, time.Time, string) *http.Request {
	return func(p map[string]string, key signature.AccessKey, now time.Time, nonce string) *http.Request {
		signature.SignV1(method, p, key, now, nonce)
		if form {
			return formRequest(method, "/", signature.EncodeAll(p))
		}
		return httptest.NewRequest(method, "/?"+signature.EncodeAll(p), nil)
	}
}

func v3(method string, form bool) func(map[string]string, signature.AccessKey, time.Time, string) *http.Request {
	return func(p map[string]string, key signature.AccessKey, now time.Time, nonce string) *http.Request {
		header := http.Header{"X-Acs-Action": {p["Action"]}, "X-Acs-Version": {p["Version"]}}
		for name, values := range header {
			if values[0] == "" {
				delete(header, name)
			}
		}
		delete(p, "Action")
		delete(p, "Version")
		r, body := httptest.NewRequest(method, "/?"+signature.EncodeAll(p), nil), ""
		if form {
			body = signature.EncodeAll(p)
			r = formRequest(method, "/", body)
		}
		for name, values := range header {
			r.Header[name] = values
		}
		signature.SignV3(r, []byte(body), key, now, nonce)
		r.RequestURI = r.URL.RequestURI()
		return r
	}
}

func formRequest(method, target, body string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// do sends a request and returns the answer, which has to be JSON with a RequestId.
func (w *world) do(r *http.Request) (status int, body map[string]any) {
	w.t.Helper()
	recorder := httptest.NewRecorder()
	w.api.ServeHTTP(recorder, r)
	return recorder.Code, decoded(w.t, recorder.Result().Body)
}

func decoded(t testing.TB, r io.Reader) (body map[string]any) {
	t.Helper()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &body); err != nil {
		t.Fatalf("answer is no JSON: %v\n%s", err, text)
	}
	if id, _ := body["RequestId"].(string); !isUUID(id) {
		t.Fatalf("RequestId %q is no upper-case UUID", id)
	}
	return body
}

func isUUID(id string) bool {
	return len(id) == 36 && id[14] == '4' && strings.Count(id, "-") == 4 && strings.Trim(id, "0123456789ABCDEF-") == ""
}

func (w *world) sign(s style, p map[string]string) *http.Request {
	return s.build(p, signature.AccessKey{ID: w.key.ID, Secret: w.key.Secret}, time.Now(), rand.Text())
}

// call sends a request by V3.
func (w *world) call(action string, pairs ...string) (status int, body map[string]any) {
	w.t.Helper()
	return w.do(w.sign(styles[4], params(action, pairs...)))
}

// must is call that has to succeed.
func (w *world) must(action string, pairs ...string) map[string]any {
	w.t.Helper()
	status, body := w.call(action, pairs...)
	if status != http.StatusOK {
		w.t.Fatalf("%s: %d %v", action, status, body)
	}
	return body
}

// refused is a call that has to fail in this way, by every style of request.
func (w *world) refused(status int, code, message string, p map[string]string) {
	w.t.Helper()
	for _, s := range styles {
		given := map[string]string{}
		for name, value := range p {
			given[name] = value
		}
		gotStatus, body := w.do(w.sign(s, given))
		wantRefusal(w.t, s.name, gotStatus, body, status, code, message)
	}
}

func wantRefusal(t testing.TB, name string, gotStatus int, body map[string]any, status int, code, message string) {
	t.Helper()
	got := []any{gotStatus, body["Code"], body["Message"], body["HostId"]}
	if diff := cmp.Diff([]any{status, code, message, "example.com"}, got); diff != "" {
		t.Errorf("%s: %s", name, diff)
	}
	if recommend, _ := body["Recommend"].(string); recommend == "" {
		t.Errorf("%s: Recommend is %v", name, body["Recommend"])
	}
}

func TestEveryWayToSendARequestIsRead(t *testing.T) {
	for _, s := range styles {
		t.Run(s.name, func(t *testing.T) {
			w := newWorld(t)
			const name = "中文.a_b-c:d"
			status, body := w.do(w.sign(s, params("ImportKeyPair", "KeyPairName", name, "PublicKeyBody", ed25519Line+" a + b")))
			if status != http.StatusOK || body["KeyPairName"] != name {
				t.Fatalf("%d %v", status, body)
			}
			pair, err := w.region.KeyPair(t.Context(), name)
			if err != nil || pair.PublicKey != ed25519Line+" a + b" {
				t.Errorf("stored %q, error %v", pair.PublicKey, err)
			}
		})
	}
}

// TestPlusStandsForABlank: some V1 clients sign %20 and send +.
func TestPlusStandsForABlank(t *testing.T) {
	w := newWorld(t)
	p := params("ImportKeyPair", "KeyPairName", "plus", "PublicKeyBody", ed25519Line)
	signature.SignV1("POST", p, signature.AccessKey{ID: w.key.ID, Secret: w.key.Secret}, time.Now(), "n")
	values := url.Values{}
	for name, value := range p {
		values.Set(name, value)
	}
	if status, body := w.do(httptest.NewRequest("POST", "/?"+values.Encode(), nil)); status != http.StatusOK {
		t.Errorf("%d %v", status, body)
	}
}

func TestV3TakesActionAndVersionFromTheQueryToo(t *testing.T) {
	w := newWorld(t)
	r := httptest.NewRequest("GET", "/?"+signature.EncodeAll(params("DescribeKeyPairs")), nil)
	signature.SignV3(r, nil, signature.AccessKey{ID: w.key.ID, Secret: w.key.Secret}, time.Now(), "n")
	if status, body := w.do(r); status != http.StatusOK {
		t.Errorf("%d %v", status, body)
	}
}

// TestLogTellsWhoAskedForWhat, and none of what was in the request or the answer.
func TestLogTellsWhoAskedForWhat(t *testing.T) {
	w := newWorld(t)
	created := w.must("CreateKeyPair", "KeyPairName", "logged-name", "KeyType", "ed25519")
	w.call("ImportKeyPair", "KeyPairName", "logged-name", "PublicKeyBody", ed25519Line)
	log := w.log.String()
	for _, want := range []string{`"CreateKeyPair"`, w.key.ID, `"status":200`, `"status":400`, created["RequestId"].(string)} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not tell %s\n%s", want, log)
		}
	}
	for _, never := range []string{w.key.Secret, "PRIVATE KEY", "logged-name", ed25519Line[12:40], "Signature"} {
		if strings.Contains(log, never) {
			t.Errorf("the log tells %s", never)
		}
	}
}

// TestLogTellsWhatWasRefused and why, and from where it came; an action only if it looks like one.
func TestLogTellsWhatWasRefused(t *testing.T) {
	w := newWorld(t)
	foreign := signature.AccessKey{ID: "LTAInobody", Secret: "x"}
	forged := signature.AccessKey{ID: w.key.ID, Secret: "x"}
	long := strings.Repeat("A", 64)
	tests := []struct {
		name    string
		request *http.Request
		want    map[string]any
	}{
		{"done", w.sign(styles[0], params("DescribeRegions")), map[string]any{"action": "DescribeRegions", "access_key_id": w.key.ID, "status": 200.0}},
		{"wrong secret", styles[0].build(params("CreateKeyPair"), forged, time.Now(), "n"), map[string]any{"action": "CreateKeyPair", "access_key_id": w.key.ID, "status": 400.0, "code": "SignatureDoesNotMatch"}},
		{"wrong secret, V3", styles[5].build(params("CreateKeyPair"), forged, time.Now(), "n"), map[string]any{"action": "CreateKeyPair", "access_key_id": w.key.ID, "status": 400.0, "code": "SignatureDoesNotMatch"}},
		{"nobody's key", styles[2].build(params("CreateKeyPair"), foreign, time.Now(), "n"), map[string]any{"action": "CreateKeyPair", "access_key_id": "", "status": 404.0, "code": "InvalidAccessKeyId.NotFound"}},
		{"not ours", w.sign(styles[0], params("RunInstances")), map[string]any{"action": "RunInstances", "access_key_id": w.key.ID, "status": 404.0, "code": "InvalidAction.NotFound"}},
		{"64 letters", w.sign(styles[0], params(long)), map[string]any{"action": long, "access_key_id": w.key.ID, "status": 404.0, "code": "InvalidAction.NotFound"}},
		{"65 letters", w.sign(styles[0], params(long+"A")), map[string]any{"action": "", "access_key_id": w.key.ID, "status": 404.0, "code": "InvalidAction.NotFound"}},
		{"no name", w.sign(styles[0], params("Run\n1")), map[string]any{"action": "", "access_key_id": w.key.ID, "status": 404.0, "code": "InvalidAction.NotFound"}},
		{"body too large", formRequest("POST", "/?Action=ImportKeyPair", strings.Repeat("A", maxBody+1)), map[string]any{"action": "ImportKeyPair", "access_key_id": "", "status": 413.0, "code": "RequestTooLarge"}},
		{"nothing", httptest.NewRequest("GET", "/elsewhere", nil), map[string]any{"action": "", "access_key_id": "", "status": 404.0, "code": "InvalidApi.NotFound"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w.t = t
			w.log.Reset()
			test.request.RemoteAddr = "192.0.2.7:1234"
			_, answer := w.do(test.request)
			var line map[string]any
			if err := json.Unmarshal(w.log.Bytes(), &line); err != nil {
				t.Fatalf("want one line: %v\n%s", err, w.log)
			}
			for _, name := range []string{"time", "level", "duration"} {
				delete(line, name)
			}
			test.want["msg"], test.want["request_id"], test.want["peer"] = "api request", answer["RequestId"], "192.0.2.7"
			if diff := cmp.Diff(test.want, line); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// keeper keeps the very bytes that were written to it.
type keeper struct {
	httptest.ResponseRecorder
	written []byte
	then    string // what they were when they were written
}

func (k *keeper) Write(b []byte) (int, error) {
	k.written, k.then = b, string(b)
	return len(b), nil
}

func TestPrivateKeyIsWipedAfterTheAnswer(t *testing.T) {
	w := newWorld(t)
	k := &keeper{ResponseRecorder: *httptest.NewRecorder()}
	w.api.ServeHTTP(k, w.sign(styles[4], params("CreateKeyPair", "KeyPairName", "wiped", "KeyType", "ED25519")))
	if !strings.Contains(k.then, "PRIVATE KEY") {
		t.Fatalf("answer %s", k.then)
	}
	if len(bytes.Trim(k.written, "\x00")) > 0 {
		t.Error("the answer's buffer still holds the private key")
	}
}

func TestAnswerIsNotToBeKept(t *testing.T) {
	w := newWorld(t)
	recorder := httptest.NewRecorder()
	w.api.ServeHTTP(recorder, w.sign(styles[0], params("DescribeRegions")))
	header := recorder.Result().Header
	got := []string{header.Get("Content-Type"), header.Get("Cache-Control"), header.Get("X-Acs-Request-Id")}
	want := []string{"application/json;charset=utf-8", "no-store", decoded(t, recorder.Body)["RequestId"].(string)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatGoesWrongInsideIsNotTold(t *testing.T) {
	w := newWorld(t)
	store := memstore.New()
	w.api = New(openRegion(t, store), Options{Log: slog.New(slog.NewTextHandler(w.log, nil))})
	_ = store.Close()
	status, body := w.call("DescribeKeyPairs")
	wantRefusal(t, "closed store", status, body, 500, "InternalError", "The request processing has failed due to some unknown error.")
	if !strings.Contains(w.log.String(), "api request failed") {
		t.Errorf("the log does not tell what failed:\n%s", w.log)
	}
}
