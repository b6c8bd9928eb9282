package metadata

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// State is what the endpoint says about the instance's key. Its zero value is none of the
// three, so that a Binding nobody filled in is never taken for unbound.
type State string

// The three states of a binding.
const (
	Unknown State = "unknown" // the endpoint could not be asked, or its answer is not to be trusted
	Unbound State = "unbound" // the endpoint of this very instance says that no key is bound
	Bound   State = "bound"   // these keys, all of them, are bound
)

const (
	maxKeys   = 16   // distinct keys of one binding
	maxReason = 1024 // bytes
)

// Binding is one answer of the endpoint. It is a plain value that may cross a pipe as
// JSON; the receiving side calls Validate before it believes it.
type Binding struct {
	State      State     `json:"state"`
	InstanceID string    `json:"instance_id,omitempty"` // who answered; empty when unknown
	User       string    `json:"user,omitempty"`        // the logon user the endpoint names; mostly empty
	Keys       []Key     `json:"keys,omitempty"`        // in the endpoint's order, distinct; only when bound
	Reason     string    `json:"reason,omitempty"`      // why it is unknown, for a person; only then
	At         time.Time `json:"at"`                    // when the fetch ended, UTC

	// ETag names what the endpoint says for Watch: visible ASCII, at most 64 bytes; empty
	// when the endpoint has no watch, or when unknown.
	ETag string `json:"etag,omitempty"`
}

// Validate holds a Binding that came from another process to everything Fetch promises:
// keys only when bound and then at least one and at most sixteen, each a whole and single
// key and no two the same; an identified instance unless unknown; a reason when unknown.
func (b Binding) Validate() error {
	switch b.State {
	case Unknown:
		return b.validateUnknown()
	case Unbound:
		if len(b.Keys) > 0 {
			return errors.New("binding: unbound, yet it has keys")
		}
	case Bound:
		if err := validateKeys(b.Keys); err != nil {
			return fmt.Errorf("binding: %w", err)
		}
	default:
		return errors.New("binding: its state is none of bound, unbound, unknown")
	}
	return b.validateSource()
}

func (b Binding) validateUnknown() error {
	if len(b.Keys) > 0 || b.User != "" || b.InstanceID != "" || b.ETag != "" {
		return errors.New("binding: unknown, yet it claims something")
	}
	if b.Reason == "" || len(b.Reason) > maxReason || !printableText(b.Reason) {
		return errors.New("binding: unknown without a readable reason")
	}
	return nil
}

// validateSource checks what a known binding says about where it comes from.
func (b Binding) validateSource() error {
	switch {
	case !validInstanceID(b.InstanceID):
		return errors.New("binding: no plausible instance id")
	case b.User != "" && !validUser(b.User):
		return errors.New("binding: logon user is not a user name")
	case b.Reason != "":
		return errors.New("binding: a reason, yet it is not unknown")
	case b.ETag != "" && !validETag(b.ETag):
		return errors.New("binding: not an ETag")
	}
	return nil
}

func validateKeys(keys []Key) error {
	if len(keys) == 0 || len(keys) > maxKeys {
		return fmt.Errorf("bound to %d keys, want 1 to %d", len(keys), maxKeys)
	}
	for i, key := range keys {
		if err := key.validate(); err != nil {
			return err
		}
		if contains(keys[:i], key) {
			return errors.New("the same key twice")
		}
	}
	return nil
}

// Same reports whether acting on b and on o has the same outcome: the same state, logon
// user and set of keys. Order, comments, names, reasons, times and ETags do not count.
func (b Binding) Same(o Binding) bool {
	if b.State != o.State || b.User != o.User || len(b.Keys) != len(o.Keys) {
		return false
	}
	for i := range b.Keys {
		if !contains(o.Keys, b.Keys[i]) || !contains(b.Keys, o.Keys[i]) {
			return false
		}
	}
	return true
}

func contains(keys []Key, key Key) bool {
	for _, k := range keys {
		if sameKey(k, key) {
			return true
		}
	}
	return false
}

// printableText reports whether text is UTF-8 on one line that a terminal shows as it is.
func printableText(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !printable(r) })
}

// instanceID is deliberately narrow: a captive portal's "OK" must not pass for an instance.
func validInstanceID(id string) bool {
	rest, ok := strings.CutPrefix(id, "i-")
	return ok && rest != "" && len(rest) <= 62 && only(rest, "-")
}

// user is what useradd(8) and adduser(8) agree to create, at most 32 bytes.
func validUser(name string) bool {
	return name != "" && len(name) <= 32 && only(name[:1], "_") && !digit(name[0]) && only(name, "_.-")
}

// only reports whether text has no other bytes than ASCII letters, digits and those in more.
func only(text, more string) bool {
	for i := range len(text) {
		c := text[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && !digit(c) && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return true
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// validName reports whether name may be a key's directory below public-keys/: a number or
// a key pair's name or id (2 to 128 letters of any script, digits and : _ - . in ECS).
func validName(name string) bool {
	if name == "" || name == "." || name == ".." || utf8.RuneCountInString(name) > 128 {
		return false
	}
	return utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(":_-.", r)
	})
}
