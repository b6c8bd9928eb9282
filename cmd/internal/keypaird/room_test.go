package keypaird

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/latchkey-ssh/latchkey/keypair/imds"
)

func TestNoListenerCanTakeTheDescriptorsOfAnother(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		files, endpoints := rapid.Uint64().Draw(r, "files"), rapid.IntRange(0, 2000).Draw(r, "endpoints")
		if rapid.Bool().Draw(r, "few") {
			files %= 70_000
		}
		s, err := shareOut(files, endpoints)
		if err != nil {
			if files > uint64(reservedFiles+1+endpoints+4*leastRoom*(1+endpoints)) {
				r.Fatalf("refused: %v", err)
			}
			return
		}
		if all := reservedFiles + 1 + endpoints + s.api + endpoints*s.endpoint; uint64(all) > files {
			r.Fatalf("%+v take %d of %d descriptors", s, all, files)
		}
		if s.api < leastRoom || s.api > apiRoom || s.endpoint < leastRoom || s.source < leastRoom || s.source > sourceRoom {
			r.Fatalf("%+v", s)
		}
	})
}

// loopback is a room on a listener of loopback.
func loopback(t *testing.T, limit, source int) *room {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := newRoom(limit, source, slog.New(slog.DiscardHandler))
	r.Listener = listener
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// dial connects from that address of loopback.
func dial(t *testing.T, r *room, from string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// greet has the room greet everybody it lets in, and returns those.
func greet(r *room) <-chan net.Conn {
	in := make(chan net.Conn, 100)
	go func() {
		defer close(in)
		for conn, err := r.Accept(); err == nil; conn, err = r.Accept() {
			_, _ = conn.Write([]byte("!"))
			in <- conn
		}
	}()
	return in
}

func isIn(conn net.Conn) bool {
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err == nil
}

func TestARoomIsFullForOneSourceAndForAll(t *testing.T) {
	r := loopback(t, 3, 2)
	in := greet(r)
	enter := func(from string, want bool) {
		t.Helper()
		if got := isIn(dial(t, r, from)); got != want {
			t.Errorf("one from %s is let in: %t, want %t", from, got, want)
		}
	}
	enter("127.0.0.1", true)
	enter("127.0.0.1", true)
	enter("127.0.0.1", false) // its source has two
	enter("127.0.0.2", true)
	enter("127.0.0.3", false) // there are three
	first := <-in
	for range 2 { // one that is closed twice makes room for one
		if err := first.Close(); err == nil {
			enter("127.0.0.1", true)
		}
		enter("127.0.0.4", false)
	}
	for range 3 {
		_ = (<-in).Close()
	}
	if r.open != 0 || len(r.from) != 0 || r.quiet.Len() != 0 {
		t.Errorf("all have left, and %d are counted, from %v, %d may give way", r.open, r.from, r.quiet.Len())
	}
}

// ask asks over the connection and returns the answer's status, 0 for none.
func ask(conn net.Conn) int {
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// TestWhoIsQuietForLongestGivesWay: whoever holds all that there are keeps nobody from the API.
func TestWhoIsQuietForLongestGivesWay(t *testing.T) {
	const limit = 10
	for name, request := range map[string]string{
		"silent":          "",
		"half of a head":  "GET / HTTP/1.1\r\n",
		"no body comes":   "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
		"idle, and again": "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := loopback(t, limit, 0)
			server := http.Server{ConnState: r.note, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				http.NotFound(w, r)
			})}
			go func() { _ = server.Serve(r) }()
			defer server.Close()
			for n := range 5 * limit {
				_, _ = io.WriteString(dial(t, r, "127.0.0.1"), request)
				if n%limit != limit-1 {
					continue
				}
				if got := ask(dial(t, r, "127.0.0.1")); got != http.StatusNotFound {
					t.Fatalf("after %d connections: status %d", n+1, got)
				}
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.open > limit {
				t.Errorf("%d are open, want %d at most", r.open, limit)
			}
		})
	}
}

// pipes is a listener in memory.
type pipes struct{ ends chan net.Conn }

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p.ends; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { close(p.ends); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// withMetadata runs a test of the server of an instance's metadata, with a clock of its own. connect connects and sends.
func withMetadata(t *testing.T, test func(t *testing.T, in *room, metadata *imds.Service, connect func(text string) net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		metadata := imds.NewService(imds.Options{})
		if err := metadata.Set(imds.Instance{ID: "i-1"}); err != nil {
			t.Fatal(err)
		}
		in := newRoom(100, 100, slog.New(slog.DiscardHandler))
		ends := make(chan net.Conn)
		in.Listener = pipes{ends}
		server := metadataServer(metadata.For("i-1"))
		go func() { _ = server.Serve(in) }()
		test(t, in, metadata, func(text string) net.Conn {
			here, there := net.Pipe()
			ends <- there
			if _, err := io.WriteString(here, text); err != nil {
				t.Fatal(err)
			}
			return here
		})
		metadata.Close()
		_ = server.Close()
	})
}

const (
	getID    = "GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: x\r\n"
	getWatch = "GET /latest/meta-data/public-keys/?wait_for_change=true HTTP/1.1\r\nHost: x\r\n"

	getShortWatch = "GET /latest/meta-data/public-keys/?wait_for_change=true&timeout_sec=1 "
)

// TestWhoDoesNothingHoldsNoConnection: neither who does not send, nor who does not read.
func TestWhoDoesNothingHoldsNoConnection(t *testing.T) {
	tests := map[string]struct {
		send  string
		reads bool
		until time.Duration
	}{
		"nothing is sent":            {"", true, headerTime},
		"half of a header":           {getID, true, headerTime},
		"a body is not sent":         {getID + "Content-Length: 5\r\n\r\n", true, headerTime},
		"a chunk is not sent":        {getID + "Transfer-Encoding: chunked\r\n\r\n", true, headerTime},
		"a watch's body is not sent": {getWatch + "Content-Length: 5\r\n\r\n", true, headerTime},
		"the answer is not read":     {getID + "\r\n", false, tellTime},
		"nor that of a watch":        {getShortWatch + "HTTP/1.1\r\nHost: x\r\n\r\n", false, 3 * time.Second},
		"nor that of an old client":  {getShortWatch + "HTTP/1.0\r\nHost: x\r\n\r\n", false, tellTime + time.Second},
		"no more is asked":           {getID + "\r\n", true, idleTime},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			withMetadata(t, func(t *testing.T, in *room, _ *imds.Service, connect func(string) net.Conn) {
				conn := connect(test.send)
				defer conn.Close()
				if test.reads {
					go func() { _, _ = io.Copy(io.Discard, conn) }()
				}
				time.Sleep(test.until + time.Second) // the bubble's clock
				synctest.Wait()
				if in.open != 0 {
					t.Errorf("it is held for more than %s", test.until)
				}
			})
		})
	}
}

func TestAWatchOutlastsAllLimitsOfTime(t *testing.T) {
	for name, request := range map[string]string{
		"parked": getWatch + "\r\n",
		"held":   strings.Replace(getWatch, "HTTP/1.1", "HTTP/1.0", 1) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			withMetadata(t, func(t *testing.T, _ *room, metadata *imds.Service, connect func(string) net.Conn) {
				conn := connect(request)
				defer conn.Close()
				time.Sleep(imds.MaxWait - time.Second) // the bubble's clock
				if err := metadata.Set(imds.Instance{ID: "i-1", KeyPairName: "ops", PublicKey: "ssh-ed25519 AAAA"}); err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(conn)
				if err != nil || !strings.HasSuffix(string(text), "\r\n\r\n0/\nops/") {
					t.Errorf("answered %q (%v)", text, err)
				}
			})
		})
	}
}
