package ecsapi

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/keypair"
)

// part asks for one part of the instances and returns their ids.
func (w *world) part(token string, pairs ...string) (ids []string, next string) {
	w.t.Helper()
	body := w.must("DescribeInstances", append(pairs, "NextToken", token)...)
	for _, i := range body["Instances"].(map[string]any)["Instance"].([]any) {
		ids = append(ids, i.(map[string]any)["InstanceId"].(string))
	}
	return ids, body["NextToken"].(string)
}

// register adds instances, and returns the ids of all there are, in order.
func (w *world) register(n int) []string {
	w.t.Helper()
	for i := range n {
		if _, err := w.region.Register(w.t.Context(), keypair.Instance{ID: fmt.Sprintf("i-part-%03d", i)}); err != nil {
			w.t.Fatal(err)
		}
	}
	return w.ids()
}

func (w *world) ids() (ids []string) {
	w.t.Helper()
	all, err := w.region.Instances(w.t.Context(), keypair.InstanceFilter{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, i := range all {
		ids = append(ids, i.ID)
	}
	return ids
}

// TestTokensLeadToEachInstanceOnce over a restart of the program, with parts of different sizes.
func TestTokensLeadToEachInstanceOnce(t *testing.T) {
	check := func(t *testing.T) {
		w := newWorld(t)
		want := w.register(20)
		var got []string
		token := ""
		for _, part := range []struct{ most, size int }{{10, 10}, {1, 1}, {7, 7}, {100, 5}} {
			ids, next := w.part(token, "MaxResults", fmt.Sprint(part.most))
			if len(ids) != part.size || (next == "") != (part.most == 100) {
				t.Errorf("MaxResults %d: %d instances, NextToken %q", part.most, len(ids), next)
			}
			got, token = append(got, ids...), next
			w.api = New(w.region, Options{})
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	t.Run("registered one after the other", check)
	t.Run("registered at one moment", func(t *testing.T) { synctest.Test(t, check) })
}

// TestTokenWithoutMaxResults is good for ten, as ECS's default is.
func TestTokenWithoutMaxResults(t *testing.T) {
	w := newWorld(t)
	w.register(20)
	_, token := w.part("", "MaxResults", "2")
	if ids, next := w.part(token); len(ids) != 10 || next == "" {
		t.Errorf("%d instances, NextToken %q", len(ids), next)
	}
}

// TestTokensStandWhatHappensMeanwhile: what was there all the time is told once, though the instance at which a
// part ended has gone, as have others before it, and new ones have come.
func TestTokensStandWhatHappensMeanwhile(t *testing.T) {
	w := newWorld(t)
	all := w.register(6)
	first, token := w.part("", "MaxResults", "4")
	for _, id := range []string{all[0], all[3]} {
		if err := w.region.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.region.Register(t.Context(), keypair.Instance{ID: "i-a-new-one"}); err != nil {
		t.Fatal(err)
	}
	rest, next := w.part(token, "MaxResults", "100")
	if diff := cmp.Diff(append(slices.Clone(all), "i-a-new-one"), append(first, rest...)); diff != "" || next != "" {
		t.Errorf("NextToken %q\n%s", next, diff)
	}
}

// TestLastPartHasNoToken also when it is just full, or empty.
func TestLastPartHasNoToken(t *testing.T) {
	w := newWorld(t) // of three instances
	for _, most := range []string{"3", "4", "100"} {
		if ids, next := w.part("", "MaxResults", most); len(ids) != 3 || next != "" {
			t.Errorf("MaxResults %s: %d instances, NextToken %q", most, len(ids), next)
		}
	}
	_, token := w.part("", "MaxResults", "2")
	for _, id := range w.ids() {
		if err := w.region.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if ids, next := w.part(token, "MaxResults", "2"); len(ids) != 0 || next != "" {
		t.Errorf("of nothing: %v, NextToken %q", ids, next)
	}
}

// TestTokenIsGoodForItsOwnFilter and no other, and for the size of a part as one likes.
func TestTokenIsGoodForItsOwnFilter(t *testing.T) {
	w := newWorld(t)
	ids := array("i-part-", 3)
	_, token := w.part("", "MaxResults", "1", "Status", "Running")
	if got, _ := w.part(token, "MaxResults", "2", "Status", "Running"); len(got) != 2 {
		t.Errorf("the next part is %v", got)
	}
	for _, other := range [][]string{
		{}, {"Status", "Stopped"}, {"Status", "Running", "KeyPairName", "ab"}, {"Status", "Running", "InstanceIds", ids},
	} {
		w.refused(400, "InvalidParameter.NextToken", wrong("NextToken"),
			params("DescribeInstances", append(other, "NextToken", token)...))
	}
}

// TestTokenThatIsNoneOfOurs is refused: one changed anywhere, cut, or from elsewhere.
func TestTokenThatIsNoneOfOurs(t *testing.T) {
	w := newWorld(t)
	_, token := w.part("", "MaxResults", "1")
	wrongs := []string{"x", "=", "caeba0bbb2be03f84eb48b699f0a4883", token + "A", token + "=", token + "\n", " " + token, strings.Repeat("A", 100_000)}
	for i := range token {
		wrongs = append(wrongs, token[:i], token[:i]+string(rune(token[i]^1))+token[i+1:])
	}
	for _, wrongToken := range wrongs {
		if wrongToken == "" {
			continue // the beginning
		}
		status, body := w.call("DescribeInstances", "NextToken", wrongToken)
		wantRefusal(t, wrongToken[:min(len(wrongToken), 80)], status, body, 400, "InvalidParameter.NextToken", wrong("NextToken"))
	}
}

// TestTokensGoBeforePageNumbers: with one of MaxResults and NextToken, PageNumber and PageSize do not count; with
// neither there are no tokens.
func TestTokensGoBeforePageNumbers(t *testing.T) {
	w := newWorld(t)
	body := w.must("DescribeInstances", "MaxResults", "2", "PageNumber", "7", "PageSize", "1000")
	page := []any{body["PageNumber"], body["PageSize"], body["TotalCount"], len(body["Instances"].(map[string]any)["Instance"].([]any))}
	if diff := cmp.Diff([]any{1.0, 2.0, 3.0, 2}, page); diff != "" {
		t.Error(diff)
	}
	body = w.must("DescribeInstances", "PageNumber", "2", "PageSize", "1", "NextToken", "", "MaxResults", "")
	if body["NextToken"] != "" || body["PageNumber"] != 2.0 || body["PageSize"] != 1.0 {
		t.Errorf("%v", body)
	}
}
