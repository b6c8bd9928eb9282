package indexer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// A Wait is that for the end of another build of the same index.
type Wait struct {
	For  time.Duration // so far
	Lock string        // the file that the other build holds
	PID  int           // of the other build; 0 where it has not said so
}

// errBusy is another build that goes on.
var errBusy = errors.New("another build is at it")

// tryEvery is how often a build that waits for another tries again.
const tryEvery = 50 * time.Millisecond

// lockOutput waits until no other build of the file name in dir goes on, and keeps others
// waiting until unlock. waiting, if not nil, is called again and again while it has to wait,
// and ends that by an error.
//
// Without it a slow build that read its sources before a key was taken out of them could
// end after a quick one that read them later, and bring the key back. The lock is a file
// of its own that nobody else may open: a folder can be locked by whoever may read it. A
// builder that dies leaves the file, but not the lock.
func lockOutput(ctx context.Context, dir *os.Root, name string, waiting func(Wait) error) (unlock func(), err error) {
	file := "." + name + ".lock"
	for began := time.Now(); ; {
		lock, err := tryLock(dir, file)
		if err == nil {
			return func() { _ = dir.Remove(file); lock.Close() }, nil
		}
		if !errors.Is(err, errBusy) {
			return nil, fmt.Errorf("in %s: lock %s: %w", dir.Name(), name, cause(err))
		}
		if waiting != nil {
			if err := waiting(Wait{time.Since(began), filepath.Join(dir.Name(), file), holder(dir, file)}); err != nil {
				return nil, err
			}
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
	sign(lock)
	return lock, nil
}

// sign puts into the lock who has it, for those who wait. It is a courtesy: on a full disk
// they do without.
func sign(lock *os.File) {
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(lock.Fd()), &stat); err != nil || stat.Nlink != 1 {
		return // somebody has made it another name of a file of theirs
	}
	if lock.Truncate(0) == nil {
		_, _ = lock.WriteString(strconv.Itoa(os.Getpid()) + "\n")
	}
}

// holder is the process that has signed the lock, or 0.
func holder(dir *os.Root, name string) (pid int) {
	lock, err := dir.OpenFile(name, syscall.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return 0
	}
	defer lock.Close()
	if _, err := fmt.Fscanf(io.LimitReader(lock, 20), "%d\n", &pid); err != nil {
		return 0
	}
	return pid
}

// isAt tells whether the name in dir is that of the open file.
func isAt(dir *os.Root, name string, file *os.File) bool {
	there, err := dir.Lstat(name)
	mine, mineErr := file.Stat()
	return err == nil && mineErr == nil && os.SameFile(there, mine)
}
