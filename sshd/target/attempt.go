package target

import "fmt"

// Verdict is what came of an attempt, in the words of sshd's own log.
type Verdict string

// The verdicts. A Postponed publickey attempt is a query: the key would do, nothing is proved yet. After
// a Partial one another method is asked for.
const (
	Accepted  Verdict = "accepted"
	Partial   Verdict = "partial"
	Postponed Verdict = "postponed"
	Failed    Verdict = "failed"
)

// Attempt is one attempt to log in.
type Attempt struct {
	Remote      string  `json:"remote"` // client address, "UNKNOWN" where it has none
	User        string  `json:"user"`
	Method      string  `json:"method"`                // as in RFC 4252
	Fingerprint string  `json:"fingerprint,omitempty"` // SHA256:…, for publickey
	Verdict     Verdict `json:"verdict"`
	Reason      string  `json:"reason,omitempty"` // why it failed; the client is not told
}

// String is the attempt as one line of a log.
func (a Attempt) String() string {
	text := fmt.Sprintf("%s %s for %q from %s", a.Verdict, a.Method, a.User, a.Remote)
	if a.Fingerprint != "" {
		text += " key " + a.Fingerprint
	}
	if a.Reason != "" {
		text += ": " + a.Reason
	}
	return text
}
