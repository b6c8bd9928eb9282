package ecsapi

import (
	"io"
	"maps"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/latchkey-ssh/latchkey/keypair/ecsapi/signature"
)

// MaxHeaderBytes is what an http.Server that serves the API should let in: the longest address and the
// headers of a client. Its own answer to more is no JSON.
const MaxHeaderBytes = maxAddress + 64<<10

// How much of a request is read, in bytes.
const (
	maxAddress = 256 << 10 // a hundred of the longest names, percent-encoded, fit
	maxBody    = 256 << 10
	maxDropped = 2 << 20 // see readBody

	maxParameters = 1000 // of the query, and of the form
)

// request is a request as far as it is understood.
type request struct {
	*http.Request
	id         string
	query      map[string]string
	parameters map[string]string // those of the query and of the form
	body       []byte
	known      string // the action, once there is one of that name
	accessKey  string // its id, once there is one of that id
}

// read takes in all of the request, but not who sends it.
func (q *request) read() error {
	switch {
	case q.URL.Path != "/" && q.URL.Path != "":
		return apiNotFound()
	case q.Method != http.MethodGet && q.Method != http.MethodPost:
		return unsupportedHTTPMethod()
	case len(q.RequestURI) > maxAddress:
		return addressTooLong()
	}
	var err error
	if q.query, err = parseForm("query", q.URL.RawQuery); err != nil {
		return err
	}
	if q.body, err = readBody(q.Body); err != nil {
		return err
	}
	form, err := q.form()
	if err != nil {
		return err
	}
	q.parameters = maps.Clone(q.query)
	for name, value := range form {
		if _, twice := q.query[name]; twice {
			return malformedRequest("a parameter is in the query and in the body")
		}
		q.parameters[name] = value
	}
	return nil
}

func (q *request) form() (map[string]string, error) {
	if len(q.body) == 0 {
		return nil, nil
	}
	kind, _, err := mime.ParseMediaType(q.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, unsupportedContentType()
	}
	return parseForm("body", string(q.body))
}

// readBody does not keep what is too much, but lets some of it come in: many a client looks for an answer only
// when it has sent all.
func readBody(body io.Reader) ([]byte, error) {
	read, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	if err != nil {
		return nil, malformedRequest("the body ends early")
	}
	if len(read) > maxBody {
		_, _ = io.CopyN(io.Discard, body, maxDropped)
		return nil, bodyTooLarge()
	}
	return read, nil
}

// parseForm reads parameters, each of which may be there once: with two values there would be
// one that is signed and one that is used.
func parseForm(where, text string) (map[string]string, error) {
	if strings.Count(text, "&") >= maxParameters {
		return nil, malformedRequest("the " + where + " has too many parameters")
	}
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, malformedRequest("the " + where + " is not percent-encoded as it should be")
	}
	parameters := make(map[string]string, len(values))
	for name, given := range values {
		if len(given) > 1 {
			return nil, malformedRequest("a parameter is in the " + where + " twice")
		}
		parameters[name] = given[0]
	}
	return parameters, nil
}

// header is a value that V3 sends as a header and V1 as a parameter. V1 signs no header: one that comes with it
// does not count, as anybody may have put it there.
func (q *request) header(name, parameter string) string {
	if value := q.Header.Get(name); value != "" && signature.IsV3(q.Request) {
		return value
	}
	return q.parameters[parameter]
}

var actionName = regexp.MustCompile(`^[A-Za-z]{1,64}$`)

// asked is the action that is asked for, whether there is one of that name or not, for the log; empty where it
// is none that could be.
func (q *request) asked() string {
	name := q.header("x-acs-action", "Action")
	if name == "" {
		name = q.query["Action"] // of a request that could not be read whole
	}
	if !actionName.MatchString(name) {
		return ""
	}
	return name
}

// peer is the address that a request comes from: of the client or of a proxy.
func (q *request) peer() string {
	from, err := netip.ParseAddrPort(q.RemoteAddr)
	if err != nil {
		return q.RemoteAddr
	}
	return from.Addr().String()
}

// lookUp finds the action that is asked for.
func (q *request) lookUp() (action, error) {
	name, version := q.header("x-acs-action", "Action"), q.header("x-acs-version", "Version")
	if name == "" {
		return action{}, missingPart("Action", "Action")
	}
	if version == "" {
		return action{}, missingPart("Version", "Version")
	}
	asked, ok := actions[name]
	if !ok {
		return action{}, actionNotFound()
	}
	if version != Version {
		return action{}, invalidVersion()
	}
	q.known = name
	return asked, nil
}
