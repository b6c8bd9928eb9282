package agent

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

func TestWhereAllIsWellNoPassIsDue(t *testing.T) {
	t.Parallel()
	good, faulty := &Outcome{Applied: &Applied{}}, &Outcome{Applied: &Applied{Faults: []sshd.Cause{{ID: "x"}}}}
	known := metadata.Binding{State: metadata.Unbound}
	boot, live := DefaultConfig(), DefaultConfig()
	live.Apply.When = Live
	tests := []struct {
		name     string
		seen     metadata.Binding
		outcome  *Outcome
		err      error
		config   *Config
		min, max time.Duration
	}{
		{"boot, all well", known, good, nil, &boot, 0, 0},
		{"live, all well", known, good, nil, &live, time.Minute, time.Minute},
		{"boot, a fault", known, faulty, nil, &boot, faultRetry - time.Minute, faultRetry},
		{"live, a fault", known, faulty, nil, &live, time.Minute, time.Minute},
		{"boot, failed", known, good, errors.New("x"), &boot, faultRetry - time.Minute, faultRetry},
		{"boot, busy", known, nil, ErrBusy, &boot, 1, firstRetry},
		{"boot, unknown", unknown(), good, nil, &boot, firstRetry, firstRetry},
		{"live, unknown", unknown(), faulty, nil, &live, firstRetry, firstRetry},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := pace{backoff: firstRetry}
			p.note(test.seen, How{}, test.outcome, test.err)
			if pause := p.pause(test.config, false); pause < test.min || pause > test.max {
				t.Errorf("pause %v, want %v to %v", pause, test.min, test.max)
			}
		})
	}
}

func TestAFaultIsTriedAgainThoughOtherPassesComeBetween(t *testing.T) {
	t.Parallel()
	faulty := &Outcome{Applied: &Applied{Faults: []sshd.Cause{{ID: "x"}}}}
	p := pace{backoff: firstRetry}
	p.note(unbound(), How{}, faulty, nil)
	due := p.retryAt
	p.note(unbound(), How{}, faulty, nil)
	if p.retryAt != due {
		t.Error("a pass that did not try again put the retry off")
	}
	p.retryAt = time.Now().Add(-time.Second)
	if !p.retries() {
		t.Error("not due when its time has come")
	}
	p.note(unbound(), How{Retry: true}, faulty, nil)
	if p.retries() || !p.retryAt.After(time.Now()) {
		t.Error("after the retry, the next is not in the future")
	}
}

func TestPausesAfterUnknownAnswersGrowToHalfAMinute(t *testing.T) {
	t.Parallel()
	config, p := DefaultConfig(), pace{backoff: firstRetry}
	var pauses []float64 // seconds
	for range 8 {
		p.note(unknown(), How{}, &Outcome{}, nil)
		pauses = append(pauses, p.pause(&config, false).Seconds())
	}
	want := []float64{1, 2, 4, 8, 16, 30, 30, 30}
	if !slices.Equal(pauses, want) {
		t.Errorf("pauses %v, want %v", pauses, want)
	}
}
