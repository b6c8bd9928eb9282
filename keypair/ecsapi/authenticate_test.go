package ecsapi

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/keypair/ecsapi/signature"
	"github.com/latchkey-ssh/latchkey/keypair/memstore"
)

func (w *world) signer() signature.AccessKey {
	return signature.AccessKey{ID: w.key.ID, Secret: w.key.Secret}
}

// TestWrongSecretIsToldWhatWasToBeSigned in the words that each version's clients look for.
func TestWrongSecretIsToldWhatWasToBeSigned(t *testing.T) {
	w := newWorld(t)
	for _, s := range styles {
		r := s.build(params("DescribeKeyPairs"), signature.AccessKey{ID: w.key.ID, Secret: "wrong"}, time.Now(), "n")
		status, body := w.do(r)
		message, _ := body["Message"].(string)
		if status != 400 || body["Code"] != "SignatureDoesNotMatch" {
			t.Errorf("%s: %d %v", s.name, status, body)
		}
		before, end := "Specified signature is not matched with our calculation. server string to sign is:"+r.Method+"&%2F&", ""
		if s.name[:2] == "V3" {
			before, end = "Specified signature does not match our calculation. server StringToSign is [ACS3-HMAC-SHA256\n", "]"
		}
		if !strings.HasPrefix(message, before) || !strings.HasSuffix(message, end) {
			t.Errorf("%s: message %q", s.name, message)
		}
		if strings.Contains(message, w.key.Secret) {
			t.Errorf("%s: the message tells the secret", s.name)
		}
	}
}

// TestMismatchOfV3IsToldTheCanonicalRequest in one line, beside a message that is ECS's to the letter.
func TestMismatchOfV3IsToldTheCanonicalRequest(t *testing.T) {
	w := newWorld(t)
	for _, s := range styles[3:] {
		r := s.build(params("DescribeKeyPairs", "KeyPairName", "a*~ +/中"), signature.AccessKey{ID: w.key.ID, Secret: "wrong"}, time.Now(), "n")
		_, body := w.do(r)
		quoted, ok := strings.CutPrefix(body["Recommend"].(string), "Compare with the canonical request here: ")
		var canonical string
		if err := json.Unmarshal([]byte(quoted), &canonical); err != nil || !ok {
			t.Fatalf("%s: %v: %v", s.name, err, body["Recommend"])
		}
		if !strings.HasPrefix(canonical, r.Method+"\n/\n") || !strings.Contains(canonical, "\nhost:example.com\n") {
			t.Errorf("%s: canonical request %q", s.name, canonical)
		}
		sum := sha256.Sum256([]byte(canonical))
		want := "Specified signature does not match our calculation. server StringToSign is [ACS3-HMAC-SHA256\n" + hex.EncodeToString(sum[:]) + "]"
		if diff := cmp.Diff(want, body["Message"]); diff != "" {
			t.Errorf("%s: %s", s.name, diff)
		}
	}
}

// TestCanonicalRequestIsNotToldAlways: one that is long, or that may hold what is not the caller's (a header put in
// on the way) or not to be repeated (a token).
func TestCanonicalRequestIsNotToldAlways(t *testing.T) {
	w := newWorld(t)
	wrongKey := signature.AccessKey{ID: w.key.ID, Secret: "wrong"}
	token := wrongKey
	token.SecurityToken = "session-token"
	alsoSigned := styles[3].build(params("DescribeRegions"), wrongKey, time.Now(), "n")
	alsoSigned.Header.Set("Authorization", strings.Replace(alsoSigned.Header.Get("Authorization"), "SignedHeaders=host;", "SignedHeaders=cookie;host;", 1))
	alsoSigned.Header.Set("Cookie", "session=1")
	for name, r := range map[string]*http.Request{
		"long":                  styles[3].build(params("DescribeRegions", "x", strings.Repeat("x", 4096)), wrongKey, time.Now(), "n"),
		"with a token":          styles[3].build(params("DescribeRegions"), token, time.Now(), "n"),
		"of another's header":   alsoSigned,
		"V1, which has another": styles[0].build(params("DescribeRegions"), wrongKey, time.Now(), "n"),
	} {
		if _, body := w.do(r); body["Code"] != "SignatureDoesNotMatch" || body["Recommend"] != explained {
			t.Errorf("%s: %v: %v", name, body["Code"], body["Recommend"])
		}
	}
}

// TestV1MessageEndsWithTheClientsString: the Go SDK compares it with its own.
func TestV1MessageEndsWithTheClientsString(t *testing.T) {
	w := newWorld(t)
	p := params("DescribeKeyPairs", "SignatureType", "", "KeyPairName", "a*~ +/中")
	r := styles[1].build(p, signature.AccessKey{ID: w.key.ID, Secret: "wrong"}, time.Now(), "n")
	claim, err := signature.ReadV1("POST", p)
	if err != nil {
		t.Fatal(err)
	}
	_, body := w.do(r)
	if _, server, _ := strings.Cut(body["Message"].(string), "server string to sign is:"); server != claim.StringToSign {
		t.Errorf("server %q\nclient %q", server, claim.StringToSign)
	}
}

func TestAccessKeysThatMayNotCall(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"LTAInobody", "../../pair", strings.Repeat("x", 1000), "nonce\x00"} {
		for _, s := range styles[:2] {
			status, body := w.do(s.build(params("DescribeRegions"), signature.AccessKey{ID: id, Secret: w.key.Secret}, time.Now(), "n"))
			wantRefusal(t, id, status, body, 404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
		}
	}
	if err := w.region.EnableAccessKey(t.Context(), w.key.ID, false); err != nil {
		t.Fatal(err)
	}
	w.refused(400, "InvalidAccessKeyId.Inactive", "Specified access key is disabled.", params("DescribeRegions"))
	if err := w.region.EnableAccessKey(t.Context(), w.key.ID, true); err != nil {
		t.Fatal(err)
	}
	w.must("DescribeRegions")
}

// TestTimeHasToBeWithinFifteenMinutes to the second, whichever way the clock is off.
func TestTimeHasToBeWithinFifteenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for off, want := range map[time.Duration]int{
			0: 200, 15 * time.Minute: 200, -15 * time.Minute: 200,
			15*time.Minute + time.Second: 400, -15*time.Minute - time.Second: 400, 100 * 365 * 24 * time.Hour: 400,
		} {
			for _, s := range styles {
				status, body := w.do(s.build(params("DescribeRegions"), w.signer(), time.Now().Add(off), rand.Text()))
				if status != want || status != 200 && body["Code"] != "InvalidTimeStamp.Expired" {
					t.Errorf("%s, %s: %d %v", s.name, off, status, body)
				}
			}
		}
	})
}

func TestTimeThatIsNone(t *testing.T) {
	w := newWorld(t)
	r := styles[3].build(params("DescribeRegions"), w.signer(), time.Now(), "n")
	r.Header.Set("x-acs-date", time.Now().Format(time.RFC1123))
	status, body := w.do(r)
	wantRefusal(t, "V3", status, body, 400, "InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted.")
}

// TestReplayedNonce: the same request again, and another request with the nonce of the first.
func TestReplayedNonce(t *testing.T) {
	for _, s := range styles {
		t.Run(s.name, func(t *testing.T) {
			w := newWorld(t)
			now := time.Now()
			for i, p := range []map[string]string{
				params("DescribeKeyPairs"), params("DescribeKeyPairs"), params("DescribeRegions"),
				params("CreateKeyPair", "KeyPairName", "replayed"),
			} {
				status, body := w.do(s.build(p, w.signer(), now, "nonce"))
				if i == 0 && status == 200 {
					continue
				}
				wantRefusal(t, s.name, status, body, 400, "SignatureNonceUsed", "Specified signature nonce was used already.")
			}
		})
	}
}

// TestNonceIsUsedUpOnlyByItsOwner: what is not signed right takes no nonce away.
func TestNonceIsUsedUpOnlyByItsOwner(t *testing.T) {
	w := newWorld(t)
	other, err := w.region.CreateAccessKey(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	w.do(styles[0].build(params("DescribeRegions"), signature.AccessKey{ID: w.key.ID, Secret: "wrong"}, time.Now(), "nonce"))
	w.do(styles[0].build(params("DescribeRegions"), signature.AccessKey{ID: other.ID, Secret: other.Secret}, time.Now(), "nonce"))
	if status, body := w.do(styles[0].build(params("DescribeRegions"), w.signer(), time.Now(), "nonce")); status != 200 {
		t.Errorf("%d %v", status, body)
	}
}

// TestNonceIsRememberedOverARestart of the program for what changes something.
func TestNonceIsRememberedOverARestart(t *testing.T) {
	w := newWorld(t)
	store := memstore.New()
	w.region = openRegion(t, store)
	var err error
	if w.key, err = w.region.CreateAccessKey(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	p := func() map[string]string {
		return params("ImportKeyPair", "KeyPairName", "once", "PublicKeyBody", ed25519Line)
	}
	w.api = New(w.region, Options{})
	if status, body := w.do(styles[1].build(p(), w.signer(), now, "nonce")); status != 200 {
		t.Fatalf("%d %v", status, body)
	}
	w.api = New(w.region, Options{})
	w.must("DeleteKeyPairs", "KeyPairNames", `["once"]`)
	w.api = New(w.region, Options{})
	status, body := w.do(styles[1].build(p(), w.signer(), now, "nonce"))
	wantRefusal(t, "after a restart", status, body, 400, "SignatureNonceUsed", "Specified signature nonce was used already.")
}

// TestNonceIsRememberedAsLongAsItsRequestCounts, and not for ever.
func TestNonceIsRememberedAsLongAsItsRequestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		signedAt := time.Now().Add(window) // by a clock that is ahead
		again := func() int {
			status, _ := w.do(styles[0].build(params("DescribeRegions"), w.signer(), signedAt, "nonce"))
			return status
		}
		if status := again(); status != 200 {
			t.Fatal(status)
		}
		for passed := time.Duration(0); passed <= 3*window; passed += time.Minute {
			if status := again(); status == 200 {
				t.Fatalf("the same request counts again after %s", passed)
			}
			w.must("DescribeRegions") // lets the memory age
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Hour)
		if status, body := w.do(styles[0].build(params("DescribeRegions"), w.signer(), time.Now(), "nonce")); status != 200 {
			t.Errorf("a nonce of an hour ago is refused: %v", body)
		}
	})
}

func TestOneOfManyAtOnceUsesANonce(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	var passed atomic.Int32
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			recorder := httptest.NewRecorder()
			w.api.ServeHTTP(recorder, styles[0].build(params("DescribeRegions"), w.signer(), now, "nonce"))
			if recorder.Code == http.StatusOK {
				passed.Add(1)
			}
		})
	}
	all.Wait()
	if passed.Load() != 1 {
		t.Errorf("%d requests passed with one nonce", passed.Load())
	}
}

// TestNoncesAreBounded: a flood does not take more memory than three generations, and the nonces of now are
// remembered in it.
func TestNoncesAreBounded(t *testing.T) {
	n := nonces{most: 100}
	now := time.Now()
	for i := range 4 * n.most {
		n.use("key", strconv.Itoa(i), now)
	}
	if !n.use("key", "first", now) || n.use("key", "first", now) {
		t.Error("a nonce in a flood is not remembered")
	}
	for i, generation := range n.generations {
		if len(generation) > n.most {
			t.Errorf("generation %d holds %d", i, len(generation))
		}
	}
}

func TestPartsOfTheSignatureThatAreMissing(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{
		"AccessKeyId", "Signature", "SignatureMethod", "SignatureVersion", "SignatureNonce", "Timestamp",
	} {
		p := params("DescribeRegions")
		signature.SignV1("GET", p, w.signer(), time.Now(), "n")
		delete(p, name)
		status, body := w.do(httptest.NewRequest("GET", "/?"+signature.EncodeAll(p), nil))
		wantRefusal(t, name, status, body, 400, "Missing"+name, name+" is mandatory for this action.")
	}
	for header, code := range map[string]string{
		"x-acs-date": "MissingTimestamp", "x-acs-signature-nonce": "MissingSignatureNonce",
		"x-acs-content-sha256": "MissingContentSha256",
	} {
		r := styles[3].build(params("DescribeRegions"), w.signer(), time.Now(), "n")
		r.Header.Del(header)
		status, body := w.do(r)
		wantRefusal(t, header, status, body, 400, code, header+" is mandatory for this action.")
	}
}

func TestSignatureOfAnotherFormIsIncomplete(t *testing.T) {
	w := newWorld(t)
	r := styles[3].build(params("DescribeRegions"), w.signer(), time.Now(), "n")
	r.Header.Set("Authorization", "Basic YTpi")
	status, body := w.do(r)
	const message = "The request signature does not conform to Aliyun standards. server string to sign is:"
	wantRefusal(t, "basic", status, body, 400, "IncompleteSignature", message)

	p := params("DescribeRegions")
	signature.SignV1("GET", p, w.signer(), time.Now(), "n")
	p["SignatureMethod"] = "HMAC-MD5"
	status, body = w.do(httptest.NewRequest("GET", "/?"+signature.EncodeAll(p), nil))
	if text, _ := body["Message"].(string); status != 400 || body["Code"] != "IncompleteSignature" || !strings.HasPrefix(text, message+"GET&%2F&") {
		t.Errorf("%d %v", status, body)
	}
}

// TestWhoAsksComesFirst: what is asked for is not told to somebody unknown.
func TestWhoAsksComesFirst(t *testing.T) {
	w := newWorld(t)
	for _, action := range []string{"NoSuchAction", "CreateKeyPair", ""} {
		p := params(action, "RegionId", "cn-other")
		status, body := w.do(styles[0].build(p, signature.AccessKey{ID: w.key.ID, Secret: "wrong"}, time.Now(), "n"))
		if status != 400 || body["Code"] != "SignatureDoesNotMatch" {
			t.Errorf("%s: %d %v", action, status, body)
		}
	}
}
