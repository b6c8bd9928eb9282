package imds

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// hangups tells parked connections that their client has hung up, all of them with one
// epoll(7) and one goroutine, which are there as long as a connection is. The zero value
// has none.
type hangups struct {
	mu     sync.Mutex
	parked map[uint64]*parked // by number
	last   uint64             // number given; none is used twice, as descriptors are
	epoll  *os.File
	fd     int // of epoll
}

// add has p.gone called, in time, if the client hangs up before p is removed. It returns p's
// number.
func (h *hangups) add(p *parked) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.parked == nil {
		h.parked = map[uint64]*parked{}
	}
	h.last++
	h.parked[h.last] = p
	if err := h.register(p.conn, h.last); err != nil {
		go p.readToEnd()
	}
	return h.last
}

// remove forgets the connection, which is about to be closed.
func (h *hangups) remove(number uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.parked, number)
	if len(h.parked) == 0 && h.epoll != nil {
		_ = h.epoll.Close() // which ends listen
		h.epoll, h.parked = nil, nil
	}
}

// at returns the connection of that number, or nil when it was removed meanwhile.
func (h *hangups) at(number uint64) *parked {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.parked[number]
}

// register has the epoll report once when nothing more will come from the other end, or the
// connection has failed.
func (h *hangups) register(conn net.Conn, number uint64) error {
	source, ok := conn.(syscall.Conn)
	if !ok {
		return os.ErrInvalid
	}
	raw, err := source.SyscallConn()
	if err == nil {
		err = h.open()
	}
	if err != nil {
		return err
	}
	event := unix.EpollEvent{
		Events: unix.EPOLLRDHUP | unix.EPOLLONESHOT, // EPOLLHUP and EPOLLERR are always reported
		Fd:     int32(number), Pad: int32(number >> 32),
	}
	var refused error
	err = raw.Control(func(fd uintptr) { refused = unix.EpollCtl(h.fd, unix.EPOLL_CTL_ADD, int(fd), &event) })
	return errors.Join(err, refused)
}

// open makes the epoll, if there is none. It does not block, so the runtime can wait for it
// as for a socket, without a thread.
func (h *hangups) open() error {
	if h.epoll != nil {
		return nil
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return os.NewSyscallError("fcntl", err)
	}
	h.epoll, h.fd = os.NewFile(uintptr(fd), "epoll"), fd
	go h.listen(h.epoll)
	return nil
}

// listen passes on what the epoll reports, until it is closed.
func (h *hangups) listen(epoll *os.File) {
	raw, err := epoll.SyscallConn()
	if err != nil {
		return // closed already
	}
	events := make([]unix.EpollEvent, 128)
	for {
		n := 0
		wait := func(fd uintptr) bool {
			n, _ = unix.EpollWait(int(fd), events, 0)
			return n != 0
		}
		if err := raw.Read(wait); err != nil {
			return
		}
		for _, event := range events[:max(n, 0)] {
			if p := h.at(uint64(uint32(event.Fd)) | uint64(uint32(event.Pad))<<32); p != nil {
				p.gone()
			}
		}
	}
}

// readToEnd does the same for a connection that epoll does not take: one that a listener has
// wrapped. It costs a goroutine.
func (p *parked) readToEnd() {
	_, _ = io.Copy(io.Discard, p.conn)
	p.gone()
}
