package ecsclient_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

// count is how many are yielded, and the error at the end.
func count[T any](all iter.Seq2[T, error]) (n int, err error) {
	for _, err = range all {
		if err == nil {
			n++
		}
	}
	return n, err
}

// bigPage is a page of DescribeKeyPairs and DescribeInstances with n of each, of which the first has that number.
func bigPage(first, n, total int) string {
	var pairs, instances []string
	for i := range n {
		pairs = append(pairs, fmt.Sprintf(`{"KeyPairName":"web%d"}`, first+i))
		instances = append(instances, fmt.Sprintf(`{"InstanceId":"i-%d"}`, first+i))
	}
	return fmt.Sprintf(`{"TotalCount":%d,"KeyPairs":{"KeyPair":[%s]},"Instances":{"Instance":[%s]}}`,
		total, strings.Join(pairs, ","), strings.Join(instances, ","))
}

func TestAListHasAnEndWhateverTheServiceSays(t *testing.T) {
	const endless = 1_000_000_000
	number := func(query url.Values, name string) int {
		n, err := strconv.Atoi(query.Get(name))
		if err != nil {
			t.Error(err)
		}
		return n
	}
	tests := map[string]struct {
		page             func(number, size int) string
		pairs, instances int    // that are yielded
		refused          string // in the error, "" for none
	}{
		"always another full page": {
			page:  func(number, size int) string { return bigPage(number*size, size, endless) },
			pairs: ecsclient.MaxKeyPairs, instances: ecsclient.MaxInstances, refused: "the service goes on after",
		},
		"always another short page": {
			page:  func(number, _ int) string { return bigPage(number, 1, endless) },
			pairs: ecsclient.MaxKeyPairs / 50, instances: ecsclient.MaxInstances / 100, refused: "the service goes on after",
		},
		"the same page again": {
			page:  func(_, size int) string { return bigPage(1, size, endless) },
			pairs: 50, instances: 100, refused: "the same page again",
		},
		"more than was asked for": {
			page:    func(number, size int) string { return bigPage(number*size, size+1, endless) },
			refused: "more on a page than was asked for",
		},
		"no end, and nothing": {page: func(int, int) string { return bigPage(0, 0, endless) }},
		"an end": {
			page:  func(number, size int) string { return bigPage(number*size, size, 3*size) },
			pairs: 150, instances: 300,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, ecsclient.Options{Region: "cn-test", Credentials: someCredentials, HTTP: &http.Client{
				Transport: transport(func(r *http.Request) (int, string) {
					query := r.URL.Query()
					return 200, test.page(number(query, "PageNumber"), number(query, "PageSize"))
				}),
			}})
			check := func(action string, got int, err error, want int) {
				t.Helper()
				if got != want || (err != nil) != (test.refused != "") || err != nil && !strings.Contains(err.Error(), action+": "+test.refused) {
					t.Errorf("%s: %d and %v, want %d and %q", action, got, err, want, test.refused)
				}
			}
			got, err := count(client.KeyPairs(context.Background(), ecsclient.KeyPairFilter{}))
			check("DescribeKeyPairs", got, err, test.pairs)
			got, err = count(client.Instances(context.Background(), ecsclient.InstanceFilter{}))
			check("DescribeInstances", got, err, test.instances)
		})
	}
}

// TestEveryInstanceHasAnOutcome: of one that the answer leaves out nobody knows, and others were not asked about.
func TestEveryInstanceHasAnOutcome(t *testing.T) {
	done := `{"InstanceId":"i-1","Success":true}`
	tests := map[string]struct {
		results string
		unknown []string
	}{
		"none":        {``, []string{"i-1", "i-2"}},
		"one":         {done, []string{"i-2"}},
		"one twice":   {done + "," + done, []string{"i-2"}},
		"another too": {done + `,{"InstanceId":"i-2","Success":true},{"InstanceId":"i-3","Success":true}`, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, ecsclient.Options{Region: "cn-test", Credentials: someCredentials, HTTP: &http.Client{
				Transport: transport(func(*http.Request) (int, string) {
					return 200, `{"RequestId":"R","Results":{"Result":[` + test.results + `]}}`
				}),
			}})
			outcomes, err := client.AttachKeyPair(context.Background(), "web", []string{"i-1", "i-2"})
			if err != nil {
				t.Fatal(err)
			}
			var asked, unknown []string
			for _, outcome := range outcomes {
				asked = append(asked, outcome.InstanceID)
				if errors.Is(outcome.Err, ecsclient.ErrNoAnswer) {
					unknown = append(unknown, outcome.InstanceID)
				}
			}
			if diff := cmp.Diff([][]string{{"i-1", "i-2"}, test.unknown}, [][]string{asked, unknown}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestSuccessInOtherWordsTellsNothing: what answers 200, and not as ECS does, may have passed the request on.
func TestSuccessInOtherWordsTellsNothing(t *testing.T) {
	for _, answer := range []string{"<html>log in</html>", "", "null", "[]", "{}", `{"PrivateKeyBody":"x"}`, `{"KeyPairName":`} {
		client := newClient(t, ecsclient.Options{Region: "cn-test", Credentials: someCredentials, HTTP: &http.Client{
			Transport: transport(func(*http.Request) (int, string) { return 200, answer }),
		}})
		_, created := client.CreateKeyPair(context.Background(), ecsclient.NewKeyPair{Name: "web"})
		_, imported := client.ImportKeyPair(context.Background(), ecsclient.NewKeyPair{Name: "web"}, somePublicKey)
		for _, err := range []error{created, imported} {
			if !errors.Is(err, ecsclient.ErrNoAnswer) || !strings.Contains(err.Error(), "it is not ECS's") {
				t.Errorf("%q: got %v", answer, err)
			}
		}
	}
}

func TestErrorsAreOneLineThatCanBePrinted(t *testing.T) {
	const steering = "a\x1b]0;pwned\x07\u009b31m\x7f\u202eb\u2066c\u061cd\u200b\r\n\x9b"
	for _, err := range []error{
		&ecsclient.Error{Action: "DeleteKeyPairs", Code: steering, Message: steering, RequestID: steering, HTTPStatus: 400},
		&ecsclient.NetworkError{Action: "DeleteKeyPairs", Host: "h", Err: errors.New(steering)},
	} {
		for _, r := range err.Error() {
			if !unicode.IsPrint(r) {
				t.Errorf("%U in %q", r, err.Error())
			}
		}
	}
}
