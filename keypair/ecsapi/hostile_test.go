package ecsapi

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ssh/latchkey/keypair/ecsapi/signature"
)

// TestNoUnsignedHeaderChangesWhatV1HasSigned is an attack: a signed read, such as anybody finds in a log, with a
// header that makes a change of it.
func TestNoUnsignedHeaderChangesWhatV1HasSigned(t *testing.T) {
	w := newWorld(t)
	for _, s := range styles[:3] {
		r := w.sign(s, params("DescribeKeyPairs", "KeyPairName", "stolen"))
		r.Header.Set("x-acs-action", "CreateKeyPair")
		r.Header.Set("x-acs-version", Version)
		status, body := w.do(r)
		if _, private := body["PrivateKeyBody"]; private || status != 200 || body["KeyPairs"] == nil {
			t.Errorf("%s: %d, with members %v", s.name, status, keysOf(body))
		}
	}
	if pairs, err := w.region.KeyPair(t.Context(), "stolen"); err == nil {
		t.Errorf("made %s", pairs.Name)
	}
}

func keysOf(body map[string]any) (keys []string) {
	for key := range body {
		keys = append(keys, key)
	}
	return keys
}

// TestASignedNonceHasOneForm is an attack: a captured request with white space behind its nonce, which is the
// same signature with a nonce that nobody has used.
func TestASignedNonceHasOneForm(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.api)
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	signed := httptest.NewRequest("POST", "http://"+host+"/?InstanceId="+linux, nil)
	signed.Header.Set("x-acs-action", "RebootInstance")
	signed.Header.Set("x-acs-version", Version)
	signature.SignV3(signed, nil, w.signer(), time.Now(), "nonce-1")
	send := func(nonce string) int {
		var text strings.Builder
		fmt.Fprintf(&text, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\nConnection: close\r\n", signed.URL.RequestURI(), host)
		for name, values := range signed.Header {
			if name == "X-Acs-Signature-Nonce" {
				values = []string{nonce}
			}
			fmt.Fprintf(&text, "%s: %s\r\n", name, values[0])
		}
		status, _ := w.raw(t, server, text.String()+"\r\n")
		return status
	}
	if status := send("nonce-1"); status != 200 {
		t.Fatalf("the request itself: %d", status)
	}
	for _, nonce := range []string{
		"nonce-1", " nonce-1\t", "nonce-1\u00a0", "nonce-1\u2003", "\u3000nonce-1", "nonce-1\u0085",
	} {
		if status := send(nonce); status == 200 {
			t.Errorf("nonce %q: it was done again", nonce)
		}
	}
}

func TestNoncesAreVisibleASCII(t *testing.T) {
	w := newWorld(t)
	for _, nonce := range []string{"a b", "a\u00a0", "n\u00f6nce", strings.Repeat("n", 129)} {
		for _, s := range styles {
			status, body := w.do(s.build(params("DescribeRegions"), w.signer(), time.Now(), nonce))
			if status != 400 || body["Code"] != "IncompleteSignature" {
				t.Errorf("%s, nonce %q: %d %v", s.name, nonce, status, body["Code"])
			}
		}
	}
}

// TestAStrangerCostsLittle: what is refused before anybody is known to ask.
func TestAStrangerCostsLittle(t *testing.T) {
	w := newWorld(t)
	many := strings.Repeat("a=&", maxParameters) + "a="
	status, body := w.do(formRequest("POST", "/?AccessKeyId=x", many))
	if status != 400 || body["Code"] != "InvalidParameter" {
		t.Errorf("many parameters: %d %v", status, body["Code"])
	}
	long := "/?AccessKeyId=a&Signature=a&SignatureMethod=X&SignatureVersion=2&SignatureNonce=1&Timestamp=1&q=" + strings.Repeat("!", 100<<10)
	recorder := httptest.NewRecorder()
	w.api.ServeHTTP(recorder, httptest.NewRequest("GET", long, nil))
	if size := recorder.Body.Len(); recorder.Code != 400 || size > 2<<10 {
		t.Errorf("a long address: %d, answered with %d bytes", recorder.Code, size)
	}
}
