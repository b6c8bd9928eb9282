package ecsapi

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// arguments are a request's parameters as an action reads them. The first that is wrong is kept,
// and the others are read on: so an action looks at it once, at the end.
type arguments struct {
	parameters map[string]string
	host       string // under which the API was asked
	refused    *Error // the first refusal
}

func (a *arguments) refuse(e *Error) {
	if a.refused == nil {
		a.refused = e
	}
}

// text is a parameter that may be missing, which is the same as empty.
func (a *arguments) text(name string) string { return a.parameters[name] }

// required is a parameter that must be there.
func (a *arguments) required(name string) string {
	if a.parameters[name] == "" {
		a.refuse(missingParameter(name))
	}
	return a.parameters[name]
}

// oneOf is a parameter that has to be one of those values; the first stands for a missing one.
func (a *arguments) oneOf(name string, values ...string) string {
	value := a.text(name)
	switch {
	case value == "":
		return values[0]
	case !slices.Contains(values, value):
		a.refuse(invalidParameter(name))
	}
	return value
}

// flag is "true" or "false" (also when missing), in any case: Python's clients write "True".
func (a *arguments) flag(name string) bool {
	switch strings.ToLower(a.text(name)) {
	case "true":
		return true
	case "", "false":
	default:
		a.refuse(invalidParameter(name))
	}
	return false
}

// number is a whole number of 1 to most.
func (a *arguments) number(name string, otherwise, most int) int {
	text := a.text(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n < 1 || int(n) > most {
		a.refuse(invalidParameter(name))
	}
	return int(n)
}

// array is a JSON array of 1 to most texts, none empty. Both refusals are the action's own.
func (a *arguments) array(name string, most int, malformed, tooMany func() *Error) []string {
	var texts []string
	err := json.Unmarshal([]byte(a.required(name)), &texts)
	switch {
	case err != nil || len(texts) == 0 || slices.Contains(texts, ""):
		a.refuse(malformed())
	case len(texts) > most:
		a.refuse(tooMany())
	}
	return texts
}

// repeated are the values of NAME.1 to NAME.most, of which some may be missing.
func (a *arguments) repeated(name string, most int) []string {
	var values []string
	for _, n := range a.indices(name, "", most, invalidParameter(name)) {
		if value := a.text(name + "." + strconv.Itoa(n)); value != "" {
			values = append(values, value)
		}
	}
	return values
}

// indices are the numbers N of parameters NAME.N and what is behind it, in order. One beyond most is
// refused.
func (a *arguments) indices(name, behind string, most int, beyond *Error) []int {
	var found []int
	for parameter := range a.parameters {
		text, ok := strings.CutPrefix(parameter, name+".")
		if ok {
			text, ok = strings.CutSuffix(text, behind)
		}
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil || n < 1 || int(n) > most || strconv.Itoa(int(n)) != text {
			a.refuse(beyond)
			continue
		}
		found = append(found, int(n))
	}
	slices.Sort(found)
	return found
}
