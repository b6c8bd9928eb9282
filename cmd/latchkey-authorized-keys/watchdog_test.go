package main

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
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

// TestAReaderThatTakesItsTimeIsNotGivenUp: it takes all, in more than the time that
// there is without progress.
func TestAReaderThatTakesItsTimeIsNotGivenUp(t *testing.T) {
	r, key := newRig(t), newPublicKey(t)
	r.write("users.index", indexer.User{Name: "git", Lines: slices.Repeat([]string{key.line}, 20_000)})
	var pipe [2]int
	if err := syscall.Pipe2(pipe[:], syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r.stdout = pipe[1]
	barked := make(chan struct{})
	go r.watchdog.watch(500, func() { close(barked) })
	read := make(chan int)
	go func() { read <- readSlowly(pipe[0], 50*time.Millisecond) }()
	began, status := time.Now(), r.run(key.question("git"))
	took := time.Since(began)
	_ = syscall.Close(pipe[1])
	select {
	case <-barked:
		t.Errorf("given up after %v", took)
	default:
		if want := 20_000 * (len(key.line) + 1); <-read != want || status != exitDone || took < 800*time.Millisecond {
			t.Errorf("exit status %d after %v", status, took)
		}
		<-barked
	}
}

// readSlowly reads all that comes, some of it at each tick, and returns how much it was.
func readSlowly(fd int, each time.Duration) (total int) {
	defer func() { _ = syscall.Close(fd) }()
	tick := time.NewTicker(each)
	defer tick.Stop()
	for buffer := make([]byte, 64<<10); ; <-tick.C {
		n, err := syscall.Read(fd, buffer)
		if n <= 0 || err != nil {
			return total
		}
		total += n
	}
}

func TestNowGoesOn(t *testing.T) {
	before := now()
	sleep(20)
	if passed := now() - before; passed < 20 || passed > 5000 {
		t.Errorf("%d ms passed, want 20", passed)
	}
}
