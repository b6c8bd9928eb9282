package main

import (
	"errors"
	"strconv"
	"syscall"
	"unsafe"
)

// A watch sees what a child prints and when it ends.
type watch struct {
	output  int // the pipe that the child prints into, read without waiting
	ended   int // a pipe that comes to its end when the child does
	closing int // the other end of that
	both    int // the epoll instance with both
}

// newWatch also returns where a child is to print.
func newWatch() (*watch, int, error) {
	var output, ended [2]int
	if err := syscall.Pipe2(output[:], syscall.O_CLOEXEC); err != nil {
		return nil, -1, &syscallError{"pipe2", err}
	}
	if err := syscall.Pipe2(ended[:], syscall.O_CLOEXEC); err != nil {
		return nil, -1, &syscallError{"pipe2", err}
	}
	if err := syscall.SetNonblock(output[0], true); err != nil {
		return nil, -1, &syscallError{"fcntl", err}
	}
	both, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, -1, &syscallError{"epoll_create1", err}
	}
	for _, fd := range []int{output[0], ended[0]} {
		event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}
		if err := syscall.EpollCtl(both, syscall.EPOLL_CTL_ADD, fd, &event); err != nil {
			return nil, -1, &syscallError{"epoll_ctl", err}
		}
	}
	return &watch{output[0], ended[0], ended[1], both}, output[1], nil
}

// close closes all but what awaitEnd closes.
func (w *watch) close() {
	for _, fd := range []int{w.output, w.ended, w.both} {
		_ = syscall.Close(fd)
	}
}

// awaitEnd waits for the end of the child and leaves it a zombie: so its number
// is nobody else's when it comes to killing.
func (w *watch) awaitEnd(pid int) {
	const byNumber, exited, noReap = 1, 0x4, 0x1000000 // P_PID, WEXITED, WNOWAIT
	errno := syscall.EINTR
	for errno == syscall.EINTR {
		_, _, errno = syscall.Syscall6(syscall.SYS_WAITID, byNumber, uintptr(pid), 0, exited|noReap, 0, 0)
	}
	_ = syscall.Close(w.closing)
}

// errLate is a child that has not ended when it should have.
var errLate = errors.New("it did not end in time")

// wait waits until the child prints something or ends. When the time is up only its
// end counts: there may always be more to read.
func (w *watch) wait(until int) (hasEnded bool, err error) {
	var events [2]syscall.EpollEvent
	n, err := syscall.EpollWait(w.both, events[:], max(0, until-now()))
	switch {
	case err == syscall.EINTR:
		return false, nil
	case err != nil:
		return false, &syscallError{"epoll_wait", err}
	}
	for _, event := range events[:n] {
		hasEnded = hasEnded || event.Fd == int32(w.ended)
		if event.Fd == int32(w.output) && event.Events&syscall.EPOLLIN == 0 {
			w.ignoreOutput() // nobody has the pipe any more, which it would say for ever
		}
	}
	if !hasEnded && now() >= until {
		return false, errLate
	}
	return hasEnded, nil
}

// read adds to printed what is in the pipe, and not what is put there meanwhile:
// that may never end.
func (w *watch) read(printed []byte, most int) ([]byte, error) {
	had, size := len(printed), w.unread()
	if had+size > most {
		return nil, errors.New("it prints more than " + strconv.Itoa(most) + " bytes")
	}
	printed = append(printed, make([]byte, size)...)
	for rest := printed[had:]; len(rest) > 0; {
		n, err := syscall.Read(w.output, rest)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return nil, &syscallError{"read", err}
		}
		if n == 0 {
			return printed[:len(printed)-len(rest)], nil
		}
		rest = rest[n:]
	}
	return printed, nil
}

// unread is how many bytes are in the pipe.
func (w *watch) unread() int {
	var n int32
	_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, uintptr(w.output), syscall.TIOCINQ, uintptr(unsafe.Pointer(&n)))
	return int(n)
}

// ignoreOutput leaves the end of the child as the only thing that is waited for.
func (w *watch) ignoreOutput() {
	_ = syscall.EpollCtl(w.both, syscall.EPOLL_CTL_DEL, w.output, nil)
}
