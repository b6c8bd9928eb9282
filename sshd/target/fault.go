package target

import "time"

// Moment is a point in the life of a connection at which a [Fault] can strike.
type Moment string

// The moments, in their order.
const (
	AtVersion     Moment = "version"   // before the server's identification
	AtKeyExchange Moment = "kex"       // before its SSH_MSG_KEXINIT
	AtKeyReply    Moment = "kex-reply" // before its part of the key exchange
	AtAuth        Moment = "auth"      // before the answer to the first authentication request
	AtQuery       Moment = "query"     // before the answer to a key that is only offered
	AtSignature   Moment = "signature" // before the answer to a proof: a signature, a password, a prompt's answer
	AtSession     Moment = "session"   // before a session channel is opened
	AtCommand     Moment = "command"   // before the answer to exec, shell or subsystem
	AtExit        Moment = "exit"      // before the exit status
)

// Fault is a way to misbehave.
type Fault struct {
	name  string
	at    Moment
	delay time.Duration
	bytes int64
}

// reach is called at each moment of a connection. It returns when the faults for that moment have struck.
func (c *connection) reach(Moment) {}
