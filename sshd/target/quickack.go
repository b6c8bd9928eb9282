package target

import (
	"net"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// quickReads is how many reads of a connection are acknowledged quickly. A key exchange takes four, one
// more where its first message comes in two pieces; what follows is left to the kernel.
const quickReads = 5

// quickAckConn acknowledges what it has read during the key exchange as soon as it is asked for more without an answer having
// been written, which would have carried the acknowledgement.
//
// OpenSSH's client turns Nagle's algorithm off only once its session is open. Until then a small packet that
// follows another one stays in the client while that one is not acknowledged; and the kernel on this side, which has
// seen replies go out, keeps the acknowledgement back for some 40 ms in the hope of the next one (tcp(7),
// TCP_QUICKACK). A login has two such pairs, to whose first packet there is no reply: SSH_MSG_KEXINIT before
// SSH_MSG_KEX_ECDH_INIT, as this side has sent its own SSH_MSG_KEXINIT already, and SSH_MSG_NEWKEYS before
// SSH_MSG_SERVICE_REQUEST. From there on everything the client sends has a reply. Without this, `ssh HOST true` takes
// 26, 67 or 108 ms, and with it 26.
//
// The option is not permanent: what is sent later ends it. To set it sends the acknowledgement that is being kept back.
type quickAckConn struct {
	net.Conn
	raw        syscall.RawConn
	reads      int         // so far, until they are enough; only one goroutine reads at a time
	unanswered atomic.Bool // nothing was written since something was read
}

// acknowledgingQuickly wraps a TCP connection. What is no socket it returns as it is; on another socket the
// option fails, and nothing else comes of it.
func acknowledgingQuickly(conn net.Conn) net.Conn {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return conn
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return conn
	}
	return &quickAckConn{Conn: conn, raw: raw}
}

func (c *quickAckConn) Read(p []byte) (int, error) {
	if c.reads > quickReads {
		return c.Conn.Read(p)
	}
	if c.unanswered.Load() {
		_ = c.raw.Control(acknowledgeNow) // only speed depends on it
	}
	n, err := c.Conn.Read(p)
	c.reads++
	c.unanswered.Store(true)
	return n, err
}

func (c *quickAckConn) Write(p []byte) (int, error) {
	c.unanswered.Store(false)
	return c.Conn.Write(p)
}

func acknowledgeNow(fd uintptr) {
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
}
