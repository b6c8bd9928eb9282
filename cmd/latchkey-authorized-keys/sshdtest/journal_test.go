package sshdtest

import (
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// journal is what listens in a machine where systemd-journald does.
type journal struct {
	t    *testing.T
	conn *net.UnixConn
	last string // what was read since the last read
}

const journalSocket = "/run/systemd/journal/socket"

func (r *rig) journal() *journal {
	r.t.Helper()
	r.Mkdir("/run/systemd/journal", 0o755)
	path := r.Path(journalSocket)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	if err := os.Chmod(path, 0o666); err != nil {
		r.t.Fatal(err)
	}
	return &journal{t: r.t, conn: conn}
}

// read returns the entries that have come since it was called last. Why a logon was refused has
// come when the refusal has: the program sends it before it ends.
func (j *journal) read() string {
	j.t.Helper()
	socket, err := j.conn.SyscallConn()
	if err != nil {
		j.t.Fatal(err)
	}
	var all strings.Builder
	err = socket.Control(func(fd uintptr) {
		buffer := make([]byte, 1<<16)
		for {
			n, _, err := unix.Recvfrom(int(fd), buffer, unix.MSG_DONTWAIT)
			if err != nil {
				return
			}
			all.Write(append(buffer[:n], '\n'))
		}
	})
	if err != nil {
		j.t.Fatal(err)
	}
	j.last = all.String()
	return j.last
}

// want reads, and holds that there is an entry of the program with this text, or none when
// the text is empty.
func (j *journal) want(t *testing.T, text string) {
	t.Helper()
	entries := j.read()
	switch {
	case text == "" && entries != "":
		t.Errorf("the journal has %q, want nothing", entries)
	case text != "" && !strings.Contains(entries, text):
		t.Errorf("the journal has %q, want %q in it", entries, text)
	case text != "" && !strings.Contains(entries, "SYSLOG_IDENTIFIER=latchkey-authorized-keys\n"):
		t.Errorf("the journal does not know whose entry it is: %q", entries)
	}
}

// wantNone holds that what was read last does not have the text.
func (j *journal) wantNone(t *testing.T, text string) {
	t.Helper()
	if strings.Contains(j.last, text) {
		t.Errorf("the journal has %q: %q", text, j.last)
	}
}
