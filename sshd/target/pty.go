package target

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// PTY is the terminal that the client has for a session (RFC 4254 section 6.2).
type PTY struct {
	Term   string // value of TERM
	Window Window // when the session began

	modes []mode
}

// Window is the size of a terminal. A dimension that the client does not know is 0.
type Window struct {
	Columns, Rows uint32 // in characters
	Width, Height uint32 // in pixels
}

// mode is a terminal mode (RFC 4254 section 8).
type mode struct {
	code  byte
	value uint32
}

func (s *sessionChannel) answerPTY(payload []byte) (string, error) {
	var asked struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}
	if err := unmarshal(payload, &asked); err != nil {
		return "", err
	}
	switch {
	case strings.ContainsRune(asked.Term, 0):
		return "", errMalformed
	case !s.login.mayPTY():
		return asked.Term, errors.New("a terminal is not permitted")
	case s.session.PTY != nil:
		return asked.Term, errors.New("the session has a terminal already")
	}
	s.session.PTY = &PTY{
		Term:   asked.Term,
		Window: Window{Columns: asked.Columns, Rows: asked.Rows, Width: asked.Width, Height: asked.Height},
		modes:  parseModes([]byte(asked.Modes)),
	}
	return asked.Term, nil
}

// parseModes reads the encoded modes. Like sshd it takes all of them or none: of a list that goes on behind its end, or
// has a code without a defined argument, nothing is certain.
func parseModes(encoded []byte) []mode {
	var modes []mode
	for len(encoded) >= 5 && encoded[0] != 0 && encoded[0] < 160 {
		modes = append(modes, mode{encoded[0], binary.BigEndian.Uint32(encoded[1:])})
		encoded = encoded[5:]
	}
	if len(encoded) > 1 || len(encoded) == 1 && encoded[0] != 0 {
		return nil
	}
	return modes
}

// answerWindow leaves the latest size where the Handler fetches it. Nobody else sends there, so that it never waits.
func (s *sessionChannel) answerWindow(payload []byte) (string, error) {
	var size Window
	if err := unmarshal(payload, &size); err != nil {
		return "", err
	}
	if s.session.PTY == nil {
		return "", nil
	}
	select {
	case <-s.windows:
	default:
	}
	s.windows <- size
	return "", nil
}

// terminal is a real pseudo-terminal (pty(7)). The master is never asked for its Fd, which would have it block a thread:
// so Close wakes who reads from it, whoever else holds the slave.
type terminal struct {
	master, slave *os.File
}

func openTerminal(p *PTY) (*terminal, error) {
	t, err := openPair()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(t.setModes(p.modes), t.resize(p.Window)); err != nil {
		_ = t.master.Close()
		_ = t.slave.Close()
		return nil, err
	}
	return t, nil
}

func openPair() (*terminal, error) {
	const name = "/dev/ptmx"
	master, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	slave, err := openSlave(master)
	if err != nil {
		_ = unix.Close(master)
		return nil, err
	}
	return &terminal{os.NewFile(uintptr(master), name), slave}, nil
}

// openSlave opens the other end. It blocks, as programs want it.
func openSlave(master int) (*os.File, error) {
	number, err := unix.IoctlGetUint32(master, unix.TIOCGPTN)
	if err != nil {
		return nil, fmt.Errorf("number of the pseudo-terminal: %w", err)
	}
	name := "/dev/pts/" + strconv.FormatUint(uint64(number), 10)
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("unlock %s: %w", name, err)
	}
	slave, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return os.NewFile(uintptr(slave), name), nil
}

func (t *terminal) resize(w Window) error {
	return control(t.master, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{
			Col: uint16(w.Columns), Row: uint16(w.Rows), Xpixel: uint16(w.Width), Ypixel: uint16(w.Height),
		})
	})
}

// setModes changes what the modes name; others stay as the kernel has them.
func (t *terminal) setModes(modes []mode) error {
	return control(t.slave, func(fd int) error {
		attributes, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		for _, m := range modes {
			m.applyTo(attributes)
		}
		return unix.IoctlSetTermios(fd, unix.TCSETS, attributes)
	})
}

// control does something with a file's descriptor, which is open meanwhile.
func control(file *os.File, do func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var done error
	return errors.Join(raw.Control(func(fd uintptr) { done = do(int(fd)) }), done)
}

// terminalLines ends lines as a terminal wants them, for a handler that has no terminal to do so.
type terminalLines struct {
	mu   sync.Mutex
	to   io.Writer
	last byte
}

// withoutLines is the stream below, for what has a terminal to do that.
func withoutLines(w io.Writer) io.Writer {
	if lines, ok := w.(*terminalLines); ok {
		return lines.to
	}
	return w
}

func (l *terminalLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out bytes.Buffer
	for _, b := range p {
		if b == '\n' && l.last != '\r' {
			out.WriteByte('\r')
		}
		out.WriteByte(b)
		l.last = b
	}
	if _, err := l.to.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}
