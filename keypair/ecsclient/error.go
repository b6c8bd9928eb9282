package ecsclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
)

// Error is what the service answered instead of doing what it was asked.
type Error struct {
	Action     string
	Code       string // such as "InvalidKeyPairName.NotFound"; empty when the answer is not ECS's
	Message    string // in the service's words
	RequestID  string
	HTTPStatus int
}

func (e *Error) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("%s: HTTP %d, and the answer is not ECS's", e.Action, e.HTTPStatus)
	}
	return printable(fmt.Sprintf("%s: %s: %s (HTTP %d, request %s)", e.Action, e.Code, e.Message, e.HTTPStatus, e.RequestID))
}

// printable takes out what would steer a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
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
	return refused
}

// passing tells whether the same request may be answered in a moment.
func passing(err error) bool {
	var refused *Error
	return errors.As(err, &refused) && (refused.HTTPStatus >= http.StatusInternalServerError ||
		refused.HTTPStatus == http.StatusTooManyRequests || IsCode(err, "Throttling"))
}
