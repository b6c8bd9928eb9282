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

// ErrStillHanging is returned at once when an earlier function that was given up
// on has not come back yet, for the same user.
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
	if !hanging.free(c.UID) {
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
var hanging = abandoned{count: make(map[int]int)}

type abandoned struct {
	mu    sync.Mutex
	count map[int]int // threads left to themselves, by uid
}

func (a *abandoned) free(uid int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count[uid] == 0
}

// watch counts a thread as hanging until its result comes.
func (a *abandoned) watch(uid int, result <-chan error) {
	a.add(uid, 1)
	go func() {
		<-result
		a.add(uid, -1)
	}()
}

func (a *abandoned) add(uid, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.count[uid] += n; a.count[uid] == 0 {
		delete(a.count, uid)
	}
}
