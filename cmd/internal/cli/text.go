package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// PrintJSON writes v as JSON, indented, with nothing in it that would steer a terminal.
func PrintJSON(w io.Writer, v any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(escaped(text.String()))
	return err
}

// escaped is JSON with what would steer a terminal as \uXXXX (RFC 8259 section 7): encoding/json leaves DEL, the C1
// controls and the marks of writing direction as they are. Outside of strings JSON has none of them.
func escaped(text string) []byte {
	var safe []byte
	for _, r := range text {
		if r == '\n' || unicode.IsPrint(r) {
			safe = utf8.AppendRune(safe, r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			safe = fmt.Appendf(safe, `\u%04x`, unit)
		}
	}
	return safe
}

// Plain takes out of a text from elsewhere what would steer a terminal, break a table or begin a line of its own:
// control characters, and those of category Cf, which turn the direction of writing or are not seen.
func Plain(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
