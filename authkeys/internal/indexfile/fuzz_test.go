package indexfile

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzReader reads what may have been made to do harm, with checksums that are right:
// whatever it is, reading it ends, and takes no more than the file's size suggests.
func FuzzReader(f *testing.F) {
	for _, data := range [][]byte{world(f, 1, 1), world(f, 2, 3), world(f, 1, 200), world(f, 0, 0), sealed(f, 0, 0, nil, nil)} {
		f.Add(data, "u000000", "1")
	}
	f.Fuzz(func(t *testing.T, data []byte, user, key string) {
		data = bytes.Clone(data)
		reseal(data)
		file, reads, err := openBytes(data)
		if err != nil {
			wantFault(t, err)
			return
		}
		visit := func(line []byte) error {
			if len(line) > MaxLine || !bytes.Contains(data, line) {
				t.Fatal("a line that is not in the file")
			}
			return nil
		}
		wantFault(t, file.Key(user, key, visit))
		wantFault(t, file.Authorities(user, visit))
		wantFault(t, file.User(user, visit))
		wantFault(t, file.Records(int64(HeaderSize), func(Record) (bool, error) { return true, nil }))
		if most := 100*len(data) + 1<<20; reads.bytes > most {
			t.Errorf("%d bytes were read of %d", reads.bytes, len(data))
		}
	})
}

func wantFault(t *testing.T, err error) {
	t.Helper()
	if _, ok := errors.AsType[Fault](err); err != nil && !ok {
		t.Fatal(err)
	}
}

// reseal sets the checksums right wherever what is before them makes sense.
func reseal(data []byte) {
	if len(data) < HeaderSize {
		return
	}
	seal(data[:HeaderSize-sealSize], 0, seedHeader)
	h, err := parseHeader(data[:HeaderSize], int64(len(data)))
	if err != nil {
		return
	}
	for _, l := range h.levels() {
		for number := range l.pages() {
			offset, items := l.page(number)
			end := int(offset) + items*l.itemSize
			seal(data[:end], int(offset), uint64(offset))
		}
	}
	for at := HeaderSize; at+headSize <= int(h.Table); {
		head, err := parseHead(data[at:])
		if err != nil || at+head.size() > int(h.Table) {
			return
		}
		seal(data[:at+head.size()-sealSize], at, seedRecord)
		at += head.size()
	}
}
