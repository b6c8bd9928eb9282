package target

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
)

// dropNotice is what a connection that is dropped gets to read, as from sshd.
const dropNotice = "Exceeded MaxStartups\r\n"

var (
	errMaxStartups = errors.New("MaxStartups: too many connections that have not logged in yet")
	errPerSource   = errors.New("PerSourceMaxStartups: too many connections from there that have not logged in yet")
)

// startups counts the connections that are on their way to a login.
type startups struct {
	mu     sync.Mutex
	all    int
	source map[netip.Prefix]int // those of one source; only of sources that have any
}

// enter counts a connection from source, unless a limit or the lottery of random early drop is against it.
func (s *startups) enter(l limits, source netip.Prefix) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rand.IntN(100) < l.startups.dropsPercent(s.all) {
		return errMaxStartups
	}
	if l.perSource >= 0 && source.IsValid() && s.source[source] >= l.perSource {
		return errPerSource
	}
	if s.source == nil {
		s.source = map[netip.Prefix]int{}
	}
	s.all++
	s.source[source]++
	return nil
}

func (s *startups) leave(source netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.source[source]--; s.source[source] == 0 {
		delete(s.source, source)
	}
}

// sourceOf is the block of addresses that the client's is in. What has no address has no source.
func (b netBlock) sourceOf(client net.Addr) netip.Prefix {
	tcp, ok := client.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	addr, bits := tcp.AddrPort().Addr().Unmap().WithZone(""), b.v6
	if addr.Is4() {
		bits = b.v4
	}
	source, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return source
}
