package agent

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mounts tells when the mount table changes: what is mounted over a home, or over
// a folder on the way to it, raises no event there, and hides what was proved.
type mounts struct {
	changed <-chan struct{}
	stop    *os.File // closed, it ends the watch
}

// watchMounts watches the mount table of this process's namespace, whose file
// has an exceptional condition after each change (proc(5), /proc/PID/mounts).
func watchMounts() (*mounts, error) {
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("watch mounts: %w", err)
	}
	ended, stop, err := os.Pipe()
	if err != nil {
		table.Close()
		return nil, fmt.Errorf("watch mounts: %w", err)
	}
	changed := make(chan struct{}, 1)
	go func() {
		defer table.Close()
		defer ended.Close()
		for awaitChange(table, ended) {
			select {
			case changed <- struct{}{}:
			default: // one is enough
			}
		}
	}()
	return &mounts{changed, stop}, nil
}

func (m *mounts) close() { _ = m.stop.Close() }

// awaitChange waits for a change of the table, or tells that the watch ended.
func awaitChange(table, ended *os.File) bool {
	fds := []unix.PollFd{{Fd: int32(table.Fd()), Events: unix.POLLPRI}, {Fd: int32(ended.Fd()), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil, fds[1].Revents != 0:
			return false
		}
		return true
	}
}
