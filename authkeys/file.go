package authkeys

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Kind says what sshd makes of a line.
type Kind int

// The kinds of a line.
const (
	Blank   Kind = iota // nothing but spaces and tabs
	Comment             // the first character is #
	Key                 // an authorized key, options and all
	Bad                 // sshd passes over it; Line.Err says why
)

func (k Kind) String() string {
	return [...]string{"blank", "comment", "key", "bad"}[k]
}

// A File is an authorized_keys file as sshd sees it. The lines hold every byte
// of it.
type File struct {
	Lines []Line
}

// A Line is one line of a File.
type Line struct {
	Raw   []byte // as in the file, with its newline where it has one
	Kind  Kind
	Entry *Entry // set for a Key line only
	Err   error  // set for a Bad line only; never holds a key's body
}

// Parse reads a whole authorized_keys file. It never fails: sshd passes over a
// line it cannot use and goes on with the next, so such a line is kept with its
// reason. The lines share data's memory.
func Parse(data []byte) *File {
	f := &File{Lines: make([]Line, 0, bytes.Count(data, []byte{'\n'})+1)}
	for raw := range bytes.Lines(data) {
		f.Lines = append(f.Lines, parseLine(raw))
	}
	return f
}

// Bytes returns the file as it was given to Parse.
func (f *File) Bytes() []byte {
	var data []byte
	for _, line := range f.Lines {
		data = append(data, line.Raw...)
	}
	return data
}

// Keys returns the entries of the key lines, in the order in which sshd tries
// them.
func (f *File) Keys() []*Entry {
	var entries []*Entry
	for _, line := range f.Lines {
		if line.Kind == Key {
			entries = append(entries, line.Entry)
		}
	}
	return entries
}

func parseLine(raw []byte) Line {
	line := Line{Raw: raw}
	text := strings.TrimLeft(lineText(raw), blanks)
	switch {
	case text == "":
		line.Kind = Blank
	case text[0] == '#':
		line.Kind = Comment
	default:
		entry, err := parseEntry(text)
		if err != nil {
			line.Kind, line.Err = Bad, err
			break
		}
		line.Kind, line.Entry = Key, entry
	}
	return line
}

// blanks separate the fields of a line; other white space does not.
const blanks = " \t"

// lineText returns what sshd sees of a line: it handles lines as C strings, so
// a NUL ends the text.
func lineText(raw []byte) string {
	text, _, _ := bytes.Cut(bytes.TrimSuffix(raw, []byte{'\n'}), []byte{0})
	return string(text)
}

var errUnterminatedQuote = errors.New("options: a double quote is not closed")

// parseEntry reads "type key [comment]" or, when that is not what the text
// starts with, "options type key [comment]". The order matters: a first word
// that is options is told from a type only by the key that follows.
func parseEntry(text string) (*Entry, error) {
	entry, bareErr := parseKey(text)
	if bareErr == nil {
		entry.Options = defaultOptions()
		return entry, nil
	}
	word, rest, ok := cutOptions(text)
	if !ok {
		return nil, errUnterminatedQuote
	}
	entry, err := parseKey(strings.TrimLeft(rest, blanks))
	if err != nil {
		if !errors.Is(bareErr, errNoKey) {
			err = bareErr // the line began like a key: what is wrong there tells more
		}
		return nil, err
	}
	entry.Options, err = parseOptions(word)
	if err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	return entry, nil
}

// cutOptions splits text at the first blank outside double quotes. It fails
// when a quote stays open. A backslash hides a quote, inside quotes or not.
func cutOptions(text string) (options, rest string, ok bool) {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && strings.HasPrefix(text[i+1:], `"`):
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte(blanks, c) >= 0:
			return text[:i], text[i:], true
		}
	}
	return text, "", !quoted
}
