package ecsapi

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ssh/latchkey/keypair/ecsapi/signature"
)

// raw sends bytes to a real server and reads the answer.
func (w *world) raw(t *testing.T, server *httptest.Server, request string) (status int, body map[string]any) {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatalf("the server does not let the request in: %v", err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	return answer.StatusCode, decoded(t, answer.Body)
}

// TestRawRequests: bytes as a client puts them on the wire, and what no client should.
func TestRawRequests(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.api)
	t.Cleanup(server.Close)
	const form = "Content-Type: application/x-www-form-urlencoded\r\n"
	post := func(headers, body string) string {
		return fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\n%sContent-Length: %d\r\n\r\n%s", headers, len(body), body)
	}
	tests := []struct {
		name, request string
		status        int
		code          string
	}{
		{"nothing asked", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "MissingAccessKeyId"},
		{"nothing posted", post("", ""), 400, "MissingAccessKeyId"},
		{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", 400, "MissingAccessKeyId"},
		{"another path", "GET /latest/meta-data/ HTTP/1.1\r\nHost: h\r\n\r\n", 404, "InvalidApi.NotFound"},
		{"path with dots", "GET /../ HTTP/1.1\r\nHost: h\r\n\r\n", 404, "InvalidApi.NotFound"},
		{"another method", "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 405, "UnsupportedHTTPMethod"},
		{"a method of none", "BREW / HTTP/1.1\r\nHost: h\r\n\r\n", 405, "UnsupportedHTTPMethod"},
		{"half an escape", "GET /?a=%2 HTTP/1.1\r\nHost: h\r\n\r\n", 400, "InvalidParameter"},
		{"a semicolon", "GET /?a=1;b=2 HTTP/1.1\r\nHost: h\r\n\r\n", 400, "InvalidParameter"},
		{"a parameter twice", "GET /?a=1&a=2 HTTP/1.1\r\nHost: h\r\n\r\n", 400, "InvalidParameter"},
		{"a parameter in both", "POST /?a=1 HTTP/1.1\r\nHost: h\r\n" + form + "Content-Length: 3\r\n\r\na=2", 400, "InvalidParameter"},
		{"half an escape in the body", post(form, "a=%"), 400, "InvalidParameter"},
		{"a body of another type", post("Content-Type: application/json\r\n", `{"Action":"x"}`), 415, "UnsupportedContentType"},
		{"a body of no type", post("", "a=b"), 415, "UnsupportedContentType"},
		{"a type that is none", post("Content-Type: ;;\r\n", "a=b"), 415, "UnsupportedContentType"},
		{"1 MB body", post(form, "PublicKeyBody="+strings.Repeat("A", 1<<20)), 413, "RequestTooLarge"},
		{"a body one byte too large", post(form, strings.Repeat("A", maxBody+1)), 413, "RequestTooLarge"},
		{"a body just fitting", post(form, strings.Repeat("A", maxBody)), 400, "MissingAccessKeyId"},
		{"chunks", "POST / HTTP/1.1\r\nHost: h\r\n" + form + "Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n", 400, "MissingAccessKeyId"},
		{"chunks that are none", "POST / HTTP/1.1\r\nHost: h\r\n" + form + "Transfer-Encoding: chunked\r\n\r\nx\r\n", 400, "InvalidParameter"},
		{"an address just too long", "GET /?a=" + strings.Repeat("A", maxAddress) + " HTTP/1.1\r\nHost: h\r\n\r\n", 414, "RequestTooLarge"},
		{"zero bytes", "GET /?%00=%00&Action=%00 HTTP/1.1\r\nHost: h\r\n\r\n", 400, "MissingAccessKeyId"},
		{"an authorization of blanks", "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: ACS3-HMAC-SHA256  , ,\r\n\r\n", 400, "IncompleteSignature"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status, body := w.raw(t, server, test.request)
			if status != test.status || body["Code"] != test.code {
				t.Errorf("%d %v, want %d %s", status, body, test.status, test.code)
			}
		})
	}
}

func TestHeadIsNoWayToAsk(t *testing.T) {
	server := httptest.NewServer(newWorld(t).api)
	t.Cleanup(server.Close)
	answer, err := http.Head(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusMethodNotAllowed || answer.Header.Get("Allow") != "GET, POST" {
		t.Errorf("%s, Allow %q", answer.Status, answer.Header.Get("Allow"))
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestSignedBytes are what a client of each version sends, over a real connection.
func TestSignedBytes(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.api)
	t.Cleanup(server.Close)
	p := params("DescribeRegions")
	signature.SignV1("GET", p, w.signer(), time.Now(), "raw-1")
	status, body := w.raw(t, server, "GET /?"+signature.EncodeAll(p)+" HTTP/1.1\r\nHost: h\r\n\r\n")
	if status != 200 {
		t.Errorf("V1: %d %v", status, body)
	}

	r, err := http.NewRequest("POST", "http://h:8080/?RegionId=cn-test", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"X-Acs-Action": {"DescribeRegions"}, "X-Acs-Version": {Version}}
	signature.SignV3(r, nil, w.signer(), time.Now(), "raw-2")
	var sent strings.Builder
	if err := r.Write(&sent); err != nil {
		t.Fatal(err)
	}
	if status, body = w.raw(t, server, sent.String()); status != 200 {
		t.Errorf("V3: %d %v", status, body)
	}
	answer := body["Regions"].(map[string]any)["Region"].([]any)[0].(map[string]any)
	if answer["RegionEndpoint"] != "h:8080" || answer["RegionId"] != "cn-test" {
		t.Errorf("region %v", answer)
	}
}

// TestAHundredLongNamesFitIntoAnAddress: what the longest request of ECS needs.
func TestAHundredLongNamesFitIntoAnAddress(t *testing.T) {
	names := array(strings.Repeat("中", 120), 100)
	if n := len(url.QueryEscape(names)); n > maxAddress-4096 {
		t.Errorf("they take %d bytes", n)
	}
}

// FuzzRequest: whatever is sent, there is no panic, and the answer is JSON with a RequestId.
func FuzzRequest(f *testing.F) {
	f.Add("POST", "Action=CreateKeyPair&KeyPairName=ab", "RegionId=cn-test", "", true)
	f.Add("GET", `Action=AttachKeyPair&InstanceIds=["i-a"]&KeyPairName=ab&RegionId=cn-test`, "", "", true)
	f.Add("POST", "Action=TagResources&ResourceType=keypair&ResourceId.1=ab&Tag.1.Key=a&RegionId=cn-test", "", "", true)
	f.Add("GET", "Action=DescribeInstances&PageSize=100&PageNumber=2147483647&RegionId=cn-test", "", "", true)
	f.Add("GET", "Action=DescribeInstances&MaxResults=1&NextToken=AAAA&RegionId=cn-test", "", "", true)
	f.Add("GET", "a=%", "", "ACS3-HMAC-SHA256 Credential=a,SignedHeaders=host,Signature=b", false)
	f.Add("GET", "Action=RebootInstances&InstanceId.99999999999=x&RegionId=cn-test", "", "", true)
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, method, query, body, authorization string, signed bool) {
		r := formRequest("POST", "/", body)
		r.Method, r.URL.RawQuery = method, query
		if authorization != "" {
			r.Header["Authorization"] = []string{authorization}
		}
		if q, err := parseForm("query", query); signed && err == nil {
			q["Version"] = Version
			signature.SignV1(method, q, w.signer(), time.Now(), fmt.Sprint(time.Now().UnixNano()))
			r = httptest.NewRequest("GET", "/?"+signature.EncodeAll(q), nil)
			r.Method = method
		}
		recorder := httptest.NewRecorder()
		w.api.ServeHTTP(recorder, r)
		decoded(t, recorder.Body)
		if recorder.Code == http.StatusInternalServerError {
			t.Errorf("an internal error: %s", w.log)
		}
		w.log.Reset()
	})
}
