package authkeys

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// A verdict is what a list of patterns says about a client.
type verdict int

const (
	unmatched verdict = iota
	accepted
	refused // by a pattern with a leading !
)

// matchAddress goes through a comma-separated list of addresses, CIDR networks
// and wildcards (PATTERNS in ssh_config(5)). A negated match ends it at once; a
// broken element before that spoils the whole list.
func matchAddress(list string, addr netip.Addr) (verdict, error) {
	result := unmatched
	for pattern := range strings.SplitSeq(list, ",") {
		pattern, negated := strings.CutPrefix(pattern, "!")
		if pattern == "" {
			return unmatched, ErrBadFrom
		}
		network, err := ParseNetwork(pattern)
		if errors.Is(err, ErrNetworkBits) {
			return unmatched, ErrBadFrom
		}
		if err == nil && !network.Contains(addr) || err != nil && !matchWildcard(pattern, addr.String()) {
			continue
		}
		if negated {
			return refused, nil
		}
		result = accepted
	}
	return result, nil
}

// maxPattern is the longest element of a list that sshd looks at, plus one.
const maxPattern = 1023

// matchList goes through a comma-separated list of wildcards for a host name in
// lower case. An element that is too long ends the list.
func matchList(list, host string) verdict {
	result := unmatched
	for pattern := range strings.SplitSeq(asciiLower(list), ",") {
		pattern, negated := strings.CutPrefix(pattern, "!")
		if len(pattern) >= maxPattern {
			return unmatched
		}
		if !matchWildcard(pattern, host) {
			continue
		}
		if negated {
			return refused
		}
		result = accepted
	}
	return result
}

// matchWildcard matches all of s: * stands for any run, ? for one character. It
// goes back to the last star only, so its time is bounded by the product of the
// lengths.
func matchWildcard(pattern, s string) bool {
	p, i := 0, 0
	star, resume := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, resume = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			resume++
			p, i = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

var (
	errNoAddress = errors.New("no address")

	// ErrNetworkBits means a network with bits set beyond its length, or a length that its family does not have.
	ErrNetworkBits = errors.New("the network's length does not fit its address")
)

// maxNetwork is the longest text that sshd takes for a network.
const maxNetwork = 63

// ParseNetwork reads ADDRESS or ADDRESS/BITS as sshd does in from=, in Match Address and in AllowUsers. An address is whatever
// getaddrinfo(3) takes with AI_NUMERICHOST, the short and the octal forms of inet_aton(3) too: "0/0" is all of IPv4. The
// error is [ErrNetworkBits] where sshd refuses the whole list; any other means that sshd takes s for a pattern.
func ParseNetwork(s string) (netip.Prefix, error) {
	text, length, hasLength := strings.Cut(s, "/")
	bits := -1
	if hasLength {
		n, err := strconv.ParseUint(length, 10, 64)
		if err != nil || n > 128 {
			return netip.Prefix{}, errNoAddress
		}
		bits = int(n)
	}
	addr, err := parseAddress(text)
	if err != nil || len(s) > maxNetwork {
		return netip.Prefix{}, errNoAddress
	}
	if bits < 0 {
		bits = addr.BitLen()
	}
	network := netip.PrefixFrom(addr, bits)
	if !network.IsValid() || network.Masked() != network {
		return netip.Prefix{}, ErrNetworkBits
	}
	return network, nil
}

// parseAddress reads an address as getaddrinfo(3) does with AI_NUMERICHOST,
// which takes the short IPv4 forms of inet_aton(3) too: "0/0" is any address.
func parseAddress(s string) (netip.Addr, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.WithZone(""), nil
	}
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, errNoAddress
	}
	var sum uint64
	for i, part := range parts {
		// The last part fills all the bytes that are left.
		room := uint64(1) << 8
		if i == len(parts)-1 {
			room = 1 << (8 * (4 - i))
		}
		n, err := parseCNumber(part)
		if err != nil || n >= room {
			return netip.Addr{}, errNoAddress
		}
		sum = sum*room + n
	}
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}), nil
}

// parseCNumber reads a number as C writes it: decimal, 0 octal, 0x hexadecimal.
func parseCNumber(s string) (uint64, error) {
	switch {
	case len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X"):
		return strconv.ParseUint(s[2:], 16, 64)
	case len(s) > 1 && s[0] == '0':
		return strconv.ParseUint(s[1:], 8, 64)
	}
	return strconv.ParseUint(s, 10, 64)
}
