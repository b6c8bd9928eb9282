package main

import (
	"errors"
	"runtime"
	"strconv"
	"syscall"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
)

// chained runs the administrator's own AuthorizedKeysCommand as sshd would, and
// returns what it printed: nothing unless it ends in time and with exit status 0.
func (h *helper) chained(words []string) ([]byte, error) {
	if err := index.Trusted(words[0], h.owner, h.top); err != nil {
		return nil, err
	}
	c, err := start(words, h.stderr)
	if err != nil {
		return nil, err
	}
	defer c.close()
	h.watchdog.hold()
	defer h.watchdog.step()
	printed, err := c.collect(now()+h.patience, h.most)
	if err != nil {
		c.kill()
		if errors.Is(err, errLate) {
			err = errors.New("it did not end in " + strconv.Itoa(h.patience) + " ms")
		}
		return nil, err
	}
	if err := c.status(); err != nil {
		return nil, err
	}
	return printed, nil
}

// A child is a program that runs, in a process group of its own.
type child struct {
	pid int
	*watch
}

// start starts a program as sshd does: with nothing to read, / for its working
// folder and our environment, which is the one that sshd gives to such a command.
// It does not outlive us.
func start(words []string, stderr int) (*child, error) {
	input, err := syscall.Open("/dev/null", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, &syscallError{"open /dev/null", err}
	}
	defer func() { _ = syscall.Close(input) }()
	w, output, err := newWatch()
	if err != nil {
		return nil, err
	}
	defer func() { _ = syscall.Close(output) }()
	// Until the program has begun, which a disk may keep it from, the thread that starts it
	// has one of Go's processors: the watchdog needs another.
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))
	pid, err := syscall.ForkExec(words[0], words, &syscall.ProcAttr{
		Dir:   "/",
		Env:   syscall.Environ(),
		Files: []uintptr{uintptr(input), uintptr(output), uintptr(stderr)},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		w.close()
		_ = syscall.Close(w.closing)
		return nil, &syscallError{"start it", err}
	}
	go w.awaitEnd(pid)
	return &child{pid, w}, nil
}

// collect returns what the child has printed by its end. Processes that it leaves
// behind may still have the pipe: nobody waits for them.
func (c *child) collect(until, most int) ([]byte, error) {
	var printed []byte
	for {
		hasEnded, err := c.wait(until)
		if err != nil {
			return nil, err
		}
		if printed, err = c.read(printed, most); err != nil || hasEnded {
			return printed, err
		}
	}
}

// status is an error unless the child, which has ended, ended well.
func (c *child) status() error {
	var status syscall.WaitStatus
	_, err := syscall.Wait4(c.pid, &status, 0, nil)
	switch {
	case err != nil:
		return &syscallError{"wait4", err}
	case status.Signaled():
		return errors.New("killed by signal " + strconv.Itoa(int(status.Signal())))
	case status.ExitStatus() != 0:
		return errors.New("exit status " + strconv.Itoa(status.ExitStatus()))
	}
	return nil
}

// kill kills the child and its group. One that waits for a disk does not die
// before the disk answers; it is left to init.
func (c *child) kill() {
	const grace = 500
	_ = syscall.Kill(-c.pid, syscall.SIGKILL)
	c.ignoreOutput()
	var err error
	for hasEnded, until := false, now()+grace; !hasEnded && err == nil; {
		hasEnded, err = c.wait(until)
	}
	_, _ = syscall.Wait4(c.pid, nil, syscall.WNOHANG, nil)
}
