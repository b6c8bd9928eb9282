package target

import (
	"strings"
	"unicode/utf8"
)

// How many bytes of a text an [Event] has at most, see there.
const (
	maxText = 4096
	maxName = 512
)

// clip cuts what the client has made up, so that an event does not keep more alive than it shows.
func (e *Event) clip() {
	for _, text := range []*string{&e.Command, &e.Original, &e.Reason} {
		*text = clipped(*text, maxText)
	}
	for _, name := range []*string{&e.Client, &e.User, &e.Method, &e.Certificate, &e.Request, &e.Target, &e.Subsystem} {
		*name = clipped(*name, maxName)
	}
}

// clipped is a copy of the text, as it may be a part of a longer one; of a text that is too long the beginning, with "…"
// for what is not there.
func clipped(text string, longest int) string {
	if len(text) <= longest {
		return strings.Clone(text)
	}
	end := longest
	for end > longest-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}
