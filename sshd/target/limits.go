package target

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// limits are what a configuration bounds before it is known who is there.
type limits struct {
	grace     time.Duration // LoginGraceTime
	startups  maxStartups
	perSource int // PerSourceMaxStartups; -1 for none
	block     netBlock
}

// standardGrace stands in for sshd's 0, for ever, which is not offered.
const standardGrace = 2 * time.Minute

// parseLimits reads them from keywords' values, of which [Config] has one for each.
func parseLimits(values map[string][]string) (limits, error) {
	var l limits
	var errs [4]error
	l.grace, errs[0] = parseTime(values["logingracetime"][0])
	l.startups, errs[1] = parseMaxStartups(values["maxstartups"][0])
	l.perSource, errs[2] = parsePerSource(values["persourcemaxstartups"][0])
	l.block, errs[3] = parseNetBlock(values["persourcenetblocksize"][0])
	if l.grace == 0 {
		l.grace = standardGrace
	}
	return l, errors.Join(errs[:]...)
}

// maxStartups is MaxStartups: from begin connections on their way to a login, a new one is dropped with a likelihood of
// rate percent, which rises to certainty at full (sshd_config(5)).
type maxStartups struct{ begin, rate, full int }

// dropsPercent is how likely a new connection is dropped where there are n.
func (m maxStartups) dropsPercent(n int) int {
	switch {
	case n < m.begin:
		return 0
	case n >= m.full:
		return 100
	}
	return m.rate + (100-m.rate)*(n-m.begin)/(m.full-m.begin)
}

func parseMaxStartups(text string) (maxStartups, error) {
	parts := strings.Split(text, ":")
	var n [3]int
	for i, part := range parts {
		value, err := strconv.Atoi(part)
		if err != nil || i > 2 || value <= 0 {
			return maxStartups{}, fmt.Errorf("MaxStartups %s: expected a number or start:rate:full", text)
		}
		n[i] = value
	}
	m := maxStartups{begin: n[0], rate: n[1], full: n[2]}
	if len(parts) == 1 {
		m = maxStartups{begin: n[0], rate: 100, full: n[0]}
	}
	if m.rate < 1 || m.rate > 100 || m.begin > m.full {
		return maxStartups{}, fmt.Errorf("MaxStartups %s: expected start <= full, and a rate of 1 to 100", text)
	}
	return m, nil
}

func parsePerSource(text string) (int, error) {
	if strings.EqualFold(text, "none") {
		return -1, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("PerSourceMaxStartups %s: expected a number or none", text)
	}
	return int(n), nil
}

// netBlock is PerSourceNetBlockSize: how many bits of an address make a source, for IPv4 and for IPv6.
type netBlock struct{ v4, v6 int }

func parseNetBlock(text string) (netBlock, error) {
	v4, v6, both := strings.Cut(text, ":")
	if !both {
		v6 = "128"
	}
	n4, err4 := strconv.ParseUint(v4, 10, 8)
	n6, err6 := strconv.ParseUint(v6, 10, 8)
	if err4 != nil || err6 != nil || n4 > 32 || n6 > 128 {
		return netBlock{}, fmt.Errorf("PerSourceNetBlockSize %s: expected at most 32:128", text)
	}
	return netBlock{v4: int(n4), v6: int(n6)}, nil
}

// parseTime reads a time as sshd_config(5) has it under TIME FORMATS: "90", "1h30m", "2W".
func parseTime(text string) (time.Duration, error) {
	var total time.Duration
	for rest := text; rest != "" || text == ""; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseUint(rest[:digits], 10, 31)
		unit, known := time.Second, true
		if rest = rest[digits:]; rest != "" {
			unit, known = timeUnits[rest[0]|0x20]
			rest = rest[1:]
		}
		if err != nil || !known || time.Duration(n) > maxTime/unit {
			return 0, fmt.Errorf("%q is not a time such as 90 or 1h30m", text)
		}
		total = min(total+time.Duration(n)*unit, maxTime)
	}
	return total, nil
}

var timeUnits = map[byte]time.Duration{
	's': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour,
}

// maxTime is the longest time that sshd reads: its seconds are an int.
const maxTime = (1<<31 - 1) * time.Second

// checkTimeOrNone takes "none" too.
func checkTimeOrNone(value string) error {
	if value == "none" {
		return nil
	}
	_, err := parseTime(value)
	return err
}

// checkAuthTries refuses 0, with which sshd lets nobody in: not even who needs one attempt.
func checkAuthTries(value string) error {
	if n, err := strconv.Atoi(value); err != nil || n < 1 {
		return fmt.Errorf("MaxAuthTries %s: expected 1 or more", value)
	}
	return nil
}

// duration is a value that is a time; 0 for none.
func (p *policy) duration(keyword string) time.Duration {
	value := p.value(keyword)
	if value == "none" {
		return 0
	}
	d, _ := parseTime(value) // any other was refused when the configuration was read
	return d
}

// count is a value that is a number, 0 too.
func (p *policy) count(keyword string) int {
	n, _ := strconv.Atoi(p.value(keyword)) // any other was refused when the configuration was read
	return n
}

// checked is a check that is the parsing.
func checked[T any](parse func(string) (T, error)) func(string) error {
	return func(value string) error {
		_, err := parse(value)
		return err
	}
}
