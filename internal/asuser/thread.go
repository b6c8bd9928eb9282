package asuser

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// onOwnThread starts f on a thread that only f ever runs on and that ends with
// it: a goroutine that returns while locked takes its thread along.
//
// The main thread cannot end; Go would park it for ever, with f's credentials,
// and it is the one /proc shows for the process. So when the goroutine finds
// itself there it holds that thread until another has found one elsewhere.
func onOwnThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != os.Getpid() {
			f()
			return
		}
		elsewhere := make(chan struct{})
		onOwnThread(func() {
			close(elsewhere)
			f()
		})
		<-elsewhere
		runtime.UnlockOSThread()
	}()
}

// switchThread takes c's effective ids on this thread alone. The wrappers of
// syscall would set them on every thread of the process.
func switchThread(c Credentials) error {
	if err := setGroups(c); err != nil {
		return fmt.Errorf("set the groups of uid %d: %w", c.UID, err)
	}
	const keep = ^uintptr(0)
	if _, _, errno := unix.RawSyscall(sysSetresgid, keep, uintptr(c.GID), keep); errno != 0 {
		return fmt.Errorf("set group %d: %w", c.GID, errno)
	}
	if _, _, errno := unix.RawSyscall(sysSetresuid, keep, uintptr(c.UID), keep); errno != 0 {
		return fmt.Errorf("set user %d: %w", c.UID, errno)
	}
	return dropCapabilities()
}

// setGroups leaves groups alone that are right already: in a user namespace the
// call may be forbidden.
func setGroups(c Credentials) error {
	want := make([]uint32, 0, len(c.Groups)+1)
	for _, group := range c.Groups {
		want = append(want, uint32(group))
	}
	if have, err := threadGroups(); err == nil && slices.Equal(have, want) {
		return nil
	}
	_, _, errno := unix.RawSyscall(sysSetgroups, uintptr(len(want)), uintptr(unsafe.Pointer(unsafe.SliceData(want))), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func threadGroups() ([]uint32, error) {
	groups, err := unix.Getgroups()
	if err != nil {
		return nil, err
	}
	have := make([]uint32, len(groups))
	for i, group := range groups {
		have[i] = uint32(group)
	}
	return have, nil
}

// dropCapabilities clears the effective set. The kernel does so when the
// effective uid leaves 0, unless securebits tell it not to, as a container may.
// The permitted set stays: only code in this process could raise it again.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	if sets[0].Effective|sets[1].Effective == 0 {
		return nil
	}
	sets[0].Effective, sets[1].Effective = 0, 0
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}
