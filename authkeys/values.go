package authkeys

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"time"
)

// sshd's limits for options that may be repeated: one more than its constants
// say, as it checks before it adds.
const (
	maxEnvironment = 1025
	maxHostPorts   = 4097
)

// addEnvironment takes NAME=value. The first setting of a name wins. Whether
// any of it counts is for the server's PermitUserEnvironment to say.
func (o *Options) addEnvironment(value string) error {
	if len(o.Environment) >= maxEnvironment {
		return errors.New("too many")
	}
	name, _, found := strings.Cut(value, "=")
	if !found || !isEnvironmentName(name) {
		return errors.New("expected NAME=value, the name of letters, digits and underscores")
	}
	for _, setting := range o.Environment {
		if strings.HasPrefix(setting, name+"=") {
			return nil
		}
	}
	o.Environment = append(o.Environment, value)
	return nil
}

func isEnvironmentName(name string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
	return name != "" && strings.Trim(name, allowed) == ""
}

// addExpiry takes a time; of several the earliest counts.
func (o *Options) addExpiry(value string) error {
	t, err := parseTime(value, time.Local)
	if err != nil {
		return err
	}
	if o.ExpiryTime.IsZero() || t.Before(o.ExpiryTime) {
		o.ExpiryTime = t
	}
	return nil
}

var errTime = errors.New("expected YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, with Z or UTC for other than local time")

// parseTime reads YYYYMMDD[HHMM[SS]], in zone unless a Z or UTC follows. A day
// past the month's end is one of the next month's, as mktime(3) has it. The
// epoch and what was before it are refused: they mean "no end" inside sshd.
func parseTime(s string, zone *time.Location) (time.Time, error) {
	switch lower := asciiLower(s); {
	case strings.HasSuffix(lower, "z"):
		s, zone = s[:len(s)-1], time.UTC
	case strings.HasSuffix(lower, "utc"):
		s, zone = s[:len(s)-3], time.UTC
	}
	if len(s) != 8 && len(s) != 12 && len(s) != 14 {
		return time.Time{}, errTime
	}
	limits := [...]struct{ digits, low, high int }{{4, 0, 9999}, {2, 1, 12}, {2, 1, 31}, {2, 0, 23}, {2, 0, 59}, {2, 0, 61}}
	var part [len(limits)]int
	for i, limit := range limits {
		if s == "" {
			break
		}
		n, err := strconv.ParseUint(strings.TrimLeft(s[:limit.digits], " "), 10, 16)
		if err != nil || int(n) < limit.low || int(n) > limit.high {
			return time.Time{}, errTime
		}
		part[i], s = int(n), s[limit.digits:]
	}
	t := time.Date(part[0], time.Month(part[1]), part[2], part[3], part[4], part[5], 0, zone)
	if t.Unix() <= 0 {
		return time.Time{}, errTime
	}
	return t, nil
}

// A HostPort is an end of a forwarding that a line allows.
type HostPort struct {
	Host string // as written, brackets and all; "*" stands for any
	Port int    // 1 to 65535, or 0 for any
}

// Matches reports whether a forwarding to or from this host and port is
// allowed. Hosts are compared as text, not resolved.
func (p HostPort) Matches(host string, port int) bool {
	own := strings.TrimSuffix(strings.TrimPrefix(p.Host, "["), "]")
	return (own == "*" || own == host) && (p.Port == 0 || p.Port == port)
}

// addListen takes host:port, or a bare port for any host.
func (o *Options) addListen(value string) error {
	if !strings.Contains(value, ":") {
		value = "*:" + value
	}
	return addHostPort(&o.PermitListen, value)
}

// maxHost is NI_MAXHOST of getnameinfo(3), its final NUL included.
const maxHost = 1025

func addHostPort(list *[]HostPort, value string) error {
	if len(*list) >= maxHostPorts {
		return errors.New("too many")
	}
	host, port, ok := cutHost(value)
	if !ok || len(host) >= maxHost {
		return errors.New("expected host:port")
	}
	number, ok := parsePort(port)
	if !ok {
		return errors.New("expected a port from 1 to 65535, or *, after the host")
	}
	*list = append(*list, HostPort{Host: host, Port: number})
	return nil
}

// cutHost splits host:port, host/port or [address]:port.
func cutHost(s string) (host, port string, ok bool) {
	end := strings.IndexAny(s, ":/")
	if strings.HasPrefix(s, "[") {
		end = strings.IndexByte(s, ']') + 1
		if end == 0 || end == len(s) || s[end] != ':' && s[end] != '/' {
			return "", "", false
		}
	}
	if end < 0 {
		return "", "", false
	}
	return s[:end], s[end+1:], true
}

// parsePort reads a number, a service's name (services(5)), or * as 0.
func parsePort(s string) (port int, ok bool) {
	if s == "*" {
		return 0, true
	}
	if number, err := parseNumber(s, 65535); err == nil {
		return number, number > 0
	}
	if s == "" {
		return 0, false
	}
	port, err := net.LookupPort("tcp", s)
	return port, err == nil && port > 0
}

// setTunnel takes a device number or "any".
func (o *Options) setTunnel(value string) error {
	device := TunnelAny
	if asciiLower(value) != "any" {
		var err error
		if device, err = parseNumber(value, TunnelAny-2); err != nil {
			return errors.New("expected a device number or any")
		}
	}
	o.Tunnel = &device
	return nil
}

// parseNumber reads a decimal number from 0 to limit as strtonum(3) does: white
// space and a sign may lead it.
func parseNumber(s string, limit int64) (int, error) {
	n, err := strconv.ParseInt(strings.TrimLeft(s, whiteSpace), 10, 64)
	if err != nil {
		return 0, err
	}
	if n < 0 || n > limit {
		return 0, strconv.ErrRange
	}
	return int(n), nil
}
