package ecsclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// Error is what the service answered instead of doing what it was asked.
type Error struct {
	Action     string
	Code       string // such as "InvalidKeyPairName.NotFound"; empty when the answer is not ECS's
	Message    string // in the service's words
	RequestID  string
	HTTPStatus int

	speaksTLS bool
}

// ErrSpeaksTLS is in the error of a request in plain HTTP, when the service says that it wants TLS.
var ErrSpeaksTLS = errors.New("the service speaks TLS")

// Is tells of ErrSpeaksTLS.
func (e *Error) Is(target error) bool { return e.speaksTLS && target == ErrSpeaksTLS }

func (e *Error) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("%s: HTTP %d, and the answer is not ECS's", e.Action, e.HTTPStatus)
	}
	return printable(fmt.Sprintf("%s: %s: %s (HTTP %d, request %s)", e.Action, e.Code, e.Message, e.HTTPStatus, e.RequestID))
}

// printable makes one line of a text, without what would steer a terminal: control characters, and those of category
// Cf, which turn the direction of writing or are not seen.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}

// IsCode tells whether the service answered with that code, or with one below it: "Throttling"
// stands for "Throttling.User" too.
func IsCode(err error, code string) bool {
	var refused *Error
	return errors.As(err, &refused) && (refused.Code == code || strings.HasPrefix(refused.Code, code+"."))
}

func readError(action string, status int, body []byte) error {
	refused := &Error{Action: action, HTTPStatus: status}
	var answer struct{ Code, Message, RequestId text }
	if json.Unmarshal(body, &answer) == nil {
		refused.Code, refused.Message, refused.RequestID = string(answer.Code), string(answer.Message), string(answer.RequestId)
	}
	refused.speaksTLS = refused.Code == "" && status == http.StatusBadRequest && wantsTLS(body)
	return refused
}

// tlsDemands are what Go, nginx and Apache answer to plain HTTP at a port for TLS.
var tlsDemands = []string{"HTTP request to an HTTPS server", "plain HTTP request was sent to HTTPS port", "plain HTTP to an SSL-enabled"}

func wantsTLS(body []byte) bool {
	for _, demand := range tlsDemands {
		if bytes.Contains(body, []byte(demand)) {
			return true
		}
	}
	return false
}

// ErrNoAnswer is in the error of a request that may have been carried out: it was sent, and no
// answer came, or one of success that is not ECS's.
var ErrNoAnswer = errors.New("no answer came")

// strangeAnswer is the error of a request whose answer is success, and not ECS's.
type strangeAnswer struct{ action, host string }

// Is tells of ErrNoAnswer: what is between here and the service may have passed the request on.
func (strangeAnswer) Is(target error) bool { return target == ErrNoAnswer }

func (e strangeAnswer) Error() string {
	return e.action + ": read the answer of " + e.host + ": it is not ECS's"
}

// NetworkError is that of a request that got no answer.
type NetworkError struct {
	Action string
	Host   string        // HOST[:PORT] of the endpoint
	Plain  bool          // it was asked in HTTP without TLS
	Sent   bool          // a connection was there: then the error is an ErrNoAnswer too
	Waited time.Duration // from the request on
	Err    error
}

// Is tells of ErrNoAnswer.
func (e *NetworkError) Is(target error) bool { return e.Sent && target == ErrNoAnswer }
func (e *NetworkError) Unwrap() error        { return e.Err }

// Error is printable: with TLS it has names from a certificate that nobody has vouched for.
func (e *NetworkError) Error() string {
	return printable(e.Action + " at " + e.Host + ": " + e.reason())
}

// reason has words of its own for what net/http says of contexts.
func (e *NetworkError) reason() string {
	reason := e.Err.Error()
	switch {
	case errors.Is(e.Err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %v s", wholeSeconds(e.Waited).Seconds())
	case errors.Is(e.Err, context.Canceled):
		reason = "interrupted"
	}
	if e.Sent {
		reason = ErrNoAnswer.Error() + ": " + reason
	}
	return reason
}

// wholeSeconds leaves out what came on top of a limit, which nobody sets to less than milliseconds.
func wholeSeconds(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Truncate(time.Millisecond)
	}
	return d.Truncate(time.Second)
}

// passing tells whether the same request may be answered in a moment.
func passing(err error) bool {
	var refused *Error
	return errors.As(err, &refused) && (refused.HTTPStatus >= http.StatusInternalServerError ||
		refused.HTTPStatus == http.StatusTooManyRequests || IsCode(err, "Throttling"))
}
