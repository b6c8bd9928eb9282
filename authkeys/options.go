package authkeys

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Options are the options of a line as they are in force after all of them were
// read, left to right (sshd(8), AUTHORIZED_KEYS FILE FORMAT). The zero value is
// not what a line without options grants: that has the five flags below set.
type Options struct {
	// What the connection may use. All true without options, all false after
	// "restrict"; a later flag overrides an earlier one.
	PortForwarding  bool
	AgentForwarding bool
	X11Forwarding   bool
	PTY             bool
	UserRC          bool

	Restricted      bool // "restrict" is among the options
	CertAuthority   bool // the key is an authority's: it never matches as a plain key
	NoTouchRequired bool // a security key need not prove that it was touched
	VerifyRequired  bool // a security key must prove that it verified its user

	Command    *string // the command to run in place of the client's; may be empty; nil: the client's
	From       *string // patterns of clients as written, comma-separated; nil: any client
	Principals *string // names a certificate must hold one of, comma-separated; nil: not given

	Environment  []string  // NAME=value, in order; the first setting of a name only
	ExpiryTime   time.Time // last second at which the key is taken; zero: no end
	PermitOpen   []HostPort
	PermitListen []HostPort
	Tunnel       *int // forced tun(4) device, or TunnelAny; nil: not given
}

// TunnelAny is the value of Options.Tunnel for tunnel="any".
const TunnelAny = 0x7fffffff

func defaultOptions() Options {
	return Options{PortForwarding: true, AgentForwarding: true, X11Forwarding: true, PTY: true, UserRC: true}
}

// parseOptions reads the comma-separated options of a line. One that sshd does
// not know or cannot read spoils the line; empty ones are passed over.
func parseOptions(text string) (Options, error) {
	o := defaultOptions()
	for text != "" {
		rest, err := o.parseOption(text)
		if err != nil {
			return Options{}, err
		}
		switch {
		case rest == "":
			return o, nil
		case rest[0] != ',':
			return Options{}, unknownOption(text)
		}
		text = rest[1:]
	}
	return o, nil
}

// parseOption takes one option from the front of text. Where it knows none it
// returns text as it was, which is sound only before a comma.
func (o *Options) parseOption(text string) (rest string, err error) {
	word := firstWord(text)
	name, rest := asciiLower(word), text[len(word):]
	if o.setFlag(name) {
		return rest, nil
	}
	set := o.setter(name)
	if set == nil || !strings.HasPrefix(rest, "=") {
		return text, nil
	}
	value, rest, err := cutQuoted(rest[1:])
	if err == nil {
		err = set(value)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return rest, nil
}

// firstWord returns what comes before a comma, an equals sign or a quote.
func firstWord(text string) string {
	if end := strings.IndexAny(text, `,="`); end >= 0 {
		return text[:end]
	}
	return text
}

// setFlag takes the name of an option that has no value, or its no- form.
func (o *Options) setFlag(name string) (known bool) {
	switch name {
	case "restrict":
		o.restrict()
		return true
	case "cert-authority":
		o.CertAuthority = true
		return true
	}
	name, negated := strings.CutPrefix(name, "no-")
	return o.switchFlag(name, !negated)
}

func (o *Options) restrict() {
	o.Restricted = true
	o.PortForwarding, o.AgentForwarding, o.X11Forwarding = false, false, false
	o.PTY, o.UserRC = false, false
}

func (o *Options) switchFlag(name string, on bool) (known bool) {
	switch name {
	case "port-forwarding":
		o.PortForwarding = on
	case "agent-forwarding":
		o.AgentForwarding = on
	case "x11-forwarding":
		o.X11Forwarding = on
	case "pty":
		o.PTY = on
	case "user-rc":
		o.UserRC = on
	case "touch-required":
		o.NoTouchRequired = !on
	case "verify-required":
		o.VerifyRequired = on
	default:
		return false
	}
	return true
}

func (o *Options) setter(name string) func(value string) error {
	switch name {
	case "command":
		return once(&o.Command)
	case "from":
		return once(&o.From)
	case "principals":
		return once(&o.Principals)
	case "environment":
		return o.addEnvironment
	case "expiry-time":
		return o.addExpiry
	case "permitopen":
		return func(value string) error { return addHostPort(&o.PermitOpen, value) }
	case "permitlisten":
		return o.addListen
	case "tunnel":
		return o.setTunnel
	}
	return nil
}

func once(target **string) func(string) error {
	return func(value string) error {
		if *target != nil {
			return errors.New("given twice")
		}
		*target = &value
		return nil
	}
}

var (
	errNoQuote  = errors.New("the value is not in double quotes")
	errOpenEnd  = errors.New("the closing quote is missing")
	quoteEscape = strings.NewReplacer(`\"`, `"`)
)

// cutQuoted takes a value in double quotes from the front of text. Only \" is
// an escape inside; every other backslash stands for itself.
func cutQuoted(text string) (value, rest string, err error) {
	if !strings.HasPrefix(text, `"`) {
		return "", "", errNoQuote
	}
	for i := 1; i < len(text); i++ {
		switch {
		case strings.HasPrefix(text[i:], `\"`):
			i++
		case text[i] == '"':
			return quoteEscape.Replace(text[1:i]), text[i+1:], nil
		}
	}
	return "", "", errOpenEnd
}

// unknownOption names what stands where an option should end or begin. The text
// is cut: it may be anything, such as a key whose type is missing.
func unknownOption(text string) error {
	word := firstWord(text)
	if len(word) > 32 {
		word = word[:32] + "…"
	}
	return fmt.Errorf("no such option or wrong form: %q", word)
}

// asciiLower lowers the letters of ASCII alone, as sshd does: Unicode has other
// letters that become these, and some that change their length.
func asciiLower(s string) string {
	lower := []byte(s)
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + ('a' - 'A')
		}
	}
	return string(lower)
}

// OptionsText returns the options of a Key line as they are written there; "" where it has none.
func (l Line) OptionsText() string {
	text := strings.TrimLeft(lineText(l.Raw), blanks)
	if _, err := parseKey(text); err == nil || l.Kind != Key {
		return ""
	}
	options, _, _ := cutOptions(text)
	return options
}
