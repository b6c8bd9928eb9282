package main

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// A watchdog ends the program when it gets no further: a disk that does not
// answer, an sshd that does not read.
type watchdog struct {
	steps atomic.Uint32
	held  atomic.Bool
}

// step is progress.
func (w *watchdog) step() { w.steps.Add(1); w.held.Store(false) }

// hold keeps it quiet up to the next step, for a wait that ends by itself.
func (w *watchdog) hold() { w.held.Store(true) }

// watch calls bark once there has been no progress for so many milliseconds, or a
// fifth more.
func (w *watchdog) watch(patience int, bark func()) {
	for idle := 0; idle < 5; idle++ {
		before := w.steps.Load()
		sleep(patience / 5)
		if w.held.Load() || w.steps.Load() != before {
			idle = -1
		}
	}
	bark()
}

// Package time would do what follows, at a price: see main.go.

func sleep(milliseconds int) {
	left := syscall.NsecToTimespec(int64(milliseconds) * 1e6)
	for syscall.Nanosleep(&left, &left) == syscall.EINTR {
	}
}

// now is a time in milliseconds that nobody sets: CLOCK_MONOTONIC.
func now() int {
	const monotonic = 1
	var t syscall.Timespec
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, monotonic, uintptr(unsafe.Pointer(&t)), 0)
	return int(t.Nano() / 1e6)
}
