package imds_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-ssh/latchkey/keypair/imds"
)

const keysPath = "/latest/meta-data/public-keys/"

// etag returns the ETag of an answer, empty when it has none.
func etag(h http.Handler, path string, header ...string) string {
	return record(h, path, header...).Header().Get("ETag")
}

func record(h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest("GET", path, nil)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, request)
	return recorder
}

func watchPath(query string) string { return keysPath + "?wait_for_change=true" + query }

// The key alone has none where nobody asks about changes: see tellKey.
func TestEveryAnswerAboutKeysHasTheETagAndNoOther(t *testing.T) {
	e := imds.New(instance())
	for _, bound := range []bool{false, true} {
		now := etag(e, keysPath)
		alone := now
		if bound {
			e.Bind("pair", keyA)
			now, alone = etag(e, keysPath), ""
		}
		if len(now) != 16 {
			t.Errorf("ETag %q: want 16 hexadecimal digits", now)
		}
		for path, want := range map[string]string{
			"/latest/meta-data/public-keys":                   now,
			"/2016-01-01/meta-data/public-keys/":              now,
			"/latest/meta-data/public-keys/0/openssh-key":     alone,
			"/latest/meta-data/public-keys/0/openssh-key?x":   now,
			"/2016-01-01/meta-data/public-keys/0/openssh-key": now,
			"/latest/meta-data/public-keys/none/openssh-key":  now,
			"/latest/meta-data/public-keys?last_etag=x":       now,
			"/latest/meta-data/public-keysmith":               "",
			"/latest/meta-data/instance-id":                   "",
			"/latest/meta-data/all":                           "",
			"/2014-01-01/meta-data/public-keys/0/openssh-key": "",
			"/": "",
		} {
			if got := etag(e, path); got != want {
				t.Errorf("%s: ETag %q, want %q", path, got, want)
			}
		}
	}
}

func TestWhoMayNotReadGetsNoETag(t *testing.T) {
	i := instance()
	i.HTTPTokens = imds.TokensRequired
	check(t, etag(imds.New(i), keysPath), "")
	check(t, etag(imds.New(i), keysPath, tokenHeader, "x"), "")
	i.HTTPEndpoint = imds.EndpointDisabled
	check(t, etag(imds.New(i), keysPath), "")
}

func TestTheETagChangesWithWhatIsBoundAndWithNothingElse(t *testing.T) {
	base := instance()
	base.KeyPairName, base.PublicKey, base.LoginUser = "pair", keyA, "root"
	tests := []struct {
		name    string
		edit    func(*imds.Instance)
		changes bool
	}{
		{"key", func(i *imds.Instance) { i.PublicKey = keyB }, true},
		{"pair's name", func(i *imds.Instance) { i.KeyPairName = "pair-2" }, true},
		{"logon user", func(i *imds.Instance) { i.LoginUser = "ecs-user" }, true},
		{"unbound", func(i *imds.Instance) { i.KeyPairName, i.PublicKey = "", "" }, true},
		{"host name", func(i *imds.Instance) { i.Hostname = "web-2" }, false},
		{"tokens", func(i *imds.Instance) { i.HTTPTokens = imds.TokensRequired }, false},
		{"nothing", func(*imds.Instance) {}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := imds.New(base)
			before := etag(e, keysPath)
			i := e.Instance()
			test.edit(&i)
			i.HTTPTokens = imds.TokensOptional
			e.Set(i)
			check(t, etag(e, keysPath) != before, test.changes)
			check(t, etag(imds.New(i), keysPath), etag(e, keysPath)) // a restart changes nothing
		})
	}
}

func TestAnotherETagIsAnsweredAtOnce(t *testing.T) {
	e := imds.New(instance())
	e.Bind("pair", keyA)
	for _, last := range []string{"", "0", "0123456789abcdef"} {
		check(t, ask(e, "GET", watchPath("&last_etag="+last)), answer{200, "0/\npair/"})
	}
}

func TestAWatchEndsWithItsTime(t *testing.T) {
	tests := []struct {
		query string
		want  time.Duration
	}{
		{"", 300 * time.Second},
		{"&timeout_sec=7", 7 * time.Second},
		{"&timeout_sec=0", 0},
		{"&timeout_sec=301", 300 * time.Second},
		{"&timeout_sec=99999999999999999999999", 300 * time.Second},
	}
	for _, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			e := imds.New(instance())
			for _, last := range []string{"", "&last_etag=" + etag(e, keysPath)} {
				start := time.Now()
				check(t, ask(e, "GET", watchPath(test.query+last)), answer{404, "Not Found"})
				check(t, time.Since(start), test.want)
			}
			check(t, e.Waiting(), 0)
		})
	}
}

func TestAChangeEndsTheWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := imds.New(instance())
		before := etag(e, keysPath)
		done := make(chan *httptest.ResponseRecorder)
		go func() { done <- record(e, watchPath("&last_etag="+before)) }()
		time.Sleep(time.Minute)
		i := e.Instance()
		i.Hostname = "another" // nothing that is waited for
		e.Set(i)
		synctest.Wait()
		check(t, e.Waiting(), 1)
		e.Bind("pair", keyA)
		got := <-done
		check(t, answer{got.Code, got.Body.String()}, answer{200, "0/\npair/"})
		check(t, got.Header().Get("ETag") != before, true)
	})
}

func TestWhatIsNoWatchIsAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := imds.New(instance())
		start := time.Now()
		for _, path := range []string{
			keysPath + "?wait_for_change=false", keysPath + "?timeout_sec=9", keysPath + "?last_etag=x",
			"/latest/meta-data/instance-id?wait_for_change=true", "/latest/meta-data/all?wait_for_change=true",
		} {
			ask(e, "GET", path)
		}
		check(t, ask(e, "POST", watchPath("")), answer{405, "Method Not Allowed"})
		for _, bad := range []string{"-1", "1s", ""} {
			check(t, ask(e, "GET", watchPath("&timeout_sec="+bad)), answer{400, "Missing or Invalid Parameters"})
		}
		check(t, time.Since(start), time.Duration(0))
	})
}

func TestAWatchNeedsItsTokenAtBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := instance()
		i.HTTPTokens = imds.TokensRequired
		e := imds.New(i)
		check(t, ask(e, "GET", watchPath("")), answer{403, "Forbidden"})
		token := ask(e, "PUT", "/latest/api/token", ttlHeader, "60").Body
		check(t, ask(e, "GET", watchPath("&timeout_sec=59"), tokenHeader, token), answer{404, "Not Found"})
		check(t, ask(e, "GET", watchPath("&timeout_sec=59"), tokenHeader, token), answer{401, "Unauthorized"})
	})
}
