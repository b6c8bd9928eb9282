package indexer

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/latchkey-ssh/latchkey/authkeys/internal/indexfile"
)

// Found is a line of an index.
type Found struct {
	User string `json:"user"`
	Line string `json:"line"`
}

// Find calls visit with each line whose key has the fingerprint ("SHA256:…").
func Find(ctx context.Context, path, fingerprint string, visit func(Found) error) error {
	sum, err := ParseFingerprint(fingerprint)
	if err != nil {
		return err
	}
	opened, f, err := open(path)
	if err != nil {
		return err
	}
	defer opened.Close()
	var blob []byte
	stopped := error(nil)
	err = f.Records(int64(indexfile.HeaderSize), func(r indexfile.Record) (bool, error) {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		blob, err = base64.StdEncoding.AppendDecode(blob[:0], r.Key)
		if err != nil || sha256.Sum256(blob) != sum {
			return true, nil
		}
		stopped = visit(Found{string(r.User), string(r.Line)})
		return stopped == nil, nil
	})
	if err != nil {
		return explain(path, err)
	}
	return stopped
}

// ParseFingerprint returns the SHA-256 of a fingerprint as ssh-keygen -l shows it: "SHA256:"
// and unpadded base64.
func ParseFingerprint(text string) (sum [sha256.Size]byte, err error) {
	encoded, ok := strings.CutPrefix(text, "SHA256:")
	raw, err := base64.RawStdEncoding.Strict().DecodeString(encoded)
	if !ok || err != nil || len(raw) != len(sum) {
		return sum, fmt.Errorf("%.64s: want SHA256: and 43 letters, as ssh-keygen -l shows it", text)
	}
	return [sha256.Size]byte(raw), nil
}
