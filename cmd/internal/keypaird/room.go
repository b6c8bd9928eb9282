package keypaird

import (
	"container/list"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

const (
	// reservedFiles are descriptors for all that is no connection of the API or of the metadata endpoint: the
	// store, the management socket and who asks there, restart hooks.
	reservedFiles = 96
	// apiRoom is the most connections that the API has open.
	apiRoom = 1024
	// sourceRoom is the most connections that a listener of the metadata endpoint has open to one address. An
	// agent needs two or three; imds.DefaultWatchers are held of an instance.
	sourceRoom = 256
	// leastRoom is with how many connections a listener is of use.
	leastRoom = 8
)

// shares is how many connections there may be, so that whoever fills one listener leaves the
// others the descriptors that they need to answer.
type shares struct {
	api      int
	endpoint int // at each listener of the metadata endpoint
	source   int // of these to one address
}

// shareOut shares the descriptors that the program may have among the API and so many
// listeners of the metadata endpoint.
func shareOut(files uint64, endpoints int) (shares, error) {
	free := int(min(files, 1<<24)) - reservedFiles - 1 - endpoints
	s := shares{api: min(free, apiRoom), endpoint: free, source: sourceRoom}
	if endpoints > 0 {
		s.api = min(free/4, apiRoom)
		s.endpoint = (free - s.api) / endpoints
		s.source = min(max(s.endpoint/4, leastRoom), sourceRoom)
	}
	if min(s.api, s.endpoint) < leastRoom {
		return s, fmt.Errorf("%d open files are too few to listen at %d addresses: allow more (ulimit -n, or LimitNOFILE= of the unit)",
			files, 1+endpoints)
	}
	return s, nil
}

// room is a listener that has only so many connections open; parked watches count. For one too many, the one of which
// nothing was heard for longest gives way, where the server tells (note); else it is closed at
// once. Either is logged, at most once in complainPause.
type room struct {
	net.Listener
	limit  int // of all connections
	source int // of those to one address; 0: as many as of all
	log    *slog.Logger

	mu         sync.Mutex
	open       int
	from       map[netip.Addr]int
	quiet      list.List // of *guest that may give way, the one quiet for longest first
	complained time.Time
}

// complainPause is between two log entries about one listener.
const complainPause = time.Minute

// newRoom returns one that has no listener yet.
func newRoom(limit, source int, log *slog.Logger) *room {
	return &room{limit: limit, source: source, log: log, from: map[netip.Addr]int{}}
}

// guest is a connection in a room.
type guest struct {
	net.Conn
	room   *room
	source netip.Addr

	// Guarded by room.mu.
	left  bool
	place *list.Element // in room.quiet; nil: in none
}

// Accept implements net.Listener.
func (r *room) Accept() (net.Conn, error) {
	for {
		conn, err := r.Listener.Accept()
		if err != nil {
			return nil, err
		}
		g := &guest{Conn: conn, room: r, source: addressOf(conn)}
		gives, ok := r.enter(g)
		if gives != nil {
			_ = gives.Close()
		}
		if !ok {
			_ = conn.Close()
		}
		if !ok || gives != nil {
			r.complain(g.source)
		}
		if ok {
			return g, nil
		}
	}
}

// enter counts the connection, or refuses it, and returns the one that has to give way.
func (r *room) enter(g *guest) (gives *guest, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.source > 0 && r.from[g.source] >= r.source {
		return nil, false
	}
	if r.open >= r.limit {
		first := r.quiet.Front()
		if first == nil {
			return nil, false
		}
		gives = first.Value.(*guest)
		gives.forget()
	}
	r.open++
	r.from[g.source]++
	return gives, true
}

// leave counts the connection no longer.
func (r *room) leave(g *guest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if g.left {
		return
	}
	g.left = true
	g.forget()
	r.open--
	if r.from[g.source]--; r.from[g.source] == 0 {
		delete(r.from, g.source)
	}
}

// forget takes the connection out of those that may give way. The caller holds room.mu.
func (g *guest) forget() {
	if g.place != nil {
		g.room.quiet.Remove(g.place)
		g.place = nil
	}
}

// note is an http.Server's ConnState, by which the room learns that something was heard. To be told
// costs net/http some of its speed.
func (r *room) note(conn net.Conn, _ http.ConnState) {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	g, ok := conn.(*guest)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	g.forget()
	if !g.left {
		g.place = r.quiet.PushBack(g)
	}
}

func (r *room) complain(source netip.Addr) {
	r.mu.Lock()
	now := time.Now()
	again := now.Sub(r.complained) >= complainPause
	if again {
		r.complained = now
	}
	r.mu.Unlock()
	if again {
		r.log.Warn("too many connections", "listener", r.Addr().String(), "source", source.String())
	}
}

// Close implements net.Conn.
func (g *guest) Close() error {
	err := g.Conn.Close()
	g.room.leave(g)
	return err
}

// SyscallConn implements syscall.Conn, by which a parked watch is told that its client is gone.
func (g *guest) SyscallConn() (syscall.RawConn, error) {
	if conn, ok := g.Conn.(syscall.Conn); ok {
		return conn.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// addressOf is where a connection comes from; the zero address where that is not of IP.
func addressOf(conn net.Conn) netip.Addr {
	source, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return source.AddrPort().Addr().Unmap()
}
