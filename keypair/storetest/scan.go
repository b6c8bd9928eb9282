package storetest

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/keypair"
)

var scans = []promise{
	{"AScanVisitsWhatBeginsWithThePrefixInOrder", scanVisitsPrefix},
	{"AScanSeesTheTransactionsOwnChanges", scanSeesOwnChanges},
	{"AScanEndsWithTheErrorOfItsVisitor", scanEndsWithError},
	{"AVisitorMayRead", visitorMayRead},
}

// scan returns the keys that a Scan visits.
func scan(tx keypair.Tx, prefix string) ([]string, error) {
	found := []string{}
	err := tx.Scan(prefix, func(key string, _ []byte) error {
		found = append(found, key)
		return nil
	})
	return found, err
}

// sorted is what the end of a range is easily got wrong by: keys that are prefixes of others, a
// prefix whose last byte cannot grow, capitals, bytes above 0x7f.
var sorted = []string{
	"\x00", "A", "Z", "a", "a/", "a/b", "a/b/c", "a0", "ab", "a\x7f", "a\x7f\x7f", "b",
	"é", "\uffff", "\U00010000", "\U0010ffff", "\U0010ffff\U0010ffff",
}

func scanVisitsPrefix(t *testing.T, store keypair.Store) {
	changes := map[string][]byte{}
	for _, key := range sorted {
		changes[key] = []byte("of " + key)
	}
	update(t, store, changes)
	cases := map[string][]string{
		"": sorted, "a": sorted[3:11], "a/": sorted[4:7], "a/b/c/d": {}, "a\x7f": sorted[9:11], "b": {"b"}, "c": {},
		"\x00": {"\x00"}, "\xc3": {"é"}, "\xff": {}, "a\xff": {}, "\uffff": {"\uffff"}, "\xf4": sorted[15:],
		"\U0010ffff": sorted[15:], "\U0010ffff\U0010ffff": sorted[16:], "\xf4\x8f\xbf\xbf\xff": {},
	}
	for prefix, want := range cases {
		err := store.View(t.Context(), func(tx keypair.Tx) error {
			got, err := scan(tx, prefix)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("below %q (-want +got):\n%s", prefix, diff)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	for key, value := range content(t, store) {
		if value != "of "+key {
			t.Errorf("%q was visited with %q", key, value)
		}
	}
}

func scanSeesOwnChanges(t *testing.T, store keypair.Store) {
	update(t, store, map[string][]byte{"p/1": []byte("old"), "p/2": []byte("old"), "p/4": []byte("old"), "q": []byte("old")})
	err := store.Update(t.Context(), func(tx keypair.Tx) error {
		changes := map[string][]byte{"p/0": []byte("new"), "p/2": nil, "p/3": []byte("new"), "p/4": []byte("new"), "p": []byte("new")}
		if err := apply(tx, changes); err != nil {
			return err
		}
		var got []string
		err := tx.Scan("p/", func(key string, value []byte) error {
			got = append(got, key+" "+string(value))
			return nil
		})
		if diff := cmp.Diff([]string{"p/0 new", "p/1 old", "p/3 new", "p/4 new"}, got); diff != "" {
			t.Errorf("within the transaction (-want +got):\n%s", diff)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func scanEndsWithError(t *testing.T, store keypair.Store) {
	update(t, store, map[string][]byte{"1": {}, "2": {}, "3": {}})
	mine := errors.New("mine")
	var visited []string
	scanUntil2 := func(tx keypair.Tx) error {
		visited = nil
		return tx.Scan("", func(key string, _ []byte) error {
			if visited = append(visited, key); key == "2" {
				return mine
			}
			return nil
		})
	}
	for name, got := range map[string]error{
		"View":   store.View(t.Context(), scanUntil2),
		"Update": store.Update(t.Context(), scanUntil2),
	} {
		if !isVery(got, mine) {
			t.Errorf("%s: error %v; want the very one that visit returned", name, got)
		}
	}
	if diff := cmp.Diff([]string{"1", "2"}, visited); diff != "" {
		t.Errorf("visited (-want +got):\n%s", diff)
	}
}

func visitorMayRead(t *testing.T, store keypair.Store) {
	update(t, store, map[string][]byte{"1": []byte("a"), "2": []byte("b"), "below 1": []byte("c")})
	read := func(tx keypair.Tx) error {
		return tx.Scan("", func(key string, value []byte) error {
			same, err := tx.Get(key)
			if string(same) != string(value) {
				t.Errorf("%s is %q to Scan, %q to Get", key, value, same)
			}
			inner, scanErr := scan(tx, "below ")
			if len(inner) != 1 {
				t.Errorf("a Scan within another visits %q", inner)
			}
			return errors.Join(err, scanErr)
		})
	}
	if err := errors.Join(store.View(t.Context(), read), store.Update(t.Context(), read)); err != nil {
		t.Error(err)
	}
}
