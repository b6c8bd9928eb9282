package target

import (
	"slices"
	"time"
)

// Moment is a point in the life of a connection at which a [Fault] can strike.
//
// A fault that ends or silences a connection at a moment keeps all that would come after it from happening, also at the
// server: at AtAuth, AtQuery and AtSignature nothing is judged any more, so that no Auth event tells of it and nobody logs in; at
// AtSession and AtCommand nothing is run. At AtExit the command has ended, and its Exit event is told, but the client hears neither
// of its status nor of its end. After [Slow] everything happens as it would have, later; but for a client that has left
// meanwhile, nothing.
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

var moments = []Moment{
	AtVersion, AtKeyExchange, AtKeyReply, AtAuth, AtQuery, AtSignature, AtSession, AtCommand, AtExit,
}

// Fault is a way to misbehave, for tests of what a client does then. Each time one strikes, an [Event] of kind
// [Misbehaved] tells, with the fault's text as its Reason. No fault outlives the connection or [Server.Close],
// and LoginGraceTime still ends who has not logged in.
type Fault struct {
	name  string
	at    Moment
	delay time.Duration
	bytes int64
}

// The names of faults, as [ParseFault] reads them.
const (
	faultSlow            = "slow"
	faultSilent          = "silent"
	faultDrop            = "drop"
	faultDisconnect      = "disconnect"
	faultRefuseSignature = "refuse-signature"
	faultChangeHostKey   = "change-host-key"
	faultExhaustTries    = "max-auth-tries"
	faultOldAlgorithms   = "old-algorithms"
)

// Slow has the server wait for d each time that the moment comes, and then go on: a client's time-outs, its progress display,
// its patience. The text is "slow:auth:200ms".
func Slow(at Moment, d time.Duration) Fault { return Fault{name: faultSlow, at: at, delay: d} }

// Silent has the server say nothing more from the moment on, with the connection open: as a peer that hangs, or
// a firewall that swallows packets. It reads on, so that the client is not held up by what it sends. The text is "silent:kex".
func Silent(at Moment) Fault { return Fault{name: faultSilent, at: at} }

// DropAfter closes the connection when the server has written n bytes to it, whatever is in them; 0 closes before the
// first. The text is "drop:4096".
func DropAfter(n int64) Fault { return Fault{name: faultDrop, bytes: max(n, 0)} }

// Disconnect closes the connection at the moment, without an SSH_MSG_DISCONNECT, as a server does that dies. The text is
// "disconnect:command".
func Disconnect(at Moment) Fault { return Fault{name: faultDisconnect, at: at} }

// RefuseSignature has the server say of a listed key that it would do, and then refuse its signature, as sshd does for
// PermitRootLogin no, or for a key that was taken away between the two. The text is "refuse-signature".
func RefuseSignature() Fault { return Fault{name: faultRefuseSignature} }

// ChangeHostKey gives every connection another ed25519 host key, as after a reinstallation, or with somebody in between:
// OpenSSH's client warns that the remote host identification has changed. The text is "change-host-key".
func ChangeHostKey() Fault { return Fault{name: faultChangeHostKey} }

// ExhaustAuthTries refuses the first attempt to prove anything and disconnects with reason 2, "too many authentication
// failures", as a server does whose MaxAuthTries is used up by an agent full of keys. The text is "max-auth-tries".
func ExhaustAuthTries() Fault { return Fault{name: faultExhaustTries} }

// OldAlgorithms offers only what servers of some fifteen years ago had: an RSA host key that signs with SHA-1 (ssh-rsa),
// diffie-hellman-group14-sha1 and -group1-sha1, aes128-cbc and 3des-cbc, hmac-sha1. Clients of today find no
// matching algorithm. The text is "old-algorithms".
func OldAlgorithms() Fault { return Fault{name: faultOldAlgorithms} }

// SetFaults has the server misbehave in these ways, and no others, towards connections that begin from now on. Without
// any it behaves again. An error names a fault that is none, such as one at an unknown moment; then nothing changes.
func (s *Server) SetFaults(faults ...Fault) error {
	if err := checkFaults(faults); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = slices.Clone(faults)
	return nil
}

// nextFaults are those for a connection that begins.
func (s *Server) nextFaults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}
