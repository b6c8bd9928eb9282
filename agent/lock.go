package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockWait is how long a pass waits for another to end. Ten seconds is longer
// than any but a pass against a hung sshd.
const (
	lockWait = 10 * time.Second
	lockPoll = 5 * time.Millisecond
)

// ErrBusy tells that another applier is at work.
var ErrBusy = errors.New("another pass is at work on this instance")

// lock lets one applier work at a time, among all processes, and waits so long
// for another to end. The kernel takes the lock away from one that dies.
func (a *Agent) lock(ctx context.Context, wait time.Duration) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		unlock, err := a.tryLock("lock")
		if !errors.Is(err, ErrBusy) {
			return unlock, err
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// claim makes this the one agent of the instance, until release.
func (a *Agent) claim() (release func(), err error) {
	release, err = a.tryLock("agent")
	if errors.Is(err, ErrBusy) {
		return nil, ErrRunning
	}
	return release, err
}

// tryLock takes the lock file name below RunDir, or returns ErrBusy.
func (a *Agent) tryLock(name string) (unlock func(), err error) {
	dir, err := a.runDir()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	file, err := dir.OpenFile(name, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("take the lock: %w", err)
	}
	switch err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case err == nil:
		return func() {
			// A process that is just being started has the descriptor too, for a moment.
			_ = unix.Flock(int(file.Fd()), unix.LOCK_UN)
			file.Close()
		}, nil
	case errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR):
		file.Close()
		return nil, fmt.Errorf("%w: %s is held", ErrBusy, file.Name())
	default:
		file.Close()
		return nil, fmt.Errorf("take the lock %s: %w", file.Name(), err)
	}
}
