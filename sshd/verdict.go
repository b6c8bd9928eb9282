package sshd

// Verdict is sshd's answer to a question.
type Verdict string

// The three answers. Unknown is the zero value in spirit: it never closes a
// door and is never taken for Refused.
const (
	Unknown  Verdict = "unknown"
	Accepted Verdict = "accepted"
	Refused  Verdict = "refused"
)

// Cause is one reason why a key would not log in, or why passwords would stay
// on.
type Cause struct {
	ID     string `json:"id"`     // short and fixed, such as "permit-root-login"
	Detail string `json:"detail"` // what was found, where
	Remedy string `json:"remedy"` // what to do about it
}
