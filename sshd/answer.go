package sshd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits of an answer. A method's name has at most 64 bytes (RFC 4251, section
// 6), a version line 255 (RFC 4253, section 4.2).
const (
	maxMethods    = 32
	maxMethodName = 64
	maxVersion    = 255
	maxHostKey    = 32 << 10
	maxReason     = 1024
)

// errImplausible is an answer that no conversation of ours comes to.
var errImplausible = errors.New("answer of sshd")

// Validate holds an answer that came from another process to everything that Ask
// promises: one of three verdicts, and everything else short and printable, so
// that it can be shown as it is.
func (a Answer) Validate() error {
	switch {
	case !slices.Contains([]Verdict{Unknown, Accepted, Refused}, a.Key):
		return fmt.Errorf("%w: its verdict is none of accepted, refused, unknown", errImplausible)
	case len(a.Methods) > maxMethods || slices.ContainsFunc(a.Methods, func(m string) bool { return m == "" || !plain(m, maxMethodName) }):
		return fmt.Errorf("%w: methods that are no names", errImplausible)
	case !plain(a.Version, maxVersion) || !plain(a.Reason, maxReason):
		return fmt.Errorf("%w: text that cannot be shown", errImplausible)
	case len(a.HostKey) > maxHostKey:
		return fmt.Errorf("%w: host key of %d bytes", errImplausible, len(a.HostKey))
	case a.Key == Accepted && (len(a.HostKey) == 0 || !slices.Contains(a.Methods, "publickey")):
		return fmt.Errorf("%w: accepted, but by whom, and how?", errImplausible)
	}
	return nil
}

// plain tells whether text is printable ASCII, max bytes at most.
func plain(text string, max int) bool {
	return len(text) <= max && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}

// cleaned is a as it passes Validate, whatever the server has said.
func (a Answer) cleaned() Answer {
	a.Version, a.Reason = cleanText(a.Version, maxVersion), cleanText(a.Reason, maxReason)
	if len(a.HostKey) > maxHostKey {
		a.HostKey = nil
	}
	var methods []string
	for _, method := range a.Methods[:min(len(a.Methods), maxMethods)] {
		if method != "" {
			methods = append(methods, cleanText(method, maxMethodName))
		}
	}
	if a.Methods != nil && methods == nil { // an empty list is an answer, none is not
		methods = []string{}
	}
	a.Methods = methods
	return a
}

func cleanText(text string, max int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	return text[:min(len(text), max)]
}
