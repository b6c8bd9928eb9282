package imds

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Misbehaviour is one way in which the endpoint goes wrong.
type Misbehaviour string

// The misbehaviours. Those of a key concern the answers that hold one.
const (
	None             Misbehaviour = "none"
	Timeout          Misbehaviour = "timeout"           // takes the request and never answers
	Slow             Misbehaviour = "slow"              // answers well, SlowDelay late
	Error500         Misbehaviour = "error-500"         // fails inside
	Busy             Misbehaviour = "busy"              // 429, as under its rate limit
	HalfBody         Misbehaviour = "half-body"         // hangs up in the middle of the body
	NoLength         Misbehaviour = "no-length"         // sends half of the body and no length, as if that were all
	Oversized        Misbehaviour = "oversized"         // a body of OversizedBytes
	HTML             Misbehaviour = "html"              // a captive portal's page, with status 200
	Redirect         Misbehaviour = "redirect"          // a captive portal's redirect, to a page of its own
	StaleToken       Misbehaviour = "stale-token"       // 401 for every token, also a new one
	WrongInstance    Misbehaviour = "wrong-instance"    // names another instance
	SwappedInstance  Misbehaviour = "swapped-instance"  // names another instance every second time
	KeyMissing       Misbehaviour = "key-missing"       // the key is listed but not there
	KeyOptions       Misbehaviour = "key-options"       // options before the key
	KeySecondLine    Misbehaviour = "key-second-line"   // another key on a second line
	KeyOfAnotherType Misbehaviour = "key-of-other-type" // the type stated is not the blob's
)

const (
	SlowDelay      = 250 * time.Millisecond  // of every answer under Slow
	OversizedBytes = 1 << 20                 // of every body under Oversized
	wrongID        = "i-wrong0instance00000" // under WrongInstance and SwappedInstance
)

// meanings say of each misbehaviour what it is, for a person.
var meanings = []struct {
	kind    Misbehaviour
	meaning string
}{
	{None, "does as it should again"},
	{Timeout, "takes the request and never answers"},
	{Slow, "answers well, a quarter of a second late"},
	{Error500, "fails inside: 500"},
	{Busy, "has had too many requests: 429"},
	{HalfBody, "hangs up in the middle of the body"},
	{NoLength, "sends half of the body, and no length, as if that were all"},
	{Oversized, "sends a megabyte"},
	{HTML, "sends a captive portal's page, with 200"},
	{Redirect, "redirects to a page of a captive portal: 302"},
	{StaleToken, "knows no token, not even a new one: 401"},
	{WrongInstance, "names another instance"},
	{SwappedInstance, "names another instance every second time"},
	{KeyMissing, "lists a key that is not there"},
	{KeyOptions, "puts options before the key"},
	{KeySecondLine, "puts another key on a second line"},
	{KeyOfAnotherType, "states a type that is not the key's"},
}

// Misbehaviours returns all there are, None first.
func Misbehaviours() []Misbehaviour {
	kinds := make([]Misbehaviour, len(meanings))
	for i, m := range meanings {
		kinds[i] = m.kind
	}
	return kinds
}

// Meaning says what the endpoint does then, in a few words.
func (m Misbehaviour) Meaning() string {
	for _, known := range meanings {
		if known.kind == m {
			return known.meaning
		}
	}
	return ""
}

// ParseMisbehaviour returns the misbehaviour of that name.
func ParseMisbehaviour(name string) (Misbehaviour, error) {
	if !slices.Contains(Misbehaviours(), Misbehaviour(name)) {
		return None, fmt.Errorf("misbehaviour %q: want one of %q", name, Misbehaviours())
	}
	return Misbehaviour(name), nil
}

// Misbehave makes the endpoint go wrong in that way from the next request on, until the
// next call; None ends it. With parts named, only paths that contain one of them are
// concerned, such as "openssh-key" or "/api/token". A watch goes wrong when it is asked for, or
// when it is to be answered; one that is held meanwhile stays so.
func (e *Endpoint) Misbehave(m Misbehaviour, parts ...string) {
	e.change(func(s *state) { s.fault = fault{kind: m, parts: parts, turn: new(atomic.Int64)} })
}

// Misbehaviour returns how the endpoint goes wrong now.
func (e *Endpoint) Misbehaviour() Misbehaviour {
	if kind := e.state.Load().fault.kind; kind != "" {
		return kind
	}
	return None
}

// fault is a misbehaviour and where it applies.
type fault struct {
	kind  Misbehaviour
	parts []string
	turn  *atomic.Int64 // counts the answers of SwappedInstance
}

func (f fault) on(path string) bool {
	if len(f.parts) == 0 {
		return true
	}
	return slices.ContainsFunc(f.parts, func(part string) bool { return strings.Contains(path, part) })
}

// silences reports whether nothing on this path is answered.
func (f fault) silences(path string) bool { return f.kind == Timeout && f.on(path) }

// spoil answers wrongly and returns true, or leaves the answer to the endpoint.
func (f fault) spoil(w http.ResponseWriter, r *http.Request, i *Instance) bool {
	switch f.kind {
	case Timeout:
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // to return would be to answer 200 with nothing
	case Slow:
		delay(r)
		return false
	case Error500:
		reply(w, http.StatusInternalServerError, "Internal Server Error")
	case Busy:
		reply(w, http.StatusTooManyRequests, "Too Many Requests")
	case HalfBody:
		hangUp(w, valueAt(i, r.URL.Path))
	case NoLength:
		sendUnframed(w, valueAt(i, r.URL.Path))
	case Oversized:
		reply(w, http.StatusOK, strings.Repeat("x", OversizedBytes))
	case HTML:
		sendPage(w)
	case Redirect:
		w.Header().Set("Location", "/login.html")
		reply(w, http.StatusFound, "Found")
	case StaleToken:
		return refuseToken(w, r)
	case WrongInstance, SwappedInstance:
		return f.misname(w, r)
	case KeyMissing, KeyOptions, KeySecondLine, KeyOfAnotherType:
		return f.spoilKey(w, r, i.PublicKey)
	default:
		return false
	}
	return true
}

// delay waits for SlowDelay, or until nobody waits for the answer any more.
func delay(r *http.Request) {
	timer := time.NewTimer(SlowDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

// valueAt is the right answer, which is then cut.
func valueAt(i *Instance, path string) string {
	path, _ = withoutVersion(path)
	value, _ := i.find(path)
	return value
}

// hangUp promises the whole value, sends half and closes the connection.
func hangUp(w http.ResponseWriter, value string) {
	w.Header().Set("Content-Length", strconv.Itoa(len(value)+1))
	_, _ = w.Write([]byte(value[:len(value)/2]))
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// sendPage answers as a captive portal does, whatever was asked for.
func sendPage(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte("<!DOCTYPE html>\n<html><head><title>Welcome</title></head><body>Please log in</body></html>\n"))
}

// sendUnframed answers as HTTP/1.0 may: the end of the body is the end of the connection.
func sendUnframed(w http.ResponseWriter, value string) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer connection.Close()
	_, _ = fmt.Fprintf(connection, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n%s", value[:len(value)/2])
}

func refuseToken(w http.ResponseWriter, r *http.Request) bool {
	if r.Header.Get(tokenHeader) == "" {
		return false
	}
	reply(w, http.StatusUnauthorized, "Unauthorized")
	return true
}

func (f fault) misname(w http.ResponseWriter, r *http.Request) bool {
	if !strings.HasSuffix(r.URL.Path, "/meta-data/instance-id") {
		return false
	}
	if f.kind == SwappedInstance && f.turn.Add(1)%2 == 1 {
		return false
	}
	reply(w, http.StatusOK, wrongID)
	return true
}

func (f fault) spoilKey(w http.ResponseWriter, r *http.Request, line string) bool {
	if !strings.HasSuffix(r.URL.Path, "/openssh-key") {
		return false
	}
	_, body, _ := strings.Cut(line, " ")
	switch f.kind {
	case KeyMissing:
		reply(w, http.StatusNotFound, "Not Found")
	case KeyOptions:
		reply(w, http.StatusOK, `command="/bin/sh",no-pty `+line)
	case KeySecondLine:
		reply(w, http.StatusOK, line+"\n"+line+"-2")
	case KeyOfAnotherType:
		reply(w, http.StatusOK, "ssh-dss "+body)
	}
	return true
}
