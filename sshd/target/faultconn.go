package target

import (
	"errors"
	"io"
	"net"
	"slices"

	"golang.org/x/crypto/ssh"
)

// reach is called at each moment of a connection. It returns when the faults for that moment have struck, and tells whether what
// comes at the moment is still to happen: not once a fault has ended or silenced the connection, nor for a client that has left while
// it was kept waiting.
func (c *connection) reach(at Moment) (goOn bool) {
	goOn = !c.stopped()
	for _, f := range c.faults {
		if goOn && f.at == at {
			c.strike(f)
			goOn = !c.isGone()
		}
	}
	return goOn
}

// errStopped is what an attempt or a request ends with that a fault has kept from being looked at. It is told nobody.
var errStopped = errors.New("a fault has ended the connection")

// stopped tells whether a fault has ended or silenced the connection.
func (c *connection) stopped() bool { return c.silent.Load() != nil }

func (c *connection) isGone() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

func (c *connection) strike(f Fault) {
	switch f.name {
	case faultSilent, faultDisconnect, faultDrop:
		c.silent.CompareAndSwap(nil, &f) // before anybody can know of it
	}
	c.tell(Event{Kind: Misbehaved, Reason: f.String()})
	switch f.name {
	case faultSlow:
		c.pause(f.delay)
	case faultSilent:
		_, _ = io.Copy(io.Discard, c.net) // until the client leaves, which perhaps nobody else waits for now
		c.cut("")
	case faultDisconnect, faultDrop:
		c.cut("")
	}
}

// has tells whether the connection has the fault of that name.
func (c *connection) has(name string) bool {
	return slices.ContainsFunc(c.faults, func(f Fault) bool { return f.name == name })
}

// fault tells whether the connection has the fault of that name, which strikes thereby.
func (c *connection) fault(name string) bool {
	i := slices.IndexFunc(c.faults, func(f Fault) bool { return f.name == name })
	if i < 0 {
		return false
	}
	c.strike(c.faults[i])
	return true
}

// written is what the server wrote to a connection that has faults.
type written struct {
	count int // until the moments of the key exchange are over
	bytes int64
}

// writeFaulty writes p, as much of it as the faults let through. Up to the end of the key exchange the library writes
// each message by itself: its identification, SSH_MSG_KEXINIT and the reply. Writes come one after another.
func (w *wire) writeFaulty(p []byte) (int, error) {
	c := w.connection
	if first := []Moment{AtVersion, AtKeyExchange, AtKeyReply}; w.written.count < len(first) {
		c.reach(first[w.written.count])
		w.written.count++
	}
	if c.stopped() {
		<-c.gone
	}
	if c.isGone() {
		return 0, net.ErrClosed
	}
	for _, f := range c.faults {
		if f.name == faultDrop && w.written.bytes+int64(len(p)) > f.bytes {
			n, _ := w.Conn.Write(p[:f.bytes-w.written.bytes])
			c.strike(f)
			return n, net.ErrClosed
		}
	}
	n, err := w.Conn.Write(p)
	w.written.bytes += int64(n)
	return n, err
}

// misbehaving are the callbacks with the faults of a login in front of them.
func (c *connection) misbehaving(next ssh.ServerAuthCallbacks) ssh.ServerAuthCallbacks {
	if len(c.faults) == 0 {
		return next
	}
	if f := next.PublicKeyCallback; f != nil {
		next.PublicKeyCallback = func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if !c.reach(AtQuery) {
				return nil, errStopped
			}
			return c.unlessExhausted(c.keyAttempt(meta, key), func() (*ssh.Permissions, error) { return f(meta, key) })
		}
	}
	if f := next.PasswordCallback; f != nil {
		next.PasswordCallback = func(meta ssh.ConnMetadata, secret []byte) (*ssh.Permissions, error) {
			if !c.reach(AtSignature) {
				return nil, errStopped
			}
			attempt := Event{User: meta.User(), Method: password}
			return c.unlessExhausted(attempt, func() (*ssh.Permissions, error) { return f(meta, secret) })
		}
	}
	if f := next.KeyboardInteractiveCallback; f != nil {
		next.KeyboardInteractiveCallback = func(meta ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			if c.stopped() {
				return nil, errStopped
			}
			attempt := Event{User: meta.User(), Method: keyboardInteractive}
			return c.unlessExhausted(attempt, func() (*ssh.Permissions, error) { return f(meta, c.slowToAnswer(ask)) })
		}
	}
	return next
}

// slowToAnswer asks, and has reached the moment when the client has answered.
func (c *connection) slowToAnswer(ask ssh.KeyboardInteractiveChallenge) ssh.KeyboardInteractiveChallenge {
	return func(name, instruction string, questions []string, echos []bool) ([]string, error) {
		answers, err := ask(name, instruction, questions, echos)
		if !c.reach(AtSignature) {
			return nil, errStopped
		}
		return answers, err
	}
}

func (c *connection) unlessExhausted(attempt Event, try func() (*ssh.Permissions, error)) (*ssh.Permissions, error) {
	if c.fault(faultExhaustTries) {
		return c.fail(attempt, errors.New("fault "+faultExhaustTries))
	}
	return try()
}

// signed is called once the client's signature has been verified.
func (c *connection) signed(meta ssh.ConnMetadata, key ssh.PublicKey, offered *ssh.Permissions, algorithm string) (*ssh.Permissions, error) {
	if !c.reach(AtSignature) {
		return nil, errStopped
	}
	if c.fault(faultRefuseSignature) {
		return c.fail(c.keyAttempt(meta, key), errors.New("fault "+faultRefuseSignature))
	}
	return c.keyProved(meta, key, offered, algorithm)
}

// maxAuthTries is how many refusals end the connection.
func (c *connection) maxAuthTries(configured int) int {
	if c.has(faultExhaustTries) {
		return 1
	}
	return configured
}
