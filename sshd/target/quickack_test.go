package target

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// tcpPair is both ends of a connection.
func tcpPair(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close() })
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	return dialled.(*net.TCPConn), accepted.(*net.TCPConn)
}

// delays tells whether the kernel keeps acknowledgements of this end back.
func delays(t *testing.T, conn *net.TCPConn) bool {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	quick := 0
	if cerr := raw.Control(func(fd uintptr) {
		quick, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK)
	}); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return quick == 0
}

// countedSocket is the end of a TCP connection with which a server acknowledges quickly, and counts how often.
func countedSocket(t *testing.T) (client *net.TCPConn, conn net.Conn, acknowledged *atomic.Int64) {
	t.Helper()
	client, server := tcpPair(t)
	acknowledged = new(atomic.Int64)
	return client, acknowledgingQuickly(countedConn{server, acknowledged, new(atomic.Int64)}), acknowledged
}

// exchange has the client send a byte for each r, which conn reads, and conn one for each w.
func exchange(t *testing.T, client, conn net.Conn, steps string) {
	t.Helper()
	from, to := map[rune]net.Conn{'r': client, 'w': conn}, map[rune]net.Conn{'r': conn, 'w': client}
	one := make([]byte, 1)
	for _, step := range steps {
		if _, err := from[step].Write(one); err != nil {
			t.Fatal(err)
		}
		if _, err := to[step].Read(one); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatTheFirstReadsLeaveUnansweredIsAcknowledged(t *testing.T) {
	for steps, want := range map[string]int64{
		"r": 0, "rw": 0, "rwr": 0, "rwrwr": 0, "rr": 1, "wrr": 1, "rrwr": 1, "rwrrwrr": 2,
		"rrr": 2, "rrrrrr": quickReads, "rrrrrrrrr": quickReads, "rwrwrwrwrwrrr": 0,
	} {
		client, conn, acknowledged := countedSocket(t)
		exchange(t, client, conn, steps)
		if got := acknowledged.Load(); got != want {
			t.Errorf("%s: acknowledged %d times, want %d", steps, got, want)
		}
	}
}

func TestAnAcknowledgementIsNotKeptBack(t *testing.T) {
	client, server := tcpPair(t)
	for range 20 { // until the kernel takes it for a conversation, and waits for each reply
		exchange(t, client, server, "rw")
	}
	if !delays(t, server) {
		t.Fatal("the kernel does not delay acknowledgements: this test shows nothing")
	}
	exchange(t, client, acknowledgingQuickly(server), "rr")
	if delays(t, server) {
		t.Error("acknowledgements are delayed")
	}
}

func TestWhatIsNoTCPConnectionIsServedWithoutAcknowledging(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	if got := acknowledgingQuickly(ours); got != ours {
		t.Errorf("a pipe became %T", got)
	}
	ours, theirs, err := socketPair() // as sshd -i has it
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	defer theirs.Close()
	exchange(t, theirs, acknowledgingQuickly(ours), "rrwr")
}

// countedConn counts what a server does with its socket.
type countedConn struct {
	*net.TCPConn
	options, single *atomic.Int64 // options set; reads of one byte
}

func (c countedConn) Read(p []byte) (int, error) {
	if len(p) == 1 {
		c.single.Add(1)
	}
	return c.TCPConn.Read(p)
}

func (c countedConn) SyscallConn() (syscall.RawConn, error) {
	raw, err := c.TCPConn.SyscallConn()
	return countedRawConn{raw, c.options}, err
}

type countedRawConn struct {
	syscall.RawConn
	options *atomic.Int64
}

func (c countedRawConn) Control(f func(fd uintptr)) error {
	c.options.Add(1)
	return c.RawConn.Control(f)
}

func TestALoginIsReadInFewPiecesAndAcknowledgedAtOnce(t *testing.T) {
	client, accepted := tcpPair(t)
	if err := client.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	server := Start(t)
	var options, single atomic.Int64
	served := make(chan error, 1)
	go func() { served <- server.ServeConn(countedConn{accepted, &options, &single}) }()
	conn, _, _, err := ssh.NewClientConn(client, "", server.ClientConfig("alice"))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	if n := options.Load(); n < 1 || n > quickReads {
		t.Errorf("acknowledged %d times at once, want once for SSH_MSG_NEWKEYS, and %d times at the most", n, quickReads)
	}
	if single.Load() > 0 {
		t.Errorf("%d reads of one byte", single.Load())
	}
}

// readOnly is a connection that holds text.
type readOnly struct {
	net.Conn
	io.Reader
}

func (c readOnly) Read(p []byte) (int, error) { return c.Reader.Read(p) }

func TestReadingAheadChangesNothingOfWhatIsRead(t *testing.T) {
	text := "SSH-2.0-x\r\n" + strings.Repeat("and what follows it ", 100)
	for name, broken := range map[string]func(io.Reader) io.Reader{
		"whole":     func(r io.Reader) io.Reader { return r },
		"byte-wise": iotest.OneByteReader,
		"halves":    iotest.HalfReader,
		"end early": iotest.DataErrReader,
	} {
		for _, sizes := range [][]int{{1}, {1, 1, 1, 4096}, {3, 1, 0, 500}} {
			conn := &readAheadConn{Conn: readOnly{Reader: broken(strings.NewReader(text))}}
			var got []byte
			var err error
			for i := 0; err == nil; i++ {
				p := make([]byte, sizes[i%len(sizes)])
				var n int
				n, err = conn.Read(p)
				got = slices.Concat(got, p[:n])
			}
			if string(got) != text || !errors.Is(err, io.EOF) {
				t.Errorf("%s, read in pieces of %v: %d bytes, %v", name, sizes, len(got), err)
			}
		}
	}
}
