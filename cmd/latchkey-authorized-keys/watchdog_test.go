package main

import (
	"testing"
	"time"
)

func TestWithoutProgressTheWatchdogBarks(t *testing.T) {
	var w watchdog
	began, barked := time.Now(), make(chan struct{})
	go w.watch(50, func() { close(barked) })
	<-barked
	if waited := time.Since(began); waited < 50*time.Millisecond {
		t.Errorf("barked after %v, want 50 ms", waited)
	}
}

func TestWithProgressTheWatchdogIsQuiet(t *testing.T) {
	var w watchdog
	began, barked := time.Now(), make(chan struct{})
	go w.watch(100, func() { close(barked) })
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for time.Since(began) < 400*time.Millisecond {
		w.step()
		select {
		case <-barked:
			t.Fatalf("barked after %v, in spite of progress", time.Since(began))
		case <-tick.C:
		}
	}
	<-barked
}

// TestALateCommandIsNotTakenForADiskThatDoesNotAnswer: the one has as much time as
// the other, and is not our failure.
func TestALateCommandIsNotTakenForADiskThatDoesNotAnswer(t *testing.T) {
	c := newChained(t)
	c.patience = 200
	barked := make(chan struct{})
	go c.watchdog.watch(c.patience/2, func() { close(barked) })
	c.want(t, c.line+"\n", exitDone, c.question(c.script(`exec sleep 1000`))...)
	select {
	case <-barked:
		t.Error("the watchdog barked")
	default:
		<-barked
	}
}

func TestNowGoesOn(t *testing.T) {
	before := now()
	sleep(20)
	if passed := now() - before; passed < 20 || passed > 5000 {
		t.Errorf("%d ms passed, want 20", passed)
	}
}
