// Package asuser runs a function with another user's credentials, on a thread
// that nothing else ever runs on.
//
// Linux keeps credentials per thread. Do takes a thread of its own, gives up
// root's effective identity and every effective capability on it, runs the
// function and lets the thread die. Files are then opened as by that user, so a
// home can refuse what its user may not do, and whatever a user puts there leads
// to nothing but what the user could have reached alone.
//
// Only the effective ids change. The real and saved ones stay root's, so the
// user can neither signal nor trace the thread: kill(2) compares the sender with
// the real and saved id of the target, and ptrace(2) asks for all three to be
// the tracer's. setfsuid(2) would guard files alone, leaves some capabilities in
// force, and does not report that it failed.
package asuser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
)

// Credentials are those of a user as getpwnam(3) and getgrouplist(3) give them.
type Credentials struct {
	UID, GID int
	Groups   []int // supplementary groups
}

// ErrNotPermitted is returned when the process may not take the credentials: it
// is neither root nor that user.
var ErrNotPermitted = errors.New("not permitted to act as another user: run as root")

// ErrStillHanging is returned when an earlier function that was given up on, for
// the same user, has not come back before ctx ended.
var ErrStillHanging = errors.New("an earlier visit to this user's files still hangs")

// Do runs f with the credentials c and returns its error; a panic in f becomes
// one. A process that is that user already and has no privilege runs f as it is.
//
// When ctx ends first, Do returns its error and leaves the thread to itself: a
// call into a file system that does not answer cannot be taken back. f must
// therefore own everything it writes to, and check ctx itself before each step
// that others can see; nobody looks at its result any more. At most one such
// thread is left per user, see ErrStillHanging.
//
// f must not start goroutines that rely on the credentials, start processes, or
// keep files it opened from being closed by itself.
func Do(ctx context.Context, c Credentials, f func() error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("files of uid %d: %w", c.UID, err)
	}
	if !hanging.wait(ctx, c.UID) {
		return fmt.Errorf("files of uid %d: %w", c.UID, ErrStillHanging)
	}
	result := make(chan error, 1)
	onOwnThread(func() {
		err := errNoReturn
		defer func() { result <- err }()
		err = run(c, f)
	})
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		hanging.watch(c.UID, result)
		return fmt.Errorf("home of uid %d does not answer: %w", c.UID, ctx.Err())
	}
}

// errNoReturn is the result of an f that called runtime.Goexit.
var errNoReturn = errors.New("ended without returning")

// run takes the credentials and calls f, whose panic must not end the process.
func run(c Credentials, f func() error) (err error) {
	if err := become(c); err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic while acting as uid %d: %v", c.UID, p)
		}
	}()
	return f()
}

// become leaves the thread with c's effective ids and no effective capability,
// or reports that it cannot. Root acting as root keeps everything: there is
// nobody to be guarded from.
func become(c Credentials) error {
	euid := os.Geteuid()
	switch {
	case c.UID < 0 || c.GID < 0:
		return fmt.Errorf("credentials uid %d gid %d: negative id", c.UID, c.GID)
	case c.UID == 0 && euid == 0:
		return nil
	case c.UID == euid:
		return dropCapabilities()
	case euid != 0:
		return fmt.Errorf("uid %d: %w", c.UID, ErrNotPermitted)
	}
	return switchThread(c)
}

// hanging holds the users whose files did not answer in time. It belongs to the
// process, as the threads that hang do.
var hanging = abandoned{ended: make(map[int]chan struct{})}

type abandoned struct {
	mu    sync.Mutex
	ended map[int]chan struct{} // by uid: closed once the thread left to itself has ended
}

// wait returns when no thread of the user is left to itself, or tells that ctx
// ended first. One that was only told to hurry, and not held up, has ended soon.
func (a *abandoned) wait(ctx context.Context, uid int) bool {
	for {
		a.mu.Lock()
		ended := a.ended[uid]
		a.mu.Unlock()
		if ended == nil {
			return true
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return false
		}
	}
}

// watch counts a thread as hanging until its result comes. Where two were let in
// at the same time, the later to be given up on stands for both.
func (a *abandoned) watch(uid int, result <-chan error) {
	ended := make(chan struct{})
	a.mu.Lock()
	before := a.ended[uid]
	a.ended[uid] = ended
	a.mu.Unlock()
	go func() {
		<-result
		if before != nil {
			<-before
		}
		a.mu.Lock()
		if a.ended[uid] == ended {
			delete(a.ended, uid)
		}
		a.mu.Unlock()
		close(ended)
	}()
}
