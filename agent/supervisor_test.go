package agent

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// TestADeadEndpointKeepsSSHDBackNoLongerThanBootWait: at boot sshd waits for
// Ready.
func TestADeadEndpointKeepsSSHDBackNoLongerThanBootWait(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := newEndpoint(t)
	e.set(func(e *endpoint) { e.down = true })
	r.config.Metadata.Endpoint = e.URL
	r.config.Apply.BootWait.Duration = 200 * time.Millisecond
	passes := atomic.Int32{}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	d := NewDaemon(Options{Root: r.Root, Config: r.config}, DefaultConfigPath)
	go func() {
		ended <- d.Run(ctx, Supervisor{Ready: func() { close(ready) }, Status: func(string) { passes.Add(1) }})
	}()
	select {
	case <-ready:
	case <-time.After(10 * time.Second):
		t.Error("sshd would still be waiting")
	}
	if passes.Load() > 1 { // the first line is what it is waiting for
		t.Error("a pass was over: the endpoint was not dead")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestReadyIsSaidOnceAndTheKeyIsInPlaceThen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	key := testmachine.NewKey(t, "ed25519")
	stop := r.daemon(newEndpoint(t, key)) // closes a channel, which a second time panics
	if holds, _ := r.blockHolds(key); !holds {
		t.Error("ready, and the key is not in place")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestOnlyADaemonThatIsNotStuckIsAlive: the watchdog is to end one that is.
func TestOnlyADaemonThatIsNotStuckIsAlive(t *testing.T) {
	for name, test := range map[string]struct {
		busy  time.Duration // for how long already, 0 for not at all
		alive int           // calls within a minute
	}{
		"idle":             {0, 7},
		"in a long pass":   {time.Minute, 7},
		"about to be late": {stuckAfter - 25*time.Second, 3},
		"stuck":            {stuckAfter + time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d Daemon
				if test.busy > 0 {
					d.busySince.Store(time.Now().Add(-test.busy).UnixNano())
				}
				calls := 0
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Second)
				defer cancel()
				d.pulse(ctx, Supervisor{Alive: func() { calls++ }, Every: 10 * time.Second})
				if calls != test.alive {
					t.Errorf("said to be alive %d times, want %d", calls, test.alive)
				}
			})
		})
	}
}

func TestTheStatusLineSaysHowThingsAre(t *testing.T) {
	t.Parallel()
	key := bound(t, testmachine.NewKey(t, "ed25519"))
	applied := Applied{Binding: key, User: "root", PasswordClosed: true}
	for want, line := range map[string]string{
		"nothing applied yet; endpoint: no answer in time":      statusLine(unknown(), nil, nil),
		"unbound, user root, passwords left to sshd's configur": statusLine(unbound(), &Outcome{Applied: &Applied{Binding: unbound(), User: "root"}}, nil),
		", user root, passwords off; the last pass failed":      statusLine(key, &Outcome{Applied: &applied}, errors.New("x")),
		"; pending: unbound":        statusLine(key, &Outcome{Applied: &applied, Pending: &metadata.Binding{State: metadata.Unbound}}, nil),
		"; faults: account-expired": statusLine(key, &Outcome{Applied: &Applied{Binding: key, Faults: []sshd.Cause{{ID: "account-expired"}}}}, nil),
	} {
		if !strings.Contains(line, want) || strings.Contains(line, "\n") {
			t.Errorf("%q, want %q in it", line, want)
		}
	}
}

// TestBeforeLogonsAreAllowedNothingIsOpenedAndSSHDWaits: early in a boot
// pam_nologin(8) keeps the logon user out, which says nothing about the key.
func TestBeforeLogonsAreAllowedNothingIsOpenedAndSSHDWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	key := testmachine.NewKey(t, "ed25519")
	r.pass(bound(t, key), How{})
	r.reboot()
	r.WriteFile("/run/nologin", "System is booting up.\n", 0o644)
	e := newEndpoint(t, key)
	r.config.Metadata.Endpoint = e.URL
	r.config.Apply.BootWait.Duration = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	ready, passes, ended := make(chan struct{}), make(chan string, 100), make(chan error, 1)
	d := NewDaemon(Options{Root: r.Root, Config: r.config}, DefaultConfigPath)
	go func() {
		ended <- d.Run(ctx, Supervisor{Ready: func() { close(ready) }, Status: func(line string) { passes <- line }})
	}()
	<-passes // what it waits for
	if line := <-passes; !strings.Contains(line, "passwords off; faults: nologin-file") {
		t.Errorf("after the first pass: %s", line)
	}
	if !r.exists(dropIn) {
		t.Error("passwords were opened")
	}
	select {
	case <-ready:
		t.Error("sshd need not have waited")
	default:
	}
	r.remove("/run/nologin")
	select {
	case <-ready:
	case <-time.After(10 * time.Second):
		t.Error("sshd would still be waiting")
	}
	if applied := r.state().Applied; !applied.PasswordClosed || len(applied.Faults) > 0 {
		t.Errorf("applied %+v", applied)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
