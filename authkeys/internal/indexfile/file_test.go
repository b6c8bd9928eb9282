package indexfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// openBytes opens an index in memory, and counts what is read of it.
func openBytes(data []byte) (f *File, reads *counter, err error) {
	reads = new(counter)
	f, err = Open(func(p []byte, offset int64) (int, error) {
		reads.calls++
		reads.bytes += len(p)
		n, err := bytes.NewReader(data).ReadAt(p, offset)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return n, err
	}, int64(len(data)))
	return f, reads, err
}

type counter struct{ calls, bytes int }

// sealed puts an index together: records, and a table of entries.
func sealed(t testing.TB, users, lines int, records []byte, entries []Entry) []byte {
	t.Helper()
	h := Header{int64(users), int64(lines), int64(HeaderSize + len(records))}
	var b bytes.Buffer
	b.Write(h.Append(nil))
	b.Write(records)
	if err := h.WriteTable(&b, slices.Values(entries)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// world is an index in which each of these users has so many lines, with keys that are
// numbers.
func world(t testing.TB, users, lines int) []byte {
	t.Helper()
	var records []byte
	var entries []Entry
	for u := range users {
		user := fmt.Appendf(nil, "u%06d", u)
		for l := range lines {
			key := fmt.Appendf(nil, "%d", l)
			offset := int64(HeaderSize + len(records))
			r := Record{User: user, Line: fmt.Appendf(nil, "key %d", l), Key: key, First: l == 0}
			if r.First {
				entries = append(entries, Entry{UserHash(user), offset})
			}
			entries = append(entries, Entry{r.Hash(), offset})
			records = r.Append(records, 4)
		}
	}
	slices.SortFunc(entries, Entry.Compare)
	return sealed(t, users, users*lines, records, entries)
}

// TestLookupTakesAHandfulOfReads whatever the number of lines: one for the header, one
// for each level of the table, one for the record, and in one of 127 cases the next
// page.
func TestLookupTakesAHandfulOfReads(t *testing.T) {
	for _, test := range []struct{ users, lines, levels int }{
		{1, 1, 1}, {1, 126, 1}, {1, 127, 2}, {1, 1000, 2}, {1, 100_000, 3}, {50_000, 2, 3},
	} {
		f, reads, err := openBytes(world(t, test.users, test.lines))
		if err != nil {
			t.Fatal(err)
		}
		if len(f.levels) != test.levels {
			t.Errorf("%+v: %d levels", test, len(f.levels))
		}
		most, sum, asked := 0, 0, 0
		for l := 0; l < test.lines; l += max(1, test.lines/500) {
			before, found := reads.calls, 0
			err := f.Key("u000000", fmt.Sprint(l), func([]byte) error { found++; return nil })
			if err != nil || found != 1 {
				t.Fatalf("%+v: key %d: %d lines, %v", test, l, found, err)
			}
			most, sum, asked = max(most, reads.calls-before), sum+reads.calls-before, asked+1
		}
		if usual := test.levels + 1; most > usual+1 || sum > asked*usual+asked/20+1 {
			t.Errorf("%+v: at most %d reads, %d for %d lookups", test, most, sum, asked)
		}
	}
}

// TestEntriesOfOneHashAreAllFoundInOrder also where they go over many pages.
func TestEntriesOfOneHashAreAllFoundInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var entries []Entry
		offset := int64(HeaderSize)
		runs := rapid.SliceOfN(rapid.IntRange(1, 600), 0, 200).Draw(t, "runs")
		hashes := rapid.SliceOfNDistinct(rapid.Uint64(), len(runs), len(runs), rapid.ID[uint64]).Draw(t, "hashes")
		slices.Sort(hashes)
		for i, n := range runs {
			for range n {
				entries = append(entries, Entry{hashes[i], offset})
				offset++
			}
		}
		h := Header{0, int64(len(entries)), int64(HeaderSize)}
		var b bytes.Buffer
		b.Write(h.Append(nil))
		if err := h.WriteTable(&b, slices.Values(entries)); err != nil {
			t.Fatal(err)
		}
		f, _, err := openBytes(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		for _, hash := range append(hashes, rapid.Uint64().Draw(t, "another")) {
			var want, got []int64
			for _, e := range entries {
				if e.Hash == hash {
					want = append(want, e.Offset)
				}
			}
			err := f.offsets(hash, func(offset int64) (bool, error) { got = append(got, offset); return true, nil })
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Fatalf("%v\n%s", err, diff)
			}
		}
	})
}

// TestLinesWhoseHashesAreEqualAreToldApart: a table that somebody made so files all
// under the hash that is asked for.
func TestLinesWhoseHashesAreEqualAreToldApart(t *testing.T) {
	git := []byte("git")
	lines := []Record{
		{User: []byte("alice"), Line: []byte("a 1"), Key: []byte("1"), First: true},
		{User: []byte("alice"), Line: []byte("b 1"), Key: []byte("1"), Authority: true},
		{User: git, Line: []byte("c 1"), Key: []byte("1"), First: true, Authority: true},
		{User: git, Line: []byte("d 1"), Key: []byte("1")},
		{User: git, Line: []byte("e 2"), Key: []byte("2")},
		{User: git, Line: []byte("f 1"), Key: []byte("1")},
	}
	for name, test := range map[string]struct {
		hash uint64
		ask  func(f *File, visit func([]byte) error) error
		want []string
	}{
		"key":         {KeyHash(git, []byte("1")), func(f *File, visit func([]byte) error) error { return f.Key("git", "1", visit) }, []string{"d 1", "f 1"}},
		"authorities": {AuthorityHash(git), func(f *File, visit func([]byte) error) error { return f.Authorities("git", visit) }, []string{"c 1"}},
		"user":        {UserHash(git), func(f *File, visit func([]byte) error) error { return f.User("git", visit) }, []string{"c 1", "d 1", "e 2", "f 1"}},
	} {
		var records []byte
		var entries []Entry
		for _, r := range lines {
			e := Entry{test.hash, int64(HeaderSize + len(records))}
			entries = append(entries, e, e) // twice is once
			records = r.Append(records, 2)
		}
		f, _, err := openBytes(sealed(t, 2, len(entries)-2, records, entries))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		err = test.ask(f, func(line []byte) error { got = append(got, string(line)); return nil })
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

func TestTableOutOfOrderIsRefused(t *testing.T) {
	first := Record{User: []byte("git"), Line: []byte("b 1"), Key: []byte("1"), First: true}
	records := first.Append(nil, 2)
	second := int64(HeaderSize + len(records))
	records = first.Append(records, 2)
	hash := KeyHash([]byte("git"), []byte("1"))
	for name, entries := range map[string][]Entry{
		"offsets":        {{hash, second}, {hash, int64(HeaderSize)}},
		"overlap":        {{hash, int64(HeaderSize)}, {hash, int64(HeaderSize) + 1}},
		"in the header":  {{hash, 1}},
		"beyond the end": {{hash, second + 1}},
		"negative":       {{hash, -1}},
	} {
		f, _, err := openBytes(sealed(t, 0, len(entries), records, entries))
		if err != nil {
			t.Fatal(err)
		}
		err = f.Key("git", "1", func([]byte) error { return nil })
		if _, ok := errors.AsType[Fault](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPageThatBeginsBelowTheOneBeforeIsRefused: else the whole table could be read for
// one key.
func TestPageThatBeginsBelowTheOneBeforeIsRefused(t *testing.T) {
	hash := KeyHash([]byte("git"), []byte("1"))
	entries := append(slices.Repeat([]Entry{{1, 0}}, leafEntries), Entry{hash, 0}, Entry{hash, 0})
	data := sealed(t, 0, len(entries), nil, entries)
	h := Header{0, int64(len(entries)), int64(HeaderSize)}
	offset, items := h.levels()[0].page(1)
	page := appendUint64(data[:offset], 2)[offset:]
	seal(page[:items*entrySize], 0, uint64(offset))
	f, _, err := openBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	err = f.Key("git", "1", func([]byte) error { return nil })
	if !errors.Is(err, faultTable) {
		t.Errorf("error %v", err)
	}
}
