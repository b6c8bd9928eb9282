package target

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// ExitSignal tells that a session's program was ended by a signal (RFC 4254 section 6.10).
type ExitSignal struct {
	Name       string // without SIG: "TERM"
	CoreDumped bool
	Message    string // for a person to read; may be empty
}

func (e *ExitSignal) marshal() []byte {
	return ssh.Marshal(struct {
		Name              string
		CoreDumped        bool
		Message, Language string
	}{e.Name, e.CoreDumped, e.Message, ""})
}

// signals are those of RFC 4254 section 6.10.
var signals = map[string]syscall.Signal{
	"ABRT": syscall.SIGABRT, "ALRM": syscall.SIGALRM, "FPE": syscall.SIGFPE, "HUP": syscall.SIGHUP,
	"ILL": syscall.SIGILL, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL, "PIPE": syscall.SIGPIPE,
	"QUIT": syscall.SIGQUIT, "SEGV": syscall.SIGSEGV, "TERM": syscall.SIGTERM, "USR1": syscall.SIGUSR1,
	"USR2": syscall.SIGUSR2,
}

// signalName is the name that is sent; one that RFC 4254 has no name for is called as sshd calls it.
func signalName(signal syscall.Signal) string {
	for name, number := range signals {
		if number == signal {
			return name
		}
	}
	return "SIG@openssh.com"
}

const (
	maxSignals  = 16 // that wait to be fetched by the Handler
	breakSignal = "BREAK"
)

var errUnfetched = fmt.Errorf("%d signals wait to be fetched already", maxSignals)

func (s *sessionChannel) answerSignal(payload []byte) (string, error) {
	var asked struct{ Name string }
	if err := unmarshal(payload, &asked); err != nil {
		return "", err
	}
	if _, known := signals[asked.Name]; !known {
		return asked.Name, errors.New("unknown signal")
	}
	return asked.Name, s.deliver(asked.Name)
}

func (s *sessionChannel) answerBreak([]byte) (string, error) {
	if s.session.PTY == nil {
		return "", errors.New("the session has no terminal")
	}
	return "", s.deliver(breakSignal)
}

// deliver never waits for the Handler.
func (s *sessionChannel) deliver(signal string) error {
	if s.session.Forced || s.session.Request == "subsystem" {
		return errors.New("a forced command or a subsystem gets no signals")
	}
	select {
	case s.signals <- signal:
		return nil
	default:
		return errUnfetched
	}
}
