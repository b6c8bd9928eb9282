package signature

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func vectorV1() map[string]string {
	return map[string]string{
		"AccessKeyId": "testid", "Action": "DescribeRegions", "Format": "XML", "Version": "2014-05-26",
		"SignatureNonce": "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf", "Timestamp": "2016-02-23T12:46:24Z",
		"SignatureMethod": "HMAC-SHA1", "SignatureVersion": "1.0", "Signature": "OLeaidS1JvxuMvnyHOwuJ+uX5qY=",
	}
}

func TestPublishedVectorOfV1(t *testing.T) {
	claim, err := ReadV1("GET", vectorV1())
	if err != nil || !claim.Matches("testsecret") {
		t.Fatalf("claim %+v, error %v: want a match", claim, err)
	}
	signed := map[string]string{"Action": "DescribeRegions", "Format": "XML", "Version": "2014-05-26"}
	at := time.Date(2016, 2, 23, 12, 46, 24, 0, time.UTC)
	SignV1("GET", signed, AccessKey{ID: "testid", Secret: "testsecret"}, at, "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf")
	if diff := cmp.Diff(vectorV1(), signed); diff != "" {
		t.Error(diff)
	}
}

const vectorAuthorization = "ACS3-HMAC-SHA256 Credential=YourAccessKeyId," +
	"SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version," +
	"Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"

func vectorV3(t *testing.T) (r *http.Request, query map[string]string) {
	t.Helper()
	r, err := http.NewRequest("POST", "https://ecs.cn-shanghai.aliyuncs.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	query = map[string]string{"ImageId": "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd", "RegionId": "cn-shanghai"}
	values := url.Values{}
	for name, value := range query {
		values.Set(name, value)
	}
	r.URL.RawQuery = values.Encode()
	r.Header.Set("x-acs-action", "RunInstances")
	r.Header.Set("x-acs-version", "2014-05-26")
	SignV3(r, nil, AccessKey{ID: "YourAccessKeyId", Secret: "YourAccessKeySecret"},
		time.Date(2023, 10, 26, 10, 22, 32, 0, time.UTC), "3156853299f313e23d1673dc12e1703d")
	return r, query
}

func TestPublishedVectorOfV3(t *testing.T) {
	r, query := vectorV3(t)
	if diff := cmp.Diff(vectorAuthorization, r.Header.Get("Authorization")); diff != "" {
		t.Error(diff)
	}
	claim, err := ReadV3(r, query, nil)
	if err != nil || !claim.Matches("YourAccessKeySecret") {
		t.Fatalf("claim %+v, error %v: want a match", claim, err)
	}
	const want = scheme + "\n7ea06492da5221eba5297e897ce16e55f964061054b7695beedaac1145b1e259"
	if claim.StringToSign != want {
		t.Errorf("string to sign %q, want %q", claim.StringToSign, want)
	}
}

func TestAnotherSecretDoesNotMatch(t *testing.T) {
	v1, _ := ReadV1("GET", vectorV1())
	r, query := vectorV3(t)
	v3, _ := ReadV3(r, query, nil)
	for _, secret := range []string{"", "testsecre", "testsecret&", "YourAccessKeySecret ", "yourAccessKeySecret"} {
		if v1.Matches(secret) || v3.Matches(secret) {
			t.Errorf("secret %q matches", secret)
		}
	}
}

// TestEveryByteOfV1Counts changes each byte of each parameter, and the method.
func TestEveryByteOfV1Counts(t *testing.T) {
	for name, value := range vectorV1() {
		for i := range len(value) {
			p := vectorV1()
			p[name] = flip(value, i)
			if claim, err := ReadV1("GET", p); err == nil && claim.Matches("testsecret") && name != "AccessKeyId" {
				t.Errorf("%s: byte %d does not count", name, i)
			} else if name == "AccessKeyId" && claim.Matches("testsecret") {
				t.Errorf("AccessKeyId: byte %d does not count", i)
			}
		}
	}
	if claim, _ := ReadV1("POST", vectorV1()); claim.Matches("testsecret") {
		t.Error("the method does not count")
	}
	p := vectorV1()
	p["Extra"] = ""
	if claim, _ := ReadV1("GET", p); claim.Matches("testsecret") {
		t.Error("an added parameter does not count")
	}
}

// TestEveryByteOfV3Counts changes each byte of each header that means something.
func TestEveryByteOfV3Counts(t *testing.T) {
	r, query := vectorV3(t)
	for name := range r.Header {
		value := r.Header.Get(name)
		for i := range len(value) {
			changed := r.Clone(t.Context())
			changed.Header.Set(name, flip(value, i))
			claim, err := ReadV3(changed, query, nil)
			if err == nil && claim.Matches("YourAccessKeySecret") && claim.AccessKeyID == "YourAccessKeyId" {
				t.Errorf("%s: byte %d does not count", name, i)
			}
		}
	}
}

func flip(text string, i int) string { return text[:i] + string(rune(text[i]^1)) + text[i+1:] }

func TestWhatV3Covers(t *testing.T) {
	tests := map[string]func(r *http.Request, query map[string]string) (body []byte){
		"method":             func(r *http.Request, _ map[string]string) []byte { r.Method = "GET"; return nil },
		"path":               func(r *http.Request, _ map[string]string) []byte { r.URL.Path = "/x"; return nil },
		"host":               func(r *http.Request, _ map[string]string) []byte { r.Host = "other"; return nil },
		"body":               func(*http.Request, map[string]string) []byte { return []byte("a=b") },
		"query value":        func(_ *http.Request, q map[string]string) []byte { q["RegionId"] = "cn-beijing"; return nil },
		"query name":         func(_ *http.Request, q map[string]string) []byte { q["DryRun"] = ""; return nil },
		"an x-acs header":    func(r *http.Request, _ map[string]string) []byte { r.Header.Set("x-acs-new", "1"); return nil },
		"a header twice":     func(r *http.Request, _ map[string]string) []byte { r.Header.Add("x-acs-action", "A"); return nil },
		"two authorizations": func(r *http.Request, _ map[string]string) []byte { r.Header.Add("Authorization", "x"); return nil },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			r, query := vectorV3(t)
			body := change(r, query)
			claim, err := ReadV3(r, query, body)
			if err == nil && claim.Matches("YourAccessKeySecret") {
				t.Error("may be changed without the signature failing")
			}
		})
	}
}

func TestAuthorizationThatIsIncomplete(t *testing.T) {
	const headers = "host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version"
	tests := map[string]string{
		"no fields":           scheme,
		"another scheme":      "ACS3-RSA-SHA256 Credential=a,SignedHeaders=" + headers + ",Signature=b",
		"basic":               "Basic YTpi",
		"no credential":       scheme + " Credential=,SignedHeaders=" + headers + ",Signature=b",
		"other order":         scheme + " Signature=b,SignedHeaders=" + headers + ",Credential=a",
		"a fourth field":      scheme + " Credential=a,SignedHeaders=" + headers + ",Signature=b,X=c",
		"host not signed":     scheme + " Credential=a,SignedHeaders=" + strings.TrimPrefix(headers, "host;") + ",Signature=b",
		"action not signed":   scheme + " Credential=a,SignedHeaders=" + strings.Replace(headers, "x-acs-action;", "", 1) + ",Signature=b",
		"names out of order":  scheme + " Credential=a,SignedHeaders=x-acs-version;" + headers + ",Signature=b",
		"a name twice":        scheme + " Credential=a,SignedHeaders=host;" + headers + ",Signature=b",
		"names in upper case": scheme + " Credential=a,SignedHeaders=HOST;" + headers + ",Signature=b",
	}
	for name, authorization := range tests {
		t.Run(name, func(t *testing.T) {
			r, query := vectorV3(t)
			r.Header.Set("Authorization", authorization)
			if _, err := ReadV3(r, query, nil); !errors.Is(err, ErrIncomplete) {
				t.Errorf("error %v, want ErrIncomplete", err)
			}
		})
	}
}

func TestMissingPartIsNamed(t *testing.T) {
	for _, name := range []string{
		"AccessKeyId", "Signature", "SignatureMethod", "SignatureVersion", "SignatureNonce", "Timestamp",
	} {
		p := vectorV1()
		delete(p, name)
		_, err := ReadV1("GET", p)
		if missing := new(MissingError); !errors.As(err, &missing) || missing.Parameter != name {
			t.Errorf("V1 without %s: error %v", name, err)
		}
	}
	for name, parameter := range map[string]string{
		"x-acs-date": "Timestamp", "x-acs-signature-nonce": "SignatureNonce", "x-acs-content-sha256": "ContentSha256",
	} {
		r, query := vectorV3(t)
		r.Header.Del(name)
		_, err := ReadV3(r, query, nil)
		if missing := new(MissingError); !errors.As(err, &missing) || missing.Parameter != parameter || missing.Name != name {
			t.Errorf("V3 without %s: error %v", name, err)
		}
	}
}

func TestAnotherMethodOfSigningIsIncomplete(t *testing.T) {
	for name, value := range map[string]string{"SignatureMethod": "HMAC-SHA256", "SignatureVersion": "2.0"} {
		p := vectorV1()
		p[name] = value
		if _, err := ReadV1("GET", p); !errors.Is(err, ErrIncomplete) {
			t.Errorf("%s=%s: error %v, want ErrIncomplete", name, value, err)
		}
	}
}

func TestTimesHaveOneForm(t *testing.T) {
	want := time.Date(2016, 2, 23, 12, 46, 24, 0, time.UTC)
	if got, err := ParseTime("2016-02-23T12:46:24Z"); err != nil || !got.Equal(want) {
		t.Errorf("time %v, error %v", got, err)
	}
	for _, text := range []string{
		"", "2016-02-23", "2016-02-23T12:46:24", "2016-02-23T12:46:24.5Z", "2016-02-23T12:46:24+01:00",
		"2016-02-30T12:46:24Z", "2016-2-23T12:46:24Z", "Tue, 23 Feb 2016 12:46:24 GMT", "1456231584",
	} {
		if _, err := ParseTime(text); err == nil {
			t.Errorf("%q is taken for a time", text)
		}
	}
}

func TestTemporaryKeysSendTheirToken(t *testing.T) {
	key := AccessKey{ID: "STS.id", Secret: "secret", SecurityToken: "token"}
	p := map[string]string{"Action": "DescribeRegions"}
	SignV1("GET", p, key, time.Now(), "nonce")
	r, _ := http.NewRequest("GET", "http://localhost:1/", nil)
	SignV3(r, nil, key, time.Now(), "nonce")
	got := []string{p["SecurityToken"], r.Header.Get("x-acs-security-token"), r.Header.Get("x-acs-accesskey-id")}
	if diff := cmp.Diff([]string{"token", "token", "STS.id"}, got); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(r.Header.Get("Authorization"), "x-acs-accesskey-id;x-acs-content-sha256;") {
		t.Errorf("the token is not signed: %s", r.Header.Get("Authorization"))
	}
}

func TestEncodeKeepsWhatIsUnreserved(t *testing.T) {
	const unreservedBytes = "ABCXYZabcxyz0189-_.~"
	if got := Encode(unreservedBytes); got != unreservedBytes {
		t.Errorf("%q became %q", unreservedBytes, got)
	}
	if got := Encode(" *+%/&=é\n"); got != "%20%2A%2B%25%2F%26%3D%C3%A9%0A" {
		t.Errorf("got %q", got)
	}
}
