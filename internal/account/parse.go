package account

import (
	"strconv"
	"strings"
)

// defaultShell stands for an empty shell field: passwd(5).
const defaultShell = "/bin/sh"

// fields splits a line of one of the three files at most n times. Lines that
// are blank, comments, or entries of NIS ("+", "-") are none.
func fields(line string, n int) []string {
	line = strings.TrimLeft(line, " \t\n\v\f\r")
	if line == "" || strings.ContainsRune("#+-", rune(line[0])) {
		return nil
	}
	return strings.SplitN(line, ":", n)
}

// field returns the field at i, which at the end of a line may be missing.
func field(all []string, i int) string {
	if i < len(all) {
		return all[i]
	}
	return ""
}

// findPasswd returns the first sound line of that name, and its password field.
func findPasswd(lines []string, name string) (account Account, password string, found bool) {
	for _, line := range lines {
		f := fields(line, 7)
		if field(f, 0) != name {
			continue
		}
		uid, uidOK := parseID(field(f, 2))
		gid, gidOK := parseID(field(f, 3))
		if !uidOK || !gidOK {
			continue
		}
		account = Account{Name: name, UID: uid, GID: gid, Home: field(f, 5), Shell: field(f, 6)}
		if account.Shell == "" {
			account.Shell = defaultShell
		}
		return account, f[1], true
	}
	return Account{}, "", false
}

type group struct {
	name    string
	id      int
	members []string
}

func parseGroup(line string) (group, bool) {
	f := fields(line, 4)
	id, ok := parseID(field(f, 2))
	if !ok {
		return group{}, false
	}
	g := group{name: f[0], id: id}
	for member := range strings.SplitSeq(field(f, 3), ",") {
		g.members = append(g.members, strings.TrimLeft(member, " \t"))
	}
	return g, true
}

// parseID takes a user or group id. The highest is no id: as -1 it means
// "leave it" to the system calls that change one.
func parseID(text string) (int, bool) {
	id, err := strconv.ParseUint(text, 10, 32)
	return int(id), err == nil && id != 1<<32-1
}

// findShadow returns the first sound line of that name, or nil.
func findShadow(lines []string, name string) *Shadow {
	for _, line := range lines {
		f := fields(line, 9)
		if field(f, 0) != name || len(f) < 2 {
			continue
		}
		shadow := newShadow(f[1])
		ok := parseDays(field(f, 2), &shadow.lastChange) &&
			parseDays(field(f, 4), &shadow.maxAge) &&
			parseDays(field(f, 6), &shadow.inactive) &&
			parseDays(field(f, 7), &shadow.expires)
		if ok {
			return shadow
		}
	}
	return nil
}

// parseDays takes a number of days; an empty field leaves the value at "none".
func parseDays(text string, value *int64) bool {
	if text == "" {
		return true
	}
	days, err := strconv.ParseInt(text, 10, 32)
	*value = days
	return err == nil
}
