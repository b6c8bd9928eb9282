package e2e

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTheFirstBootIsNotSlow prints how long after the start of PID 1 the key is
// in place and sshd lets it in.
func TestTheFirstBootIsNotSlow(t *testing.T) {
	i := newInstance(t)
	i.installInImage(deb(t, currentVersion))
	key := i.endpoint.bindNew("first")
	i.switchOn()
	var letIn time.Duration
	i.await("the key lets in", func() bool {
		if i.logOn("root", byKey(key)) != nil {
			return false
		}
		letIn = monotonic(time.Now())
		return true
	})
	i.awaitStarted()

	var keys unix.Stat_t
	if err := unix.Stat(i.Path("/root/.ssh/authorized_keys"), &keys); err != nil {
		t.Fatal(err)
	}
	start := i.stamp("", "UserspaceTimestampMonotonic")
	written := monotonic(time.Unix(keys.Ctim.Unix())) - start
	ready := i.sinceBoot("latchkeyd.service", "ActiveEnterTimestampMonotonic")
	listens := i.sinceBoot("ssh.service", "ActiveEnterTimestampMonotonic")
	fmt.Printf("from PID 1: key in place %v, latchkeyd ready %v, sshd listens %v, first logon by key over %v\n",
		written.Round(time.Millisecond), ready.Round(time.Millisecond), listens.Round(time.Millisecond), (letIn - start).Round(time.Millisecond))
	if listens > bootWait {
		t.Errorf("sshd listened after %v", listens)
	}
	if written > listens {
		t.Errorf("sshd listened at %v, before the key was in place at %v", listens, written)
	}
}

// monotonic is a moment on the clock that systemd's monotonic time stamps are
// from.
func monotonic(at time.Time) time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // cannot fail
	return time.Duration(now.Nano()) - time.Since(at)
}
