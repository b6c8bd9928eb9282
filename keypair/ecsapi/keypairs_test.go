package ecsapi

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/keypair"
)

func fields(body map[string]any) []string { return slices.Sorted(maps.Keys(body)) }

// TestCreatedPrivateKeyFitsThePublicOne, is in the form its type has, and is told once.
func TestCreatedPrivateKeyFitsThePublicOne(t *testing.T) {
	w := newWorld(t)
	for keyType, header := range map[string]string{
		"": "RSA PRIVATE KEY", "RSA": "RSA PRIVATE KEY", "ED25519": "OPENSSH PRIVATE KEY", "ECDSA": "EC PRIVATE KEY",
	} {
		name := "created-" + keyType + "x"
		body := w.must("CreateKeyPair", "KeyPairName", name, "KeyType", keyType)
		if diff := cmp.Diff([]string{"KeyPairFingerPrint", "KeyPairId", "KeyPairName", "PrivateKeyBody", "RequestId"}, fields(body)); diff != "" {
			t.Error(diff)
		}
		private := body["PrivateKeyBody"].(string)
		signer, err := ssh.ParsePrivateKey([]byte(private))
		if err != nil || !strings.HasPrefix(private, "-----BEGIN "+header+"-----\n") {
			t.Fatalf("%s: private key does not parse: %v", keyType, err)
		}
		sum := md5.Sum(signer.PublicKey().Marshal())
		if got := strings.ReplaceAll(body["KeyPairFingerPrint"].(string), ":", ""); got != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: fingerprint %s is not that of the private key", keyType, got)
		}
		if id := body["KeyPairId"].(string); !regexp.MustCompile(`^ssh-[a-z0-9]{16,20}$`).MatchString(id) {
			t.Errorf("KeyPairId %q", id)
		}
		described := w.described(w.must("DescribeKeyPairs", "KeyPairName", name, "IncludePublicKey", "true"))[0]
		if !strings.HasPrefix(described["PublicKey"].(string), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))) {
			t.Errorf("public key %v", described["PublicKey"])
		}
	}
}

func (w *world) described(body map[string]any) []map[string]any {
	var pairs []map[string]any
	for _, pair := range body["KeyPairs"].(map[string]any)["KeyPair"].([]any) {
		pairs = append(pairs, pair.(map[string]any))
	}
	return pairs
}

// TestKeyPairsAreDescribedInTheirShape: names, types, and arrays that are never null.
func TestKeyPairsAreDescribedInTheirShape(t *testing.T) {
	w := newWorld(t)
	if err := w.region.AddResourceGroup(t.Context(), keypair.ResourceGroup{ID: "rg-dev"}); err != nil {
		t.Fatal(err)
	}
	imported := w.must("ImportKeyPair", "KeyPairName", "shape", "PublicKeyBody", ed25519Line, "ResourceGroupId", "rg-dev",
		"Tag.2.Key", "owner", "Tag.2.Value", "alice", "Tag.7.Key", "empty")
	if diff := cmp.Diff([]string{"KeyPairFingerPrint", "KeyPairName", "RequestId"}, fields(imported)); diff != "" {
		t.Error(diff)
	}
	body := w.must("DescribeKeyPairs")
	pair := w.described(body)[0]
	if created, _ := pair["CreationTime"].(string); !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\dZ$`).MatchString(created) {
		t.Errorf("CreationTime %q", created)
	}
	delete(pair, "CreationTime")
	delete(body, "RequestId")
	want := map[string]any{
		"PageNumber": 1.0, "PageSize": 10.0, "TotalCount": 1.0,
		"KeyPairs": map[string]any{"KeyPair": []any{map[string]any{
			"KeyPairName": "shape", "KeyPairFingerPrint": imported["KeyPairFingerPrint"], "ResourceGroupId": "rg-dev",
			"Tags": map[string]any{"Tag": []any{
				map[string]any{"TagKey": "empty", "TagValue": ""},
				map[string]any{"TagKey": "owner", "TagValue": "alice"},
			}},
		}}},
	}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Error(diff)
	}
	none := w.must("DescribeKeyPairs", "KeyPairName", "none")
	if diff := cmp.Diff(map[string]any{"KeyPair": []any{}}, none["KeyPairs"]); diff != "" {
		t.Error(diff)
	}
}

func TestKeyPairsAreFoundByWhatIsAskedFor(t *testing.T) {
	w := newWorld(t)
	for i, name := range []string{"alpha-one", "alpha-two", "beta-one"} {
		w.must("CreateKeyPair", "KeyPairName", name, "KeyType", "ED25519", "Tag.1.Key", "n", "Tag.1.Value", fmt.Sprint(i), "Tag.2.Key", "all")
	}
	fingerprint := w.described(w.must("DescribeKeyPairs", "KeyPairName", "alpha-two"))[0]["KeyPairFingerPrint"].(string)
	tests := []struct {
		pairs []string
		want  string
	}{
		{nil, "alpha-one alpha-two beta-one"},
		{[]string{"KeyPairName", "alpha-one"}, "alpha-one"},
		{[]string{"KeyPairName", "alpha*"}, "alpha-one alpha-two"},
		{[]string{"KeyPairName", "*one"}, "alpha-one beta-one"},
		{[]string{"KeyPairName", "*a-*"}, "alpha-one alpha-two beta-one"},
		{[]string{"KeyPairName", "*"}, "alpha-one alpha-two beta-one"},
		{[]string{"KeyPairName", "alpha"}, ""},
		{[]string{"KeyPairFingerPrint", fingerprint}, "alpha-two"},
		{[]string{"KeyPairFingerPrint", "00:11"}, ""},
		{[]string{"Tag.1.Key", "n", "Tag.1.Value", "2"}, "beta-one"},
		{[]string{"Tag.1.Key", "n"}, "alpha-one alpha-two beta-one"},
		{[]string{"Tag.1.Key", "n", "Tag.1.Value", "2", "Tag.2.Key", "none"}, ""},
		{[]string{"KeyPairName", "alpha*", "Tag.1.Key", "n", "Tag.1.Value", "2"}, ""},
		{[]string{"ResourceGroupId", "rg-none"}, ""},
	}
	for _, test := range tests {
		body := w.must("DescribeKeyPairs", test.pairs...)
		var names []string
		for _, pair := range w.described(body) {
			names = append(names, pair["KeyPairName"].(string))
		}
		if got := strings.Join(names, " "); got != test.want || body["TotalCount"] != float64(len(names)) {
			t.Errorf("%v: %q (%v), want %q", test.pairs, got, body["TotalCount"], test.want)
		}
	}
}

// TestPagesHoldEachPairOnce and all tell how many there are.
func TestPagesHoldEachPairOnce(t *testing.T) {
	w := newWorld(t)
	var want, got []string
	for i := range 23 {
		name := fmt.Sprintf("pair-%02d", i)
		w.must("ImportKeyPair", "KeyPairName", name, "PublicKeyBody", ed25519Line)
		want = append(want, name)
	}
	for page, size := range []int{10, 10, 3, 0} {
		body := w.must("DescribeKeyPairs", "PageNumber", fmt.Sprint(page+1))
		pairs := w.described(body)
		if len(pairs) != size || body["TotalCount"] != 23.0 || body["PageNumber"] != float64(page+1) || body["PageSize"] != 10.0 {
			t.Errorf("page %d: %d of %v", page+1, len(pairs), body["TotalCount"])
		}
		for _, pair := range pairs {
			got = append(got, pair["KeyPairName"].(string))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := len(w.described(w.must("DescribeKeyPairs", "PageSize", "50"))); n != 23 {
		t.Errorf("%d on a page of 50", n)
	}
	if n := len(w.described(w.must("DescribeKeyPairs", "PageNumber", "2147483647", "PageSize", "50"))); n != 0 {
		t.Errorf("%d on the last page of all", n)
	}
}

// TestOldestPairComesFirst, to the nanosecond; those of one moment are in the order of their names.
func TestOldestPairComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, name := range []string{"zz", "yy", "bb", "aa"} {
			w.must("ImportKeyPair", "KeyPairName", name, "PublicKeyBody", ed25519Line)
			if name != "bb" {
				time.Sleep(time.Nanosecond)
			}
		}
		var got []string
		for _, pair := range w.described(w.must("DescribeKeyPairs")) {
			got = append(got, pair["KeyPairName"].(string))
		}
		if diff := cmp.Diff([]string{"zz", "yy", "aa", "bb"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestDeleteTakesAllOrNone(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"first", "second", "third"} {
		w.must("ImportKeyPair", "KeyPairName", name, "PublicKeyBody", ed25519Line)
	}
	if status, _ := w.call("DeleteKeyPairs", "KeyPairNames", `["first","none"]`); status != 404 {
		t.Errorf("status %d", status)
	}
	if n := len(w.described(w.must("DescribeKeyPairs"))); n != 3 {
		t.Fatalf("%d are left", n)
	}
	body := w.must("DeleteKeyPairs", "KeyPairNames", `["first","third","first"]`)
	if diff := cmp.Diff([]string{"RequestId"}, fields(body)); diff != "" {
		t.Error(diff)
	}
	if left := w.described(w.must("DescribeKeyPairs")); len(left) != 1 || left[0]["KeyPairName"] != "second" {
		t.Errorf("left %v", left)
	}
}
