package indexer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// errBusy is another build that goes on.
var errBusy = errors.New("another build is at it")

// tryEvery is how often a build that waits for another tries again.
const tryEvery = 50 * time.Millisecond

// lockOutput waits until no other build of the file name in dir goes on, and keeps others
// waiting until unlock. waiting, if not nil, is called once if it has to wait.
//
// Without it a slow build that read its sources before a key was taken out of them could
// end after a quick one that read them later, and bring the key back. The lock is a file
// of its own that nobody else may open: a folder can be locked by whoever may read it. A
// builder that dies leaves the file, but not the lock.
func lockOutput(ctx context.Context, dir *os.Root, name string, waiting func()) (unlock func(), err error) {
	file := "." + name + ".lock"
	for {
		lock, err := tryLock(dir, file)
		if err == nil {
			return func() { _ = dir.Remove(file); lock.Close() }, nil
		}
		if !errors.Is(err, errBusy) {
			return nil, fmt.Errorf("lock %s: %w", name, cause(err))
		}
		if waiting != nil {
			waiting()
			waiting = nil
		}
		select {
		case <-time.After(tryEvery):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// tryLock fails with errBusy while somebody else has the lock. Whoever had it before has
// removed the file, perhaps after it was opened here: then that is no lock.
func tryLock(dir *os.Root, name string) (*os.File, error) {
	folder, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	const flags = syscall.O_RDWR | syscall.O_CREAT | syscall.O_NOFOLLOW | syscall.O_NONBLOCK | syscall.O_CLOEXEC
	fd, err := syscall.Openat(int(folder.Fd()), name, flags, 0o600)
	if err != nil {
		return nil, err
	}
	lock := os.NewFile(uintptr(fd), name)
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) || err == nil && !isAt(dir, name, lock) {
		err = errBusy
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// isAt tells whether the name in dir is that of the open file.
func isAt(dir *os.Root, name string, file *os.File) bool {
	there, err := dir.Lstat(name)
	mine, mineErr := file.Stat()
	return err == nil && mineErr == nil && os.SameFile(there, mine)
}
