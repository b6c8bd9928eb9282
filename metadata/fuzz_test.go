package metadata

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// FuzzAnswers gives arbitrary answers for every path of a fetch, over a real connection.
func FuzzAnswers(f *testing.F) {
	f.Add(uint16(200), "token", uint16(200), "i-1", uint16(200), "0/\npair/", uint16(200), edLine, uint16(404), "")
	f.Add(uint16(404), "", uint16(200), "i-1", uint16(404), "", uint16(404), "", uint16(200), "ecs-user")
	f.Add(uint16(404), "", uint16(200), "<html>", uint16(404), "", uint16(200), edLine+"\n"+edLine2, uint16(404), "")
	f.Add(uint16(200), "t", uint16(200), "i-1\n", uint16(200), "", uint16(500), "", uint16(404), "")
	var answers atomic.Pointer[pages]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answers.Load().ServeHTTP(w, r) }))
	f.Cleanup(server.Close)
	f.Fuzz(func(t *testing.T, tokenStatus uint16, token string, idStatus uint16, id string,
		listStatus uint16, list string, keyStatus uint16, key string, userStatus uint16, user string,
	) {
		p := pages{
			tokenPath:     {status(tokenStatus), token},
			"instance-id": {status(idStatus), id}, "public-keys/": {status(listStatus), list},
			"login-user": {status(userStatus), user},
		}
		for name := range strings.SplitSeq(list, "\n") {
			p["public-keys/"+strings.Trim(name, "\r/")+"/openssh-key"] = page{status(keyStatus), key}
		}
		answers.Store(&p)
		client, err := New(Options{Endpoint: server.URL, MaxElapsed: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		checkFetched(t, client.Fetch(t.Context()), p)
	})
}

// status maps a number to a status that a handler can send as a final one.
func status(n uint16) int { return 200 + int(n)%400 }

// checkFetched checks what must hold of every binding, whatever was answered.
func checkFetched(t *testing.T, got Binding, p pages) {
	t.Helper()
	if err := got.Validate(); err != nil {
		t.Errorf("%+v: %v", got, err)
	}
	for _, key := range got.Keys {
		checkOneKey(t, key)
	}
	id := p["instance-id"]
	if got.State != Unknown && (id.status != http.StatusOK || got.InstanceID != strings.TrimRight(id.body, "\r\n")) {
		t.Errorf("%s as %q by an endpoint that did not identify itself: %+v", got.State, got.InstanceID, id)
	}
	list := p["public-keys/"]
	if none := list.status == http.StatusNotFound || list.status == http.StatusOK && strings.Trim(list.body, "\r\n") == ""; got.State == Unbound && !none {
		t.Errorf("unbound, yet the listing is %+v", list)
	}
	if age := time.Since(got.At); age < 0 || age > time.Minute {
		t.Errorf("fetched at %s", got.At)
	}
}
