package target

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// hangupGrace is how long what runs in a session has to end by itself, after SIGHUP.
const hangupGrace = time.Second

// process is a command that runs for a session. It leads a session, in the sense of setsid(2), and a process group.
type process struct {
	session  *Session
	cmd      *exec.Cmd
	terminal *terminal // nil without one
	stdin    io.WriteCloser
	output   sync.WaitGroup // what still copies output
	outputs  []io.Closer

	// finished is closed when the leader is dead and nobody holds its output any more. The leader is not reaped before
	// the session is over, so that its number cannot become that of another process, or group, in the meantime.
	finished chan struct{}
}

func startProcess(s *Session) (*process, error) {
	p := &process{session: s, cmd: shellCommand(s), finished: make(chan struct{})}
	start := p.startOnPipes
	if s.PTY != nil {
		start = p.startOnTerminal
	}
	if err := start(); err != nil {
		return nil, cause(err)
	}
	go p.await()
	return p, nil
}

// cause is what went wrong, without the path: that of a shell or a home is named beside it.
func cause(err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err
	}
	return err
}

func (p *process) startOnPipes() error {
	stdin, errIn := p.cmd.StdinPipe()
	stdout, errOut := p.cmd.StdoutPipe()
	stderr, errErr := p.cmd.StderrPipe()
	if err := errors.Join(errIn, errOut, errErr); err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.stdin = stdin
	p.copyOutput(p.session.Stdout, stdout)
	p.copyOutput(p.session.Stderr, stderr)
	return nil
}

// startOnTerminal makes the terminal the controlling one of the new session.
func (p *process) startOnTerminal() error {
	t, err := openTerminal(p.session.PTY)
	if err != nil {
		return err
	}
	defer t.slave.Close()
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = t.slave, t.slave, t.slave
	p.cmd.SysProcAttr.Setctty = true
	p.cmd.Env = append(p.cmd.Env, "SSH_TTY="+t.slave.Name())
	if err := p.cmd.Start(); err != nil {
		_ = t.master.Close()
		return err
	}
	p.terminal, p.stdin = t, t.master
	p.copyOutput(withoutLines(p.session.Stdout), t.master)
	return nil
}

// copyOutput copies until the end, which is an error (EIO) on a terminal. A client that has gone
// closes the pipe, so that who writes to it learns that.
func (p *process) copyOutput(to io.Writer, from io.ReadCloser) {
	p.outputs = append(p.outputs, from)
	p.output.Go(func() {
		if _, err := io.Copy(to, from); err != nil && p.terminal == nil {
			_ = from.Close()
		}
	})
}

// await closes finished.
func (p *process) await() {
	for errors.Is(unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	p.output.Wait()
	close(p.finished)
}

// run returns the status once the process is finished. It ends it with ctx.
func (p *process) run(ctx context.Context) int {
	go p.copyInput()
	over := make(chan struct{})
	var relay sync.WaitGroup
	relay.Go(func() { p.relay(over) })
	finished := true
	select {
	case <-p.finished:
	case <-ctx.Done():
		finished = p.hangUp()
	}
	close(over)
	relay.Wait()
	if !finished {
		go p.reap()
		return statusUnknown
	}
	p.reap()
	return p.status()
}

// statusUnknown is that of a process which does not end, or of which a signal made an end.
const statusUnknown = 255

// reap has the kernel forget the process, once it is finished.
func (p *process) reap() {
	<-p.finished
	p.closeOutputs()
	_ = p.cmd.Wait() // its error is in the state
}

// copyInput ends with the channel at the latest. The end of input is told to a pipe; a terminal stays open, as in sshd.
func (p *process) copyInput() {
	_, _ = io.Copy(p.stdin, p.session.Stdin)
	if p.terminal == nil {
		_ = p.stdin.Close()
	}
}

// relay passes on the client's signals and window sizes.
func (p *process) relay(over <-chan struct{}) {
	for {
		select {
		case size := <-p.session.Windows:
			_ = p.terminal.resize(size) // only a session with a terminal has them
		case name := <-p.session.Signals:
			if signal, known := signals[name]; known {
				_ = p.signalGroup(signal)
			}
		case <-over:
			return
		}
	}
}

func (p *process) signalGroup(signal syscall.Signal) error {
	return syscall.Kill(-p.cmd.Process.Pid, signal)
}

func (p *process) closeOutputs() {
	for _, output := range p.outputs {
		_ = output.Close()
	}
}

// hangUp ends the process, and what it has started: kindly, then by force. It tells whether the process is finished: one
// that waits for a disk, or whose output is with a writer that does not return, is left to itself.
func (p *process) hangUp() bool {
	if p.terminal != nil {
		_ = p.terminal.master.Close() // the kernel tells those in the foreground
	}
	_ = p.signalGroup(syscall.SIGHUP)
	_ = p.signalGroup(syscall.SIGCONT) // one that is stopped would not see it
	p.finishes(hangupGrace)
	p.killSession()
	p.closeOutputs() // a process that has made itself a session of its own may hold the other end
	return p.finishes(hangupGrace)
}

// finishes tells whether the process is finished by then.
func (p *process) finishes(within time.Duration) bool {
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-p.finished:
		return true
	case <-late.C:
		return false
	}
}

// killSession kills all that is left of the session, in whatever group, until nothing is.
func (p *process) killSession() {
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for range 100 { // what cannot die, such as a process that waits for a disk, is left to itself
		_ = p.signalGroup(syscall.SIGKILL)
		alive := sessionMembers(p.cmd.Process.Pid)
		for _, pid := range alive {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if len(alive) == 0 {
			return
		}
		<-again.C
	}
}

// sessionMembers are the living processes of a session (proc_pid_stat(5)).
func sessionMembers(session int) []int {
	entries, _ := os.ReadDir("/proc")
	var members []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, _ := os.ReadFile("/proc/" + entry.Name() + "/stat")
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) > 3 && fields[3] == strconv.Itoa(session) && fields[0] != "Z" {
			members = append(members, pid)
		}
	}
	return members
}

// status is the exit status; where a signal ended the process, the session tells that.
func (p *process) status() int {
	state, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && state.Signaled() {
		p.session.ExitSignal = &ExitSignal{Name: signalName(state.Signal()), CoreDumped: state.CoreDump()}
		return statusUnknown
	}
	return p.cmd.ProcessState.ExitCode()
}
