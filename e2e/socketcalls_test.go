package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// traced has the daemon run under strace, which writes a file for each thread.
// It needs ptrace(2), which the unit does not allow, and the daemon is then not
// the main process of its unit.
const traced = `[Service]
ExecStart=
ExecStart=/usr/bin/strace -ff -o /var/lib/latchkey/trace -e trace=socket,execve,clone,clone3,fork,vfork /usr/sbin/latchkeyd
NotifyAccess=all
SystemCallFilter=@debug
WatchdogSec=0
TimeoutStartSec=60s
`

// TestTheProgramWithPrivilegeNeverAsksForAnInternetSocket looks at every call
// that it makes while it brings the instance to its binding. The sshd that it
// starts for its proofs does as it likes.
func TestTheProgramWithPrivilegeNeverAsksForAnInternetSocket(t *testing.T) {
	i := boot(t, func(i *instance) {
		askOften(i)
		i.WriteFile("/etc/systemd/system/latchkeyd.service.d/90-traced.conf", traced, 0o644)
		i.endpoint.bindNew("first")
	})
	key := i.endpoint.bindNew("second")
	i.await("the second key is in force", func() bool { return i.logOn("root", byKey(key)) == nil })
	i.run("systemctl", "stop", "latchkeyd.service")

	calls := i.callsOf("/usr/sbin/latchkeyd")
	for _, call := range calls {
		if strings.HasPrefix(call, "socket(AF_INET") {
			t.Error(call)
		}
	}
	if !slices.ContainsFunc(calls, func(call string) bool { return strings.HasPrefix(call, "socket(AF_UNIX") }) {
		t.Errorf("not even the socket to the network process is among its %d calls", len(calls))
	}
	if started := i.callsOf("/usr/sbin/sshd"); len(started) == 0 {
		t.Error("it was not seen to start an sshd")
	}
}

var (
	startOfAnother = regexp.MustCompile(`^(?:clone3?\(.*|v?fork\(\)) += (\d+)$`) // thread or process
	startOfProgram = regexp.MustCompile(`^execve\("([^"]+)".* = 0$`)
)

// callsOf are the calls that a program has made by all its threads in all its
// processes, from the files that strace has written.
func (i *instance) callsOf(program string) []string {
	i.t.Helper()
	files, err := filepath.Glob(i.Path("/var/lib/latchkey/trace.*"))
	if err != nil || len(files) == 0 {
		i.t.Fatalf("strace has written nothing (%v)", err)
	}
	t := trace{program: program, lines: make(map[string][]string)}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			i.t.Fatal(err)
		}
		id := strings.TrimPrefix(filepath.Ext(file), ".")
		t.lines[id] = strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	}
	t.follow(t.first(), "")
	return t.calls
}

// trace is what strace has written, and the calls of one program in it.
type trace struct {
	program string
	lines   map[string][]string // by the id of the thread
	calls   []string
}

// first is the thread that no other has started.
func (t *trace) first() string {
	rest := maps.Clone(t.lines)
	for _, lines := range t.lines {
		for _, line := range lines {
			if match := startOfAnother.FindStringSubmatch(line); match != nil {
				delete(rest, match[1])
			}
		}
	}
	for id := range rest {
		return id
	}
	return ""
}

// follow takes the program's calls of a thread and of those that it has started.
// Until it executes another program, a child is the one it was forked from.
func (t *trace) follow(id, running string) {
	for _, line := range t.lines[id] {
		if match := startOfProgram.FindStringSubmatch(line); match != nil {
			running = match[1]
		}
		if running == t.program {
			t.calls = append(t.calls, line)
		}
		if match := startOfAnother.FindStringSubmatch(line); match != nil {
			t.follow(match[1], running)
		}
	}
}
