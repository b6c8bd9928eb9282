package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// TestWaitingForACommandTakesNoProcessor: in whatever order it closes its output and
// ends, and whoever has the output besides.
func TestWaitingForACommandTakesNoProcessor(t *testing.T) {
	for _, test := range []struct {
		why      string
		script   []string
		patience int
		printed  string
		logged   string
	}{
		{"ends and closes its output at once", []string{"echo its line"}, 5000, "its line\n", ""},
		{"closes its output, then ends", []string{"echo its line", "exec >&-", "sleep 0.4"}, 5000, "its line\n", ""},
		{"closes its output, then does not end", []string{"echo its line", "exec >&-", "exec sleep 1000"}, 400, "", "did not end in 400 ms"},
		{"prints, then does not end", []string{"echo its line", "exec sleep 1000"}, 400, "", "did not end in 400 ms"},
		{"ends while another has the output", []string{"sleep 0.4 &", "echo its line"}, 5000, "its line\n", ""},
		{"lives on while another has closed the output", []string{"(echo its line)", "exec >&-", "sleep 0.4 &", "wait"}, 5000, "its line\n", ""},
	} {
		t.Run(test.why, func(t *testing.T) {
			c := newChained(t)
			c.patience = test.patience
			before := processorTime(t)
			c.want(t, c.line+"\n"+test.printed, exitDone, c.question(c.script(test.script...))...)
			if used := processorTime(t) - before; used > 200*time.Millisecond {
				t.Errorf("took %v of a processor", used)
			}
			if messages := fmt.Sprint(c.messages()); !strings.Contains(messages, test.logged) || (test.logged == "") != (messages == "[]") {
				t.Errorf("the journal has %s, want %q", messages, test.logged)
			}
			noChildren(t)
		})
	}
}

// processorTime is how long processors have worked for this process and not for its
// children.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// TestACommandThatAlwaysHasMoreIsGivenUpInTime: there is no moment at which nothing of
// it is to be read.
func TestACommandThatAlwaysHasMoreIsGivenUpInTime(t *testing.T) {
	c := newChained(t)
	c.patience = 400
	began := time.Now()
	c.want(t, c.line+"\n", exitDone, c.question(c.script("while :; do echo x; done"))...)
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("took %v", took)
	}
	if messages := fmt.Sprint(c.messages()); !strings.Contains(messages, "did not end in 400 ms") {
		t.Errorf("the journal has %s", messages)
	}
}

func TestTimeIsUpThoughThereIsMoreToRead(t *testing.T) {
	w, output, err := newWatch()
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	defer func() { _, _ = syscall.Close(output), syscall.Close(w.closing) }()
	if _, err := syscall.Write(output, []byte("more")); err != nil {
		t.Fatal(err)
	}
	if hasEnded, err := w.wait(now() - 1); hasEnded || err == nil {
		t.Errorf("ended: %v, %v", hasEnded, err)
	}
}

// TestADiskThatDoesNotAnswerForACommandIsNotOurFailure: our lines are out by then.
// The kernel asks this test whether the command may be run, and waits.
func TestADiskThatDoesNotAnswerForACommandIsNotOurFailure(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it would wait for the thread that waits for the program
	c := newChained(t)
	command := c.script("echo its line")
	letRun := hold(t, command, unix.FAN_OPEN_EXEC_PERM)
	out, err := os.Create(c.path("stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c.stdout, c.stderr = int(out.Fd()), -1
	barked, done := make(chan struct{}), make(chan int)
	go c.watchdog.watch(300, func() { close(barked) })
	go func() { done <- c.run(c.question(command)) }()
	<-barked
	p, message, status := c.stuck()
	if p != warning || status != exitDone || !strings.Contains(message, command) {
		t.Errorf("priority %c, %q, exit status %d", p, message, status)
	}
	if text, err := os.ReadFile(out.Name()); string(text) != c.line+"\n" || err != nil {
		t.Errorf("printed %q, %v", text, err)
	}
	letRun()
	if status := <-done; status != exitDone {
		t.Errorf("exit status %d", status)
	}
	if _, _, status := c.stuck(); status != exitRefused {
		t.Errorf("once the command has ended: exit status %d", status)
	}
}

// hold keeps what is done to a file from being done until letRun is called or the test has ended
// (fanotify(7)).
func hold(t *testing.T, path string, what uint64) (letRun func()) {
	t.Helper()
	testmachine.RequireRoot(t)
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD, what, unix.AT_FDCWD, path); err != nil {
		t.Fatal(err)
	}
	return func() {
		event := make([]byte, unsafe.Sizeof(unix.FanotifyEventMetadata{}))
		if _, err := unix.Read(fd, event); err != nil {
			t.Fatal(err)
		}
		asked := (*unix.FanotifyEventMetadata)(unsafe.Pointer(&event[0])).Fd
		defer unix.Close(int(asked))
		answer := unix.FanotifyResponse{Fd: asked, Response: unix.FAN_ALLOW}
		if _, err := unix.Write(fd, (*[unsafe.Sizeof(answer)]byte)(unsafe.Pointer(&answer))[:]); err != nil {
			t.Fatal(err)
		}
	}
}
