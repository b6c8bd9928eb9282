package sshd

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/latchkey-ssh/latchkey/authkeys"
)

// MatchBlock is the Match line that a directive stands under.
type MatchBlock struct {
	File     string      // path as sshd names it, without the instance root
	Line     int         // from 1
	Criteria []Criterion // all of them must hold
	Within   *MatchBlock // the block that the Include of this file stands in; it must hold too
}

// Criterion is one condition of a Match line, such as "User root".
type Criterion struct {
	Name    string // lower case
	Pattern string // "" for All and Invalid-User, which have none
}

// String is the Match line in one spelling, for messages.
func (m *MatchBlock) String() string {
	words := []string{"Match"}
	for _, c := range m.Criteria {
		words = append(words, c.Name)
		if c.Pattern != "" {
			words = append(words, c.Pattern)
		}
	}
	return strings.Join(words, " ")
}

// Position is "file:line" of the Match line.
func (m *MatchBlock) Position() string { return fmt.Sprintf("%s:%d", m.File, m.Line) }

// parseMatch reads a Match line. The patterns are checked when the block is asked whether it matches.
func parseMatch(d Directive, rest string, within *MatchBlock) (*MatchBlock, error) {
	block := &MatchBlock{File: d.File, Line: d.Line, Within: within}
	for {
		name, after, _ := nextWord(rest)
		if name == "" || name[0] == '#' {
			break
		}
		c := Criterion{Name: strings.ToLower(name)}
		rest = after
		if !c.alone() {
			if c.Pattern, rest, _ = nextWord(rest); c.Pattern == "" || c.Pattern[0] == '#' {
				return nil, fmt.Errorf("no pattern after Match %s", name)
			}
		}
		block.Criteria = append(block.Criteria, c)
	}
	return block, block.check()
}

func (m *MatchBlock) check() error {
	if len(m.Criteria) == 0 {
		return errors.New("no criteria after Match")
	}
	for _, c := range m.Criteria {
		if c.Name == "all" && len(m.Criteria) > 1 {
			return errors.New("all together with other criteria after Match")
		}
	}
	return nil
}

// alone tells whether the criterion has no pattern.
func (c Criterion) alone() bool { return c.Name == "all" || c.Name == "invalid-user" }

// matches tells whether the block is in force for a connection.
func (m *MatchBlock) matches(conn Connection) (bool, error) {
	all := true
	for block := m; block != nil; block = block.Within {
		for _, c := range block.Criteria {
			ok, err := c.matches(conn)
			if err != nil {
				return false, fmt.Errorf("%s: match %s: %w", block.Position(), c.Name, err)
			}
			all = all && ok
		}
	}
	return all, nil
}

// matches tells whether one criterion holds. One about a part of the connection that is not known does not. A
// Connection is one of a user who exists, so that Invalid-User never does.
func (c Criterion) matches(conn Connection) (bool, error) {
	switch c.Name {
	case "all":
		return true, nil
	case "invalid-user":
		return false, nil
	case "user":
		return conn.User != "" && MatchesList(conn.User, c.Pattern), nil
	case "group":
		return matchesGroups(conn.Groups, c.Pattern), nil
	case "host":
		return conn.Host != "" && MatchesList(strings.ToLower(conn.Host), strings.ToLower(c.Pattern)), nil
	case "rdomain":
		return conn.RDomain != "" && MatchesList(conn.RDomain, c.Pattern), nil
	case "address":
		return MatchesAddress(conn.Addr, c.Pattern)
	case "localaddress":
		return MatchesAddress(conn.LAddr, c.Pattern)
	case "localport":
		return matchesPort(conn.LPort, c.Pattern)
	}
	return false, errors.New("criterion not known")
}

// matchesGroups: one group must match, and none a negated pattern.
func matchesGroups(groups []string, list string) bool {
	found := false
	for _, group := range groups {
		switch askList(group, list) {
		case listDenied:
			return false
		case listMatched:
			found = true
		}
	}
	return found
}

func matchesPort(port int, want string) (bool, error) {
	n, err := strconv.ParseUint(want, 10, 16)
	if err != nil || n == 0 {
		return false, fmt.Errorf("port %q is not a number from 1 to 65535", want)
	}
	return int(n) == port, nil
}

type listAnswer int

const (
	listUnmatched listAnswer = iota
	listMatched
	listDenied // by a pattern with "!"
)

// maxPattern is the length from which on sshd lets a pattern, and the list it is in, match nothing.
const maxPattern = 1023

// MatchesList tells whether s matches a comma-separated list of patterns as sshd reads them (PATTERNS in
// ssh_config(5)): '*' and '?' are wildcards, '!' negates, and a list of negations alone matches nothing.
func MatchesList(s, list string) bool { return askList(s, list) == listMatched }

func askList(s, list string) listAnswer {
	result := listUnmatched
	list = strings.TrimSuffix(list, ",")
	for pattern := range strings.SplitSeq(list, ",") {
		pattern, negated := strings.CutPrefix(pattern, "!")
		if len(pattern) >= maxPattern {
			return listUnmatched
		}
		if !MatchesPattern(s, pattern) {
			continue
		}
		if negated {
			return listDenied
		}
		result = listMatched
	}
	return result
}

// MatchesPattern compares with one pattern, in which a comma and a '!' are what they look like: an entry of AllowUsers.
// It goes back to the last '*' only, so that no pattern takes exponential time.
func MatchesPattern(s, pattern string) bool {
	i, j, star, retry := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case j < len(pattern) && pattern[j] == '*':
			star, retry = j, i
			j++
		case j < len(pattern) && (pattern[j] == '?' || pattern[j] == s[i]):
			i, j = i+1, j+1
		case star >= 0:
			retry++
			i, j = retry, star+1
		default:
			return false
		}
	}
	return strings.Trim(pattern[j:], "*") == ""
}

// MatchesAddress compares an address with a comma-separated list of addresses, networks in CIDR notation and
// patterns, '!' negating. An entry that is empty, or a network with bits of a host in it, is an
// error: it makes sshd refuse the configuration.
func MatchesAddress(address, list string) (bool, error) {
	addr, err := netip.ParseAddr(address)
	known, found, out := err == nil, false, false
	for entry := range strings.SplitSeq(list, ",") {
		entry, negated := strings.CutPrefix(entry, "!")
		if entry == "" {
			return false, fmt.Errorf("empty address in %q", list)
		}
		network, err := authkeys.ParseNetwork(entry)
		if errors.Is(err, authkeys.ErrNetworkBits) {
			return false, fmt.Errorf("network %q: %w", entry, err)
		}
		hit := err == nil && network.Contains(addr) || err != nil && MatchesPattern(address, entry)
		if hit && !out {
			found, out = !negated, negated
		}
	}
	return known && found, nil
}
