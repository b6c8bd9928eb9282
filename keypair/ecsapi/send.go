package ecsapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// explained is where all codes are.
const explained = "https://github.com/latchkey-ssh/latchkey/blob/main/docs/API.md#errors"

// sendError answers with a refusal and returns it. What has no name on the wire is logged: it is ours
// to mend, not the caller's.
func (a *API) sendError(w http.ResponseWriter, q *request, err error) *Error {
	e := refusal(q.known, err)
	if e.Status == http.StatusInternalServerError && q.Context().Err() == nil {
		a.log.Error("api request failed", "request_id", q.id, "action", q.known, "error", err)
	}
	if e.Recommend == "" {
		e.Recommend = explained
	}
	if e.Status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", "GET, POST")
	}
	a.send(w, q, e.Status, &ErrorResponse{HostID: q.Host, Code: e.Code, Message: e.Message, Recommend: e.Recommend})
	return e
}

// completer is an answer with something that encoding/json must not see, because it would keep it.
type completer interface{ complete(encoded []byte) []byte }

func (a *API) send(w http.ResponseWriter, q *request, status int, result answer) {
	result.identify(q.id)
	body := encode(result)
	if c, ok := result.(completer); ok {
		body = c.complete(body)
	}
	defer clear(body)
	header := w.Header()
	header.Set("Content-Type", "application/json;charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	header.Set("X-Acs-Request-Id", q.id)
	w.WriteHeader(status)
	_, _ = w.Write(body) // a caller that has gone needs no answer
}

// encode is JSON on one line. It keeps &, < and > as they are: an answer is no HTML, and a string to sign is to be
// read.
func encode(v any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(err) // the answers are strings and numbers
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// createdKeyPair is CreateKeyPair's answer with the private key apart.
type createdKeyPair struct {
	CreateKeyPairResponse
	private []byte
}

// complete puts the private key where it belongs, in a buffer that is the sender's to wipe, and wipes
// what it was taken from.
func (c *createdKeyPair) complete(encoded []byte) []byte {
	const field = `"PrivateKeyBody":"`
	at := bytes.Index(encoded, []byte(field)) + len(field)
	body := make([]byte, 0, len(encoded)+2*len(c.private))
	body = append(body, encoded[:at]...)
	body = appendText(body, c.private)
	body = append(body, encoded[at:]...)
	clear(c.private)
	return body
}

// appendText writes PEM as the inside of a JSON string.
func appendText(body, pem []byte) []byte {
	for _, b := range pem {
		switch {
		case b == '\n':
			body = append(body, '\\', 'n')
		case strings.IndexByte("\r\"\\", b) >= 0:
			panic("a PEM block has no such byte")
		default:
			body = append(body, b)
		}
	}
	return body
}
