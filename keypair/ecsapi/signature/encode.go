package signature

import (
	"maps"
	"slices"
	"strings"
)

// Encode percent-encodes as both signatures want it: what RFC 3986 section 2.3 calls unreserved
// stays, every other byte becomes % and two upper-case hexadecimal digits.
func Encode(text string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(text))
	for i := range len(text) {
		if c := text[i]; unreserved(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.~", c) >= 0
}

// EncodeAll is parameters as a query string in the one order that is signed: by their names' bytes.
func EncodeAll(parameters map[string]string) string {
	var b strings.Builder
	for i, name := range slices.Sorted(maps.Keys(parameters)) {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(Encode(name) + "=" + Encode(parameters[name]))
	}
	return b.String()
}
