package target

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// attempts is how far a login has got. It belongs to the goroutine that serves the handshake.
type attempts struct {
	user     *string // whom the client wants to be; nil before it says
	all      int
	failures int
}

// refusal is what the library is told of an attempt that has failed. The client is told nothing of it.
type refusal struct {
	attempt Event
	why     error
	seen    bool
}

func (r *refusal) Error() string { return errDenied.Error() }
func (r *refusal) Unwrap() error { return r.why }

// errDenied is all that the client's side is told of any refusal.
var errDenied = errors.New("permission denied")

// attempted is called after each attempt, but for a key that was asked about and would do, before the answer to it. Some are refused
// by the library itself, which nobody else knows: a method that is not offered, or a key that was refused before.
func (c *connection) attempted(meta ssh.ConnMetadata, method string, err error) {
	var refused *refusal
	var partial *ssh.PartialSuccessError
	if c.stopped() {
		return
	}
	switch {
	case err == nil:
		c.over()
		c.startWatch(meta.User())
		c.forgetAnybody(meta.User())
		return
	case method == "none":
		_ = errors.As(err, &partial)
		c.log(Event{User: meta.User(), Method: method}, Failed, c.offers(meta))
	case errors.As(err, &partial):
	case !errors.As(err, &refused):
		_, _ = c.fail(Event{User: meta.User(), Method: method}, err)
	case refused.seen:
		_, _ = c.fail(refused.attempt, refused.why)
	default:
		refused.seen = true
	}
	c.delayRefusal(method, err)
	if partial == nil {
		c.countFailure(meta, method)
	}
	c.attempts.all++
}

// countFailure counts as sshd does (MaxAuthTries): the first "none" is no failure, and a step on the way to a login neither. The
// library counts too, up to the most that any user may have, and tells the client why it is cut off.
func (c *connection) countFailure(meta ssh.ConnMetadata, method string) {
	if method == "none" && c.attempts.all == 0 {
		return
	}
	c.attempts.failures++
	p, err := c.policyOf(meta)
	if err != nil {
		return
	}
	if most := p.maxAuthTries(); c.attempts.failures >= most && most < c.config.anybodys.authTries {
		c.cut(c.tooManyTries(most))
	}
}

// tooManyTries names what has set the limit.
func (c *connection) tooManyTries(most int) string {
	if c.has(faultExhaustTries) {
		return "fault " + faultExhaustTries + ": too many authentication failures"
	}
	return fmt.Sprintf("MaxAuthTries %d: too many authentication failures", most)
}

// offers is why the method none is refused, which no client would log in by: it asks so which methods there are.
func (c *connection) offers(meta ssh.ConnMetadata) error {
	p, err := c.policyOf(meta)
	if err != nil {
		return err
	}
	switch offered := p.ways().first(); len(offered) {
	case 0:
		return errors.New("no method is offered")
	case 1:
		return errors.New(offered[0] + " is offered")
	default:
		return errors.New(strings.Join(offered, ", ") + " are offered")
	}
}

var errUserChanged = errors.New("the user's name was changed on the way to a login")

// policyOf is what holds for the user who is logging in. A client that changes the name is cut off, as by sshd.
func (c *connection) policyOf(meta ssh.ConnMetadata) (*policy, error) {
	user := meta.User()
	if c.attempts.user == nil {
		c.attempts.user = &user
	}
	if *c.attempts.user != user {
		c.cut(errUserChanged.Error())
		return nil, errUserChanged
	}
	return c.policyFor(user)
}
