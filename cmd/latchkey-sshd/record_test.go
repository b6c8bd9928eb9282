package main

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/sshd/target"
)

// startUnread starts the program with a small pipe for its standard error, from which nobody reads yet.
func startUnread(t *testing.T, args ...string) (*running, *os.File) {
	t.Helper()
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = from.Close() })
	defer to.Close()
	if _, err := unix.FcntlInt(to.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	return beginWith(t, command(t, args...), to), from
}

// connectTimes connects and reads the server's identification, so many times.
func (r *running) connectTimes(t *testing.T, times int) {
	t.Helper()
	for range times {
		conn, err := net.DialTimeout("tcp", r.Address, patience)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		line, err := bufio.NewReader(conn).ReadString('\n')
		_ = conn.Close()
		if err != nil || !strings.HasPrefix(line, "SSH-2.0-") {
			t.Fatalf("%q, %v", line, err)
		}
	}
}

func TestALogThatNobodyReadsHoldsUpNothing(t *testing.T) {
	for args, want := range map[string]int{
		"-e": exitDone, "--record -": exitFailed, "-e --record -": exitFailed, "--record /dev/stderr": exitFailed,
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			r, _ := startUnread(t, strings.Fields(args)...)
			r.connectTimes(t, 100)
			began := time.Now()
			if status := r.end(t); status != want || time.Since(began) > 10*time.Second {
				t.Errorf("exit status %d after %v", status, time.Since(began))
			}
		})
	}
}

func TestWhatALogHasLostIsToldOnceThereIsRoom(t *testing.T) {
	for option, lost := range map[string]func(line string) bool{
		"-e": func(line string) bool { return strings.Contains(line, "events are lost") },
		"--record=-": func(line string) bool {
			var e target.Event
			return json.Unmarshal([]byte(line), &e) == nil && e.Kind == "lost" && strings.Contains(e.Reason, "events are lost")
		},
	} {
		t.Run(option, func(t *testing.T) {
			t.Parallel()
			r, stderr := startUnread(t, option)
			r.connectTimes(t, maxWaiting)
			lines := make(chan string)
			go func() {
				defer close(lines)
				for s := bufio.NewScanner(stderr); s.Scan(); {
					lines <- s.Text()
				}
			}()
			for range maxWaiting {
				<-lines
			}
			r.connectTimes(t, 1)
			r.endWhile(t, lines, lost)
		})
	}
}

// endWhile ends the program while its lines are read, one of which has to be the wanted one.
func (r *running) endWhile(t *testing.T, lines <-chan string, wanted func(string) bool) {
	t.Helper()
	found := make(chan bool, 1)
	go func() {
		is := false
		for line := range lines {
			is = is || wanted(line)
		}
		found <- is
	}()
	r.end(t)
	if !<-found {
		t.Error("it is not told")
	}
}

func TestTheEndOfTheLogIsWritten(t *testing.T) {
	record := filepath.Join(t.TempDir(), "record")
	r := start(t, "--record", record)
	r.connectTimes(t, 50)
	r.end(t)
	text, err := os.ReadFile(record)
	if got := strings.Count(string(text), `"disconnected"`); err != nil || got != 50 {
		t.Errorf("%d of 50 ends are in it, %v", got, err)
	}
}

func TestARecordIsAFileOrSomethingThatIsRead(t *testing.T) {
	dir := t.TempDir()
	fifo, socket := filepath.Join(dir, "fifo"), filepath.Join(dir, "socket")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for file, want := range map[string]string{
		fifo: "a pipe that nobody reads", socket: "a socket", dir: "is a directory", "/dev/null": "",
	} {
		cmd := command(t, "--record", file, "--for", "10ms")
		stuck := time.AfterFunc(patience, func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
		out, err := cmd.CombinedOutput()
		stuck.Stop()
		if (want == "") != (err == nil) || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v: %s", file, err, out)
		}
	}
}

func TestARecordIsWrittenToAPipeThatIsRead(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	r := start(t, "--record", fifo)
	r.connectTimes(t, 1)
	r.end(t)
	line, err := bufio.NewReader(reader).ReadString('\n')
	if err != nil || !strings.Contains(line, `"connected"`) {
		t.Errorf("%q, %v", line, err)
	}
}

func TestTheEndOfALogsReaderEndsNothing(t *testing.T) {
	r, stderr := startUnread(t, "-e")
	_ = stderr.Close()
	r.connectTimes(t, 10)
	if status := r.end(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
}
