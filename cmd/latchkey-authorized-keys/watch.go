package main

import (
	"errors"
	"strconv"
	"syscall"
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

// wait waits until the child prints something or ends.
func (w *watch) wait(until int) (hasEnded bool, err error) {
	var events [2]syscall.EpollEvent
	n, err := syscall.EpollWait(w.both, events[:], max(0, until-now()))
	switch {
	case err == syscall.EINTR:
		return false, nil
	case err != nil:
		return false, &syscallError{"epoll_wait", err}
	case n == 0:
		return false, errors.New("it did not end in time")
	}
	for _, event := range events[:n] {
		hasEnded = hasEnded || event.Fd == int32(w.ended)
	}
	return hasEnded, nil
}

// read adds to printed what is in the pipe.
func (w *watch) read(printed []byte, most int) ([]byte, error) {
	var buffer [16 << 10]byte
	for {
		n, err := syscall.Read(w.output, buffer[:])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return printed, nil
		case err != nil:
			return nil, &syscallError{"read", err}
		case n == 0: // nobody has the pipe any more, so it is readable for ever
			w.ignoreOutput()
			return printed, nil
		case len(printed)+n > most:
			return nil, errors.New("it prints more than " + strconv.Itoa(most) + " bytes")
		default:
			printed = append(printed, buffer[:n]...)
		}
	}
}

// ignoreOutput leaves the end of the child as the only thing that is waited for.
func (w *watch) ignoreOutput() {
	_ = syscall.EpollCtl(w.both, syscall.EPOLL_CTL_DEL, w.output, nil)
}
