package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// A conversation is requests and replies in turn, each one packet of JSON on a
// Unix socket that keeps packets apart (unix(7), SOCK_SEQPACKET). It begins with
// an empty reply: the process is there. The reply to a request for a connection
// carries its two ends as descriptors.

// request asks for one of the four things.
type request struct {
	Fetch    *Endpoint      `json:"fetch,omitempty"`
	Watch    *Endpoint      `json:"watch,omitempty"`
	ETag     string         `json:"etag,omitempty"` // with Watch
	Ask      *sshd.Question `json:"ask,omitempty"`
	Persist  bool           `json:"persist,omitempty"`  // with Ask
	Loopback bool           `json:"loopback,omitempty"` //
	Within   time.Duration  `json:"within,omitempty"`   // in which the answer is of use, ns; 0 is for ever
}

// reply is the answer to a request, or why there is none.
type reply struct {
	Binding *metadata.Binding `json:"binding,omitempty"`
	Changed *bool             `json:"changed,omitempty"`
	Answer  *sshd.Answer      `json:"answer,omitempty"`
	Error   string            `json:"error,omitempty"`
}

// maxMessage is more than sixteen keys with the longest lines come to, in bytes.
const maxMessage = 384 << 10

// send sends v as one packet, with descriptors.
func send(conn *net.UnixConn, v any, files ...*os.File) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, file := range files {
			fds[i] = int(file.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	_, _, err = conn.WriteMsgUnix(data, rights, nil)
	return err
}

// Packets that are none of ours.
var (
	errOversize  = errors.New("message is too long")
	errMalformed = errors.New("message cannot be understood")
)

// receive reads one packet into v, and the descriptors that came with it, which
// are the caller's to close even if it fails.
func receive(conn *net.UnixConn, v any) ([]*os.File, error) {
	data, rights := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(8*4))
	n, m, flags, _, err := conn.ReadMsgUnix(data, rights)
	files := descriptors(rights[:m])
	switch {
	case err != nil:
		return files, err
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		return files, errOversize
	}
	if err := json.Unmarshal(data[:n], v); err != nil {
		return files, errMalformed // what the parser says quotes the message
	}
	return files, nil
}

// descriptors are those in control messages.
func descriptors(rights []byte) []*os.File {
	var files []*os.File
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil
	}
	for _, message := range messages {
		fds, err := unix.ParseUnixRights(&message)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "loopback"))
		}
	}
	return files
}

// closeAll closes descriptors that came from the other process. A socket may have
// been told to take its time over that (socket(7), SO_LINGER).
func closeAll(files []*os.File) {
	for _, file := range files {
		dontLinger(file)
		_ = file.Close()
	}
}

func dontLinger(file *os.File) {
	_ = unix.SetsockoptLinger(int(file.Fd()), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{})
}

// errNoPair is a pair of descriptors that are not what was asked for.
var errNoPair = errors.New("not the two ends of a loopback connection")

// pair takes two descriptors that came from the other process for what they have
// to be, the ends of one TCP connection on loopback, or not at all.
func pair(files []*os.File) (net.Conn, *os.File, error) {
	if len(files) != 2 || !connected(files[0], files[1]) {
		closeAll(files)
		return nil, nil, errNoPair
	}
	dontLinger(files[0])
	dontLinger(files[1])
	ours, err := net.FileConn(files[0])
	_ = files[0].Close()
	if err != nil {
		_ = files[1].Close()
		return nil, nil, fmt.Errorf("use a loopback connection: %w", err)
	}
	return ours, files[1], nil
}

// connected tells whether each is at the other end of the other, on loopback.
func connected(a, b *os.File) bool {
	nameA, peerA, okA := ends(a)
	nameB, peerB, okB := ends(b)
	return okA && okB && nameA == peerB && nameB == peerA && nameA.Addr().IsLoopback()
}

// ends are the addresses that a socket of TCP over IPv4 connects. They are asked
// of the descriptor as it is: it must stay in blocking mode for sshd.
func ends(file *os.File) (name, peer netip.AddrPort, ok bool) {
	fd := int(file.Fd())
	protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil || protocol != unix.IPPROTO_TCP {
		return name, peer, false
	}
	local, err1 := unix.Getsockname(fd)
	remote, err2 := unix.Getpeername(fd)
	here, ok1 := local.(*unix.SockaddrInet4)
	there, ok2 := remote.(*unix.SockaddrInet4)
	if err1 != nil || err2 != nil || !ok1 || !ok2 {
		return name, peer, false
	}
	address := func(a *unix.SockaddrInet4) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	}
	return address(here), address(there), true
}
