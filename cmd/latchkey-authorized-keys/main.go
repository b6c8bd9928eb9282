// latchkey-authorized-keys is sshd's AuthorizedKeysCommand: it prints the lines
// of a key index that decide about the key which a client offers. See
// latchkey-authorized-keys(8).
//
// sshd starts it twice for each key that a client offers, while the client
// waits. So it is made of package syscall and next to nothing else: os alone
// would make it a tenth slower to start. A test in internal/house holds the list.
package main

import (
	"errors"
	"strconv"
	"sync/atomic"
	"syscall"
	_ "unsafe" // for go:linkname

	"github.com/latchkey-ssh/latchkey/authkeys/index"
)

// Exit statuses, as in latchkey-authorized-keys(8). To sshd any but 0 means that
// none of what was printed counts.
const (
	exitDone    = 0
	exitRefused = 1
	exitUsage   = 64
)

// A helper is all that an answer depends on but the question.
type helper struct {
	indexes [2]string // one that is not there is an empty one
	owner   int       // of the indexes and of the administrator's program
	top     string    // up to where their folders are looked at

	stdout, stderr  int
	journal, syslog string // the sockets that the log goes to; syslog if there is no journal

	patience int // milliseconds without progress; also how long the administrator's program has
	most     int // bytes that the administrator's program may print

	watchdog watchdog
	command  atomic.Pointer[string] // the administrator's program, once nothing else is left to do
}

func main() {
	h := helper{
		indexes: [2]string{index.Bound, index.Users}, owner: 0, top: "/",
		stdout: 1, stderr: 2, journal: "/run/systemd/journal/socket", syslog: "/dev/log",
		patience: 5000, most: 16 << 20,
	}
	go h.watchdog.watch(h.patience, func() {
		p, message, status := h.stuck()
		go func() { h.log(p, message); syscall.Exit(status) }()
		sleep(1000) // however long the log takes
		syscall.Exit(status)
	})
	words := arguments()
	syscall.Exit(h.run(words[min(1, len(words)):]))
}

// arguments are what package os has as Args, from where it has them.
//
//go:linkname arguments os.runtime_args
func arguments() []string

// run answers one question and returns the exit status.
func (h *helper) run(words []string) int {
	q, err := parse(words)
	out := output{fd: h.stdout, taken: h.watchdog.step}
	switch {
	case err != nil:
		h.log(problem, "wrong usage: "+err.Error()+"; see "+name+" --help")
		return exitUsage
	case q.text != "":
		err = errors.Join(out.line([]byte(q.text)), out.flush())
	default:
		err = h.answer(q, &out)
	}
	// An sshd up to 7.5 closes the pipe once it has read a line that will do.
	if err == nil || errors.Is(err, syscall.EPIPE) {
		return exitDone
	}
	h.log(problem, err.Error()+"; all keys are refused")
	return exitRefused
}

// stuck is what there is to say when there has been no progress, and the exit
// status then.
func (h *helper) stuck() (p priority, message string, status int) {
	waited := "no progress in " + strconv.Itoa(h.patience) + " ms: a disk that does not answer"
	if command := h.command.Load(); command != nil {
		return warning, doesNotCount(*command) + waited, exitDone
	}
	return problem, waited + ", or an sshd that does not read; all keys are refused", exitRefused
}

// answer prints the lines of the indexes, then those of the administrator's
// program. A failure of the program is not one of the answer: so all of ours is out
// before the program is looked at, on whatever disk it is.
func (h *helper) answer(q question, out *output) error {
	decided, err := h.lines(q, out)
	if err == nil {
		err = out.flush()
	}
	if err != nil || len(q.command) == 0 || decided {
		return err
	}
	h.watchdog.step()
	h.command.Store(&q.command[0])
	printed, err := h.chained(q.command)
	if err != nil {
		h.log(warning, doesNotCount(q.command[0])+err.Error())
	}
	h.command.Store(nil)
	out.text = append(out.text, printed...)
	return out.flush()
}

func doesNotCount(command string) string {
	return "AuthorizedKeysCommand " + command + " does not count: "
}

// lines prints the lines of the indexes, and tells whether one of them lets the
// key in whatever follows. Nothing is printed before all indexes are known to be
// in order.
func (h *helper) lines(q question, out *output) (decided bool, err error) {
	indexes, err := h.open(q)
	if err != nil {
		return false, err
	}
	visit := func(line []byte) error {
		decided = decided || q.isPlain(line)
		return out.line(line)
	}
	for _, x := range indexes {
		if q.key == "" {
			err = x.All(q.user, visit)
		} else {
			err = x.Match(q.user, q.keyType, q.key, visit)
		}
		if err != nil {
			return false, err
		}
		_ = x.Close()
	}
	return decided, nil
}

// open opens the indexes that are there, or the one that was asked for.
func (h *helper) open(q question) ([]*index.Index, error) {
	if q.index != "" {
		x, err := index.Open(q.index, h.owner, h.top)
		if errors.Is(err, syscall.ENOENT) {
			err = &index.Error{Path: q.index, Why: "there is no such file"}
		}
		return []*index.Index{x}, err
	}
	var opened []*index.Index
	for _, path := range h.indexes {
		x, err := index.Open(path, h.owner, h.top)
		if errors.Is(err, syscall.ENOENT) {
			continue
		}
		if err != nil {
			return nil, err
		}
		opened = append(opened, x)
	}
	if len(opened) == 0 {
		h.log(warning, "there is no key index, neither "+h.indexes[0]+" nor "+h.indexes[1]+": none lets a key in")
	}
	return opened, nil
}
