package authkeys

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// permissions are the extensions of a certificate that permit what "restrict" forbids,
// and the option that permits it again.
var permissions = map[string]string{
	"permit-X11-forwarding":   "X11-forwarding",
	"permit-agent-forwarding": "agent-forwarding",
	"permit-port-forwarding":  "port-forwarding",
	"permit-pty":              "pty",
	"permit-user-rc":          "user-rc",
}

// bounds are the options that grant what the certificate grants and no more. A critical
// option that is not known, or whose value no option can take exactly, is an
// ErrCertificateRestriction. ValidAfter has no option.
func (c *Certificate) bounds(zone *time.Location) (string, error) {
	o := Options{Restricted: true}
	for _, name := range slices.Sorted(maps.Keys(c.Extensions)) {
		if err := o.permit(name, c.Extensions[name]); err != nil {
			return "", err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Critical)) {
		if err := o.confine(name, c.Critical[name]); err != nil {
			return "", err
		}
	}
	expiry := ""
	if !c.ValidBefore.IsZero() {
		expiry = expiryText(c.ValidBefore, zone)
	}
	return o.bounds(expiry), nil
}

// permit takes an extension. One that is not known grants nothing here.
func (o *Options) permit(name string, value []byte) error {
	option, permits := permissions[name]
	if !permits && name != "no-touch-required" {
		return nil
	}
	if len(value) > 0 {
		return unfit(name, "a value where it has none")
	}
	if permits {
		o.setFlag(asciiLower(option))
	} else {
		o.NoTouchRequired = true
	}
	return nil
}

// confine takes a critical option.
func (o *Options) confine(name string, value []byte) error {
	if name == "verify-required" {
		o.VerifyRequired = true
		if len(value) > 0 {
			return unfit(name, "a value where it has none")
		}
		return nil
	}
	inner, rest, err := cutString(value)
	text := string(inner)
	known := name == "force-command" || name == "source-address"
	switch {
	case !known:
		return unfit(name, "it is not known")
	case err != nil || len(rest) > 0:
		return unfit(name, "its value is malformed")
	case name == "force-command" && !isQuotable(text):
		return unfit(name, "its command cannot stand in authorized_keys")
	case name == "source-address" && !isAddressList(text):
		return unfit(name, "it is no list of addresses and networks")
	case name == "force-command":
		o.Command = &text
	default:
		o.From = &text
	}
	return nil
}

func unfit(name, why string) error {
	return fmt.Errorf("%w: %s: %s", ErrCertificateRestriction, printables([]string{name})[0], why)
}

// isQuotable tells whether a text in double quotes comes out of sshd as it went in: a
// backslash at its end would take the closing quote with it.
func isQuotable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, isControl) && !strings.HasSuffix(text, `\`)
}

// isAddressList tells whether the text is what a certificate's source-address may be,
// addresses and networks. The option from takes more, wildcards and host names, which
// would let in clients that the certificate does not.
func isAddressList(text string) bool {
	for element := range strings.SplitSeq(text, ",") {
		if strings.Trim(element, "0123456789abcdefABCDEF.:/") != "" {
			return false
		}
		if _, err := ParseNetwork(element); err != nil {
			return false
		}
	}
	return true
}

// expiryText is the last second before end as YYYYMMDDHHMMSS in local time, the one form
// that every sshd with expiry-time reads: "Z" for UTC came with OpenSSH 9.1. sshd reads
// local time as standard time, also in summer. The smallest offset that the zone has
// around that time gives a text that stands for no later second in any reading.
func expiryText(end time.Time, zone *time.Location) string {
	last := end.Add(-time.Second)
	_, least := last.In(zone).Zone()
	for month := -6; month <= 6; month++ {
		_, offset := last.AddDate(0, month, 0).In(zone).Zone()
		least = min(least, offset)
	}
	return last.UTC().Add(time.Duration(least) * time.Second).Format(expiryForm)
}

const expiryForm = "20060102150405"

// bounds writes options in the one form and order that latchkey gives them.
func (o *Options) bounds(expiry string) string {
	text := o.permits()
	if expiry != "" {
		text += `,expiry-time="` + expiry + `"`
	}
	if o.From != nil {
		text += `,from="` + *o.From + `"`
	}
	if o.Command != nil {
		text += `,command="` + strings.ReplaceAll(*o.Command, `"`, `\"`) + `"`
	}
	return text
}

// permits is "restrict", and what is permitted in spite of it.
func (o *Options) permits() string {
	text := "restrict"
	for _, flag := range []struct {
		name string
		on   bool
	}{
		{"X11-forwarding", o.X11Forwarding},
		{"agent-forwarding", o.AgentForwarding},
		{"port-forwarding", o.PortForwarding},
		{"pty", o.PTY},
		{"user-rc", o.UserRC},
		{"no-touch-required", o.NoTouchRequired},
		{"verify-required", o.VerifyRequired},
	} {
		if flag.on {
			text += "," + flag.name
		}
	}
	return text
}

// isBounds tells whether options are of the form that latchkey writes, and so cannot
// grant anything but what a certificate can.
func isBounds(text string) bool {
	o, err := parseOptions(text)
	if err != nil || o.From != nil && !isAddressList(*o.From) || o.Command != nil && !isQuotable(*o.Command) {
		return false
	}
	expiry, _ := strings.CutPrefix(text, o.permits()+`,expiry-time="`)
	if o.ExpiryTime.IsZero() {
		expiry = ""
	}
	return text == o.bounds(expiry[:min(len(expiry), len(expiryForm))])
}

// A managedKey is a line of the managed block.
type managedKey struct {
	*Entry
	bounds string // options, "" for a plain key
}

// ParseManaged reads a line as the managed block may hold it: a plain key as ParseKey
// reads it, or one with the options that (*Certificate).AuthorizedKey writes, in exactly
// that form.
func ParseManaged(line string) (*Entry, error) {
	key, err := parseManaged(line)
	return key.Entry, err
}

func parseManaged(line string) (managedKey, error) {
	entry, err := ParseKey(line)
	if err == nil || !strings.HasPrefix(line, "restrict") {
		return managedKey{Entry: entry}, err
	}
	options, key, ok := cutOptions(line)
	if !ok || !isBounds(options) {
		return managedKey{}, errNotOneKey
	}
	if entry, err = ParseKey(key); err != nil {
		return managedKey{}, err
	}
	entry.Options, err = parseOptions(options)
	return managedKey{entry, options}, err
}

func (k managedKey) line() string {
	if k.bounds == "" {
		return k.bareLine()
	}
	return k.bounds + " " + k.bareLine()
}

// isOurs tells whether the line is of a form that latchkey writes. Any other is not ours:
// beside a damaged block it is a user's own line.
func (l Line) isOurs() bool {
	if l.Kind != Key || l.isBare() {
		return l.Kind == Key
	}
	_, err := parseManaged(lineText(l.Raw))
	return err == nil
}

// ManagedLines returns the lines of the managed block as WithManaged takes them, in
// order and without comments, which are anybody's by now. A line that latchkey would not
// write is left out.
func (f *File) ManagedLines() []string {
	var lines []string
	for i, owned := range f.owned() {
		if !owned || f.Lines[i].Kind != Key {
			continue
		}
		key, err := parseManaged(lineText(f.Lines[i].Raw))
		if err != nil {
			continue
		}
		key.Comment = ""
		if line := strings.TrimSuffix(key.line(), "\n"); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}
