package sshd

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// includePattern makes the argument of an Include line absolute.
func includePattern(arg string) (string, error) {
	switch {
	case arg == "":
		return "", errors.New("empty file name after Include")
	case arg[0] == '~':
		return "", fmt.Errorf("include %s: a path from a home folder is not supported", arg)
	case strings.Contains(arg, "[["):
		return "", fmt.Errorf("include %s: character classes are not supported", arg)
	case arg[0] != '/':
		arg = includeDirectory + "/" + arg
	}
	return path.Clean(arg), nil
}

// expandGlob returns the files that match an absolute pattern, sorted by their bytes as glob(3) does in sshd.
func expandGlob(tree fs.FS, pattern string) ([]string, error) {
	found, err := fs.Glob(tree, goGlob(pattern)[1:])
	if err != nil {
		return nil, fmt.Errorf("include %s: %w", pattern, err)
	}
	var names []string
	for _, name := range found {
		if !hidesName(pattern, "/"+name) {
			names = append(names, "/"+name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// globMatches tells whether Include pattern would take in the file name.
func globMatches(pattern, name string) bool {
	ok, err := path.Match(goGlob(pattern), name)
	return err == nil && ok && !hidesName(pattern, name)
}

// hidesName: a leading dot in a name is matched only by a dot, never by a wildcard (glob(7)).
func hidesName(pattern, name string) bool {
	patterns, names := strings.Split(pattern, "/"), strings.Split(name, "/")
	if len(patterns) != len(names) {
		return true
	}
	for i, p := range patterns {
		if strings.HasPrefix(names[i], ".") && !strings.HasPrefix(strings.TrimPrefix(p, `\`), ".") {
			return true
		}
	}
	return false
}

// goGlob writes a pattern of glob(7) as one of package path: "[!" becomes "[^", a "]" that comes first in
// brackets is escaped, and so is a "[" that nothing closes.
func goGlob(pattern string) string {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\' && i+1 == len(pattern):
			b.WriteString(`\\`)
		case c == '\\':
			b.WriteString(pattern[i : i+2])
			i++
		case c == '[':
			set, length := goGlobSet(pattern[i:])
			b.WriteString(set)
			i += length - 1
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// goGlobSet translates the bracket expression at the start of s and tells how many bytes of s it is.
func goGlobSet(s string) (set string, length int) {
	body, negated := strings.CutPrefix(s[1:], "!")
	end := -1
	if body != "" {
		end = 1 + strings.IndexByte(body[1:], ']')
	}
	if end <= 0 || strings.Contains(body[:end], "/") {
		return `\[`, 1
	}
	set, length = body[:end], len("[]")+end
	if set[0] == ']' || set[0] == '^' {
		set = `\` + set
	}
	if negated {
		return "[^" + set + "]", length + len("!")
	}
	return "[" + set + "]", length
}
