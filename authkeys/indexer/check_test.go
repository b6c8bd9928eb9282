package indexer

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/authkeys/internal/indexfile"
)

// TestCheckFindsWhatNobodyWouldWrite though all checksums are right.
func TestCheckFindsWhatNobodyWouldWrite(t *testing.T) {
	const key = "AAAAC3NzaC1lZDI1NTE5AAAAINVoilLVWgLsSupewerf/+HJ4O5qTdviN3+YMm1C38l1"
	const line = "ssh-ed25519 " + key
	record := func(user, line, key string) indexfile.Record {
		return indexfile.Record{User: []byte(user), Line: []byte(line), Key: []byte(key)}
	}
	for name, records := range map[string][]indexfile.Record{
		"":                        {record("git", line, key)}, // this one is sound
		"no user name":            {record("g it", line, key)},
		"another key":             {record("git", line, key[:60])},
		"no key":                  {record("git", "# "+line, key)},
		"two lines":               {record("git", line+"\n"+line, key)},
		"bad options":             {record("git", "no-such-option "+line, key)},
		"an authority":            {record("git", "cert-authority "+line, key)},
		"carriage return":         {record("git", line+"\r", key)},
		"a user who is not first": {record("git", line, key), {User: []byte("git"), Line: []byte(line), Key: []byte(key), First: true}},
	} {
		path := filepath.Join(t.TempDir(), "made.index")
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		l := newLayout(file)
		for _, r := range records {
			err := l.add(string(r.User), r.Append(nil, bytes.Index(r.Line, r.Key)), []indexfile.Entry{{Hash: r.Hash()}})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(l.finish(), file.Close()); err != nil {
			t.Fatal(err)
		}
		_, err = Check(context.Background(), path)
		if _, refused := errors.AsType[*index.Error](err); refused != (name != "") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
