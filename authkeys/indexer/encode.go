package indexer

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/authkeys/internal/indexfile"
)

// A piece is some whole lines of a user.
type piece struct {
	user string
	file string // where they are from
	line int    // the number of the first
	why  error  // for which it, and all that follows in the file, is left out

	// Where it ends: in the data, and what it became in the batch.
	end, records, entries int
}

// A batch is what lines become. An entry's offset is from where the records of its
// piece begin.
type batch struct {
	records []byte
	entries []indexfile.Entry
	skipped []skippedLine
	key     []byte // the one at hand
}

// A skippedLine is one that sshd passes over, and neither blank nor a comment, or one that
// only we leave out.
type skippedLine struct {
	file string
	line int
	why  error
	left bool // out
}

// encode makes the job's batch, and says so.
func (j *job) encode() {
	defer func() { j.done <- struct{}{} }()
	j.records, j.entries, j.skipped = j.records[:0], j.entries[:0], j.skipped[:0]
	from := 0
	for i := range j.pieces {
		p := &j.pieces[i]
		if p.why != nil {
			j.skipped = append(j.skipped, skippedLine{p.file, p.line, p.why, true})
		}
		j.batch.encode(p, j.data[from:p.end])
		from, p.records, p.entries = p.end, len(j.records), len(j.entries)
	}
}

// encode makes records of the lines that are keys.
func (b *batch) encode(p *piece, data []byte) {
	start, private := len(b.records), false
	for i, line := range authkeys.Parse(data).Lines {
		text := withoutEnd(line.Raw)
		switch {
		case line.Kind != authkeys.Bad && line.Kind != authkeys.Key:
		case len(text) > indexfile.MaxLine:
			b.skipped = append(b.skipped, skippedLine{p.file, p.line + i, errLong, true})
		case private && line.Kind == authkeys.Bad: // its first line was named
			private = !bytes.HasPrefix(text, []byte("-----END "))
		case line.Kind == authkeys.Bad:
			private = isPrivateKey(text)
			b.skipped = append(b.skipped, skippedLine{p.file, p.line + i, explainBad(text, line.Err), false})
		default:
			b.add(p.user, start, text, line.Entry)
		}
	}
}

// isPrivateKey tells the first line of one in PEM (RFC 7468).
func isPrivateKey(line []byte) bool {
	return bytes.HasPrefix(line, []byte("-----BEGIN ")) && bytes.Contains(line, []byte("PRIVATE KEY"))
}

// explainBad names what is often put into a file in the place of a key.
func explainBad(line []byte, err error) error {
	switch {
	case bytes.HasPrefix(line, []byte("\ufeff")):
		return fmt.Errorf("%w (the file begins with a byte order mark, which sshd takes for a part of the line)", err)
	case isPrivateKey(line):
		return fmt.Errorf("%w (a private key: what belongs here is its public half, mostly in the file of that name with .pub)", err)
	}
	return err
}

var errLong = fmt.Errorf("the line is longer than %d bytes", indexfile.MaxLine)

// add appends a line's record.
func (b *batch) add(user string, start int, text []byte, entry *authkeys.Entry) {
	text, _, _ = bytes.Cut(text, []byte{0}) // what follows is not there for sshd
	text = bytes.TrimRight(text, "\r")      // blanks to it, behind a key or a comment
	b.key = base64.StdEncoding.AppendEncode(b.key[:0], entry.Blob)
	r := indexfile.Record{User: []byte(user), Line: text, Key: b.key, Authority: entry.Options.CertAuthority}
	b.entries = append(b.entries, indexfile.Entry{Hash: r.Hash(), Offset: int64(len(b.records) - start)})
	b.records = r.Append(b.records, bytes.Index(text, b.key))
}

// withoutEnd takes off the newline, and the carriage return before it.
func withoutEnd(raw []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(raw, []byte{'\n'}), []byte{'\r'})
}

var errName = errors.New("no user name: one begins with neither - nor . and has no blanks, colons, slashes or control characters")

// checkName takes what can be a user's name to sshd, wherever its accounts are from.
func checkName(name string) error {
	unfit := func(r rune) bool { return r <= ' ' || r == 0x7f || r == ':' || r == '/' }
	if name == "" || len(name) > indexfile.MaxUser || strings.IndexByte("-.", name[0]) >= 0 || strings.ContainsFunc(name, unfit) {
		return fmt.Errorf("%.64q is %w", name, errName)
	}
	return nil
}
