package authkeys

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The managed block is
//
//	# BEGIN latchkey SHA256:… SHA256:… - kept by latchkeyd, edit elsewhere
//	ssh-ed25519 AAAA… comment
//	# END latchkey SHA256:… SHA256:…
//
// with the fingerprint of each key in both markers.
const (
	beginMark = "# BEGIN latchkey"
	endMark   = "# END latchkey"
	beginNote = " - kept by latchkeyd, edit elsewhere"
)

// A BinaryError refuses to edit a file that holds a NUL byte: it is no text
// that an editor may put lines into.
type BinaryError struct {
	Line int // the first line with a NUL, from 1
}

func (e *BinaryError) Error() string {
	return fmt.Sprintf("line %d holds a NUL byte: this is no text file, move it away", e.Line)
}

// Managed returns the keys of the managed block, in order.
func (f *File) Managed() []*Entry {
	var entries []*Entry
	for i, owned := range f.owned() {
		if owned && f.Lines[i].Kind == Key {
			entries = append(entries, f.Lines[i].Entry)
		}
	}
	return entries
}

// WithManaged returns the file with exactly these keys in the managed block,
// each given as ParseManaged reads it: "type base64 [comment]", with nothing but a
// certificate's bounds before it. Without keys there is no block. Every other line
// comes through byte for byte.
//
// A new block goes to the top: the last line may lack a newline, and of two
// lines with one key sshd takes the first. A block that is there already stays
// where it is, unless a line before it has one of the keys; lines in it that are
// not latchkey's follow it.
func (f *File) WithManaged(keys []string) ([]byte, error) {
	for i, line := range f.Lines {
		if bytes.IndexByte(line.Raw, 0) >= 0 {
			return nil, &BinaryError{Line: i + 1}
		}
	}
	block, err := renderBlock(keys)
	if err != nil {
		return nil, err
	}
	owned := f.owned()
	at := max(0, slices.Index(owned, true))
	if f.overrules(f.Lines[:at], keys) {
		at = 0
	}
	data := make([]byte, 0, len(block)+f.size())
	for i, line := range f.Lines {
		if i == at {
			data = append(data, block...)
		}
		if !owned[i] {
			data = append(data, line.Raw...)
		}
	}
	if len(f.Lines) == 0 {
		data = append(data, block...)
	}
	return data, nil
}

// Released returns the file without a managed block: of its keys, those for which
// keep is true stay behind as plain lines in their place, unless there is such a
// line already; the others go. Every other line comes through byte for byte.
func (f *File) Released(keep func(*Entry) bool) ([]byte, error) {
	var data []byte
	for i, owned := range f.owned() {
		line := f.Lines[i]
		if bytes.IndexByte(line.Raw, 0) >= 0 {
			return nil, &BinaryError{Line: i + 1}
		}
		if !owned || (line.Kind == Key && keep(line.Entry) && !f.hasPlain(line.Entry)) {
			data = append(data, line.Raw...)
		}
	}
	return data, nil
}

// hasPlain tells whether a line that is not ours has the key, and nothing before
// it.
func (f *File) hasPlain(entry *Entry) bool {
	owned := f.owned()
	for i, line := range f.Lines {
		if !owned[i] && line.isBare() && bytes.Equal(line.Entry.Blob, entry.Blob) {
			return true
		}
	}
	return false
}

// overrules tells whether one of the lines has one of the keys, perhaps with
// options that would decide in the block's place.
func (f *File) overrules(lines []Line, keys []string) bool {
	for _, key := range keys {
		entry, err := ParseManaged(key)
		if err != nil {
			return false // renderBlock has refused it
		}
		if slices.ContainsFunc(lines, func(l Line) bool { return l.Kind == Key && bytes.Equal(l.Entry.Blob, entry.Blob) }) {
			return true
		}
	}
	return false
}

func (f *File) size() int {
	n := 0
	for _, line := range f.Lines {
		n += len(line.Raw)
	}
	return n
}

// owned tells for each line whether it is latchkey's: a marker, or a key named
// in a marker it belongs to. Between a BEGIN and the next END, if no other
// marker stands between, that is every such key; a marker without its partner
// owns only the keys it names that directly follow (BEGIN) or precede (END) it.
func (f *File) owned() []bool {
	owned := make([]bool, len(f.Lines))
	open := -1 // the BEGIN that has met no other marker yet
	for i, line := range f.Lines {
		switch {
		case isMark(line, beginMark):
			owned[i] = true
			f.ownNeighbours(owned, i, +1)
			open = i
		case isMark(line, endMark):
			owned[i] = true
			if open >= 0 {
				f.ownBetween(owned, open, i)
			} else {
				f.ownNeighbours(owned, i, -1)
			}
			open = -1
		}
	}
	return owned
}

func (f *File) ownBetween(owned []bool, begin, end int) {
	named := fingerprints(f.Lines[begin])
	maps.Copy(named, fingerprints(f.Lines[end]))
	for i := begin + 1; i < end; i++ {
		owned[i] = f.Lines[i].isNamed(named)
	}
}

func (f *File) ownNeighbours(owned []bool, mark, step int) {
	named := fingerprints(f.Lines[mark])
	for i := mark + step; i >= 0 && i < len(f.Lines) && f.Lines[i].isOurs() && f.Lines[i].isNamed(named); i += step {
		owned[i] = true
	}
}

func (l Line) isNamed(fingerprints map[string]bool) bool {
	return l.Kind == Key && fingerprints[l.Entry.Fingerprint()]
}

// isBare tells whether the line has nothing before the key.
func (l Line) isBare() bool {
	return l.Kind == Key && strings.HasPrefix(lineText(l.Raw), l.Entry.Type)
}

func isMark(l Line, mark string) bool {
	rest, ok := strings.CutPrefix(lineText(l.Raw), mark)
	return ok && (rest == "" || strings.IndexByte(" \t\r", rest[0]) >= 0)
}

// fingerprints returns the fingerprints that a marker names.
func fingerprints(mark Line) map[string]bool {
	named := make(map[string]bool)
	for word := range strings.FieldsSeq(lineText(mark.Raw)) {
		if strings.HasPrefix(word, fingerprintPrefix) {
			named[word] = true
		}
	}
	return named
}

func renderBlock(keys []string) ([]byte, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	var names, lines strings.Builder
	seen := make(map[string]bool)
	for i, key := range keys {
		entry, err := parseManaged(key)
		if err != nil {
			return nil, fmt.Errorf("key %d to be managed: %w", i+1, err)
		}
		if name := entry.Fingerprint(); !seen[name] {
			seen[name] = true
			names.WriteString(" " + name)
			lines.WriteString(entry.line())
		}
	}
	return fmt.Appendf(nil, "%s%s%s\n%s%s%s\n",
		beginMark, names.String(), beginNote, lines.String(), endMark, names.String()), nil
}

var errNotOneKey = errors.New("not one plain line")

// ParseKey reads one key that grants nothing but itself: "type base64
// [comment]" on one line, with no options and no control characters. A newline
// may end it.
func ParseKey(key string) (*Entry, error) {
	key = strings.TrimRight(strings.TrimSuffix(key, "\n"), "\r")
	if !utf8.ValidString(key) || strings.ContainsFunc(key, isControl) {
		return nil, errNotOneKey
	}
	return parseKey(strings.TrimLeft(key, blanks))
}

func isControl(r rune) bool { return unicode.IsControl(r) && r != '\t' }

// bareLine writes the key anew, so that nothing but the key comes out.
func (e *Entry) bareLine() string {
	line := e.Type + " " + base64.StdEncoding.EncodeToString(e.Blob)
	if comment := strings.TrimSpace(e.Comment); comment != "" {
		line += " " + comment
	}
	return line + "\n"
}
