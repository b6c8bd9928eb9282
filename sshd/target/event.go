package target

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind is what an [Event] tells of.
type Kind string

// The kinds. An Auth event has Method, Verdict and, for publickey, Fingerprint; a Command or Exit event Command or
// Subsystem; a Forward or Request event Request and Verdict, with Target for a forwarding. A ListenerFailed event is about no
// connection: it has a Reason alone, which names the address.
const (
	Connected    Kind = "connected"
	Refused      Kind = "refused" // the connection, before anything was said: Reason names the limit
	Auth         Kind = "auth"
	Request      Kind = "request" // pty-req, env, auth-agent-req@openssh.com and the like (RFC 4254)
	Command      Kind = "command" // an exec, shell or subsystem request was granted
	Exit         Kind = "exit"
	Forward      Kind = "forward" // a forwarding was asked for
	Misbehaved   Kind = "fault"   // the server did what a [Fault] asks of it
	Panicked     Kind = "panic"
	Disconnected Kind = "disconnected"

	ListenerFailed Kind = "listener-failed" // no connections come in there any more
)

// Verdict is what came of an attempt or a request, in the words of sshd's own log.
type Verdict string

// The verdicts. A Postponed publickey attempt is a query: the key would do, nothing is proved yet. After
// a Partial one another method is asked for.
const (
	Accepted  Verdict = "accepted"
	Partial   Verdict = "partial"
	Postponed Verdict = "postponed"
	Failed    Verdict = "failed"
)

// Event is one thing that happened. Its JSON is one line of what [WithJSONLog] writes. It never holds a password or
// an answer to a prompt.
//
// Of a command or a reason it has the first 4,096 bytes, of any other text of the client's the first 512; "…" follows
// what was cut.
type Event struct {
	Time        time.Time `json:"time"`
	Connection  uint64    `json:"connection"` // number of the connection, from 1; 0 for none
	Kind        Kind      `json:"event"`
	Remote      string    `json:"remote"`                // client address, "UNKNOWN" where it has none
	Client      string    `json:"client,omitempty"`      // the client's identification (RFC 4253 section 4.2), once it is known
	User        string    `json:"user,omitempty"`        // as the client names it
	Method      string    `json:"method,omitempty"`      // as in RFC 4252
	Fingerprint string    `json:"fingerprint,omitempty"` // SHA256:… of the offered key, for publickey
	Certificate string    `json:"certificate,omitempty"` // key ID of the certificate that was offered in place of a plain key
	Request     string    `json:"request,omitempty"`     // request or channel type, as in RFC 4254
	Target      string    `json:"target,omitempty"`      // host:port or path of a forwarding; name of a variable or terminal
	Command     string    `json:"command,omitempty"`     // what is run; empty for a shell
	Original    string    `json:"original,omitempty"`    // what the client asked for, where Command was put in its place
	Subsystem   string    `json:"subsystem,omitempty"`
	Status      *int      `json:"status,omitempty"` // exit status, for Exit
	Signal      string    `json:"signal,omitempty"` // that ended the command, without SIG (RFC 4254 section 6.10)
	Verdict     Verdict   `json:"verdict,omitempty"`
	Reason      string    `json:"reason,omitempty"` // why it failed; the client is not told
}

// String is the event as one line of a log, with its time.
func (e Event) String() string {
	var line strings.Builder
	if !e.Time.IsZero() {
		line.WriteString(e.Time.Format("2006-01-02T15:04:05.000Z07:00 "))
	}
	if e.Connection > 0 {
		fmt.Fprintf(&line, "connection %d from %s: ", e.Connection, e.Remote)
	}
	line.WriteString(string(e.Kind))
	for _, field := range []struct{ name, value string }{
		{"client", e.Client},
		{"user", e.User},
		{"method", e.Method},
		{"key", e.Fingerprint},
		{"certificate", e.Certificate},
		{"request", e.Request},
		{"target", e.Target},
		{"command", e.Command},
		{"original", e.Original},
		{"subsystem", e.Subsystem},
		{"signal", e.Signal},
		{"verdict", string(e.Verdict)},
		{"reason", e.Reason},
	} {
		if field.value != "" {
			fmt.Fprintf(&line, " %s=%q", field.name, field.value)
		}
	}
	if e.Status != nil {
		fmt.Fprintf(&line, " status=%d", *e.Status)
	}
	return line.String()
}

// maxEvents is how many events a server remembers; older ones are forgotten, moreEvents at a time.
const (
	maxEvents  = 2_000
	moreEvents = maxEvents / 4
)

// record is what a server remembers of what happened.
type record struct {
	mu     sync.Mutex
	events []Event
	total  int           // of all events, the forgotten ones too
	grown  chan struct{} // closed and made anew with each event that is waited for; nil while nobody waits
	ended  bool          // no event can come any more
}

func (r *record) add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) >= maxEvents+moreEvents {
		r.events = append(r.events[:0], r.events[moreEvents:]...) // in its place: what from has returned are copies
	}
	r.events = append(r.events, e)
	r.total++
	r.wake()
}

// end is called when no event can come any more.
func (r *record) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	r.wake()
}

func (r *record) wake() {
	if r.grown != nil {
		close(r.grown)
		r.grown = nil
	}
}

// from returns the events from number seen on, how many there were in all, and what is closed once there are more, or can be
// none; where that is so already, nil.
func (r *record) from(seen int) ([]Event, int, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.grown == nil && !r.ended {
		r.grown = make(chan struct{})
	}
	first := max(0, seen-(r.total-len(r.events)))
	return slices.Clone(r.events[first:]), r.total, r.grown
}

// Events are the events so far, oldest first; of a long life at least the latest 2,000.
func (s *Server) Events() []Event {
	events, _, _ := s.record.from(0)
	return events
}

// WaitFor returns the first event, of those remembered and those to come, that matches. The error is that of ctx, or ErrClosed
// when none can come any more: once [Server.Close] has returned.
func (s *Server) WaitFor(ctx context.Context, matches func(Event) bool) (Event, error) {
	for seen := 0; ; {
		events, total, grown := s.record.from(seen)
		if i := slices.IndexFunc(events, matches); i >= 0 {
			return events[i], nil
		}
		if grown == nil {
			return Event{}, ErrClosed
		}
		seen = total
		select {
		case <-grown:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

// tell remembers an event, and tells it to whoever listens.
func (s *Server) tell(e Event) {
	e.Time = time.Now()
	e.clip()
	s.record.add(e)
	for _, log := range s.options.logs {
		log(e)
	}
}

// jsonLog writes each event as one line.
func jsonLog(w io.Writer) func(Event) {
	var mu sync.Mutex
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		_ = encoder.Encode(e) // who reads the log may be gone; logins go on
	}
}
