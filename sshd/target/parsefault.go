package target

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// String is the fault in the form that [ParseFault] reads.
func (f Fault) String() string {
	switch f.name {
	case faultSlow:
		return fmt.Sprintf("%s:%s:%s", f.name, f.at, f.delay)
	case faultSilent, faultDisconnect:
		return fmt.Sprintf("%s:%s", f.name, f.at)
	case faultDrop:
		return fmt.Sprintf("%s:%d", f.name, f.bytes)
	}
	return f.name
}

// ParseFault reads a fault: slow:MOMENT:TIME, silent:MOMENT, disconnect:MOMENT, drop:BYTES, refuse-signature,
// change-host-key, max-auth-tries or old-algorithms. A MOMENT is version, kex, kex-reply, auth, query, signature, session,
// command or exit; a TIME is as for [time.ParseDuration], such as 200ms.
func ParseFault(text string) (Fault, error) {
	name, rest, more := strings.Cut(text, ":")
	f := Fault{name: name}
	var err error
	switch name {
	case faultSlow:
		at, delay, _ := strings.Cut(rest, ":")
		if f.delay, err = time.ParseDuration(delay); err != nil || f.delay < 0 {
			return Fault{}, fmt.Errorf("fault %s: expected a time such as 200ms after the moment", text)
		}
		f.at, err = parseMoment(at)
	case faultSilent, faultDisconnect:
		f.at, err = parseMoment(rest)
	case faultDrop:
		if f.bytes, err = strconv.ParseInt(rest, 10, 64); err != nil || f.bytes < 0 {
			return Fault{}, fmt.Errorf("fault %s: expected a number of bytes", text)
		}
	case faultRefuseSignature, faultChangeHostKey, faultExhaustTries, faultOldAlgorithms:
		if more {
			return Fault{}, fmt.Errorf("fault %s: nothing may follow %s", text, name)
		}
	default:
		return Fault{}, fmt.Errorf("fault %s: expected one of slow, silent, drop, disconnect, %s, %s, %s, %s",
			text, faultRefuseSignature, faultChangeHostKey, faultExhaustTries, faultOldAlgorithms)
	}
	if err != nil {
		return Fault{}, fmt.Errorf("fault %s: %w", text, err)
	}
	return f, nil
}

func parseMoment(text string) (Moment, error) {
	if m := Moment(text); slices.Contains(moments, m) {
		return m, nil
	}
	return "", fmt.Errorf("%q is not a moment: %s", text, momentNames())
}

func momentNames() string {
	var names []string
	for _, m := range moments {
		names = append(names, string(m))
	}
	return strings.Join(names, ", ")
}

// checkFaults finds a fault that is none.
func checkFaults(faults []Fault) error {
	for _, f := range faults {
		if err := f.check(); err != nil {
			return err
		}
	}
	return nil
}

func (f Fault) check() error {
	switch f.name {
	case "":
		return errors.New("no fault: Slow, Silent and the like make one")
	case faultSlow, faultSilent, faultDisconnect:
		if _, err := parseMoment(string(f.at)); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
	}
	if f.delay < 0 {
		return fmt.Errorf("%s: the time is negative", f)
	}
	return nil
}
