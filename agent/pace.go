package agent

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/latchkey-ssh/latchkey/metadata"
)

// How patient the daemon is.
const (
	// firstRetry and lastRetry bound the pause after an answer that was unknown.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
	// faultRetry is the pause before what failed is tried again though nothing that
	// latchkey can see has changed; PAM may have.
	faultRetry = 10 * time.Minute
	// safetyPoll is how often a live agent asks though the endpoint's watch works,
	// unless apply.poll is longer. Each pause is another, so that many agents do not
	// ask in step.
	safetyPoll = 5 * time.Minute
	// clockCheck is how often to look at the clock, which may be set, while a
	// certificate's time is waited for.
	clockCheck = time.Hour
)

// pace decides when the next pass is due if nothing happens. Where all is well
// it never is.
type pace struct {
	backoff time.Duration // the next pause after an unknown answer
	unknown time.Duration // the pause that the last answer asks for, 0 for none
	retryAt time.Time     // when to try again what failed, zero when nothing did
	turnsAt time.Time     // when a bound certificate begins or ends to be valid, zero for never
}

// retries tells whether it is time to try again what failed.
func (p *pace) retries() bool { return !p.retryAt.IsZero() && !time.Now().Before(p.retryAt) }

// note takes in how a pass went.
func (p *pace) note(seen metadata.Binding, how How, outcome *Outcome, err error) {
	p.unknown = 0
	if seen.State == metadata.Unknown {
		p.unknown = p.backoff
		p.backoff = min(2*p.backoff, lastRetry)
	} else {
		p.backoff = firstRetry
	}
	if outcome != nil && outcome.Plan != nil {
		p.turnsAt = outcome.Plan.turns()
	}
	failed := err != nil || outcome.Applied != nil && len(outcome.Applied.Faults) > 0
	switch {
	case errors.Is(err, ErrBusy):
		p.retryAt = time.Now().Add(firstRetry)
	case !failed:
		p.retryAt = time.Time{}
	case p.retryAt.IsZero() || how.Retry:
		p.retryAt = time.Now().Add(faultRetry)
	}
}

// pause is how long nothing has to happen before the next pass; 0 is for ever.
// watched tells that the endpoint's watch works.
func (p *pace) pause(config *Config, watched bool) time.Duration {
	pause := p.unknown
	sooner := func(d time.Duration) {
		if pause == 0 || d < pause {
			pause = d
		}
	}
	if config.Apply.When == Live && p.unknown == 0 {
		sooner(pollPause(config, watched))
	}
	if !p.retryAt.IsZero() {
		sooner(max(time.Until(p.retryAt), time.Millisecond))
	}
	if !p.turnsAt.IsZero() {
		sooner(min(max(time.Until(p.turnsAt), time.Millisecond), clockCheck))
	}
	return pause
}

func pollPause(config *Config, watched bool) time.Duration {
	if watched {
		return jittered(max(safetyPoll, config.Apply.Poll.Duration))
	}
	return config.Apply.Poll.Duration
}

// jittered is d, by chance up to half of it more or less.
func jittered(d time.Duration) time.Duration { return d/2 + rand.N(d) }
