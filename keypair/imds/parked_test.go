package imds_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ssh/latchkey/keypair/imds"
)

// patience is how long a test waits for what should take no time.
const patience = 20 * time.Second

// startServer serves over loopback until the test ends.
func startServer(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// open sends a request, headers given as lines, and leaves its answer to be read.
func open(t *testing.T, address, method, path string, header ...string) net.Conn {
	t.Helper()
	return send(t, address, append([]string{method + " " + path + " HTTP/1.1", "Host: endpoint"}, header...)...)
}

// send sends the lines of a request.
func send(t *testing.T, address string, lines ...string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// rest is all that still comes, up to the end of the connection.
func rest(t *testing.T, conn net.Conn) string {
	t.Helper()
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Error(err)
	}
	return regexp.MustCompile(`Date: [^\r]*`).ReplaceAllString(string(text), "Date: now")
}

// statusOf is the code of an answer, 0 of none.
func statusOf(text string) int {
	var code int
	_, _ = fmt.Sscanf(text, "HTTP/1.1 %d ", &code)
	return code
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func awaitWaiting(t *testing.T, e *imds.Endpoint, n int) {
	t.Helper()
	waitFor(t, fmt.Sprintf("%d watches held", n), func() bool { return e.Waiting() == n })
}

func TestAHeldAnswerIsByteForByteThatOfNetHTTP(t *testing.T) {
	tests := []struct {
		name, method, path string
		bound              bool
	}{
		{"listing", "GET", keysPath, true},
		{"key", "GET", keysPath + "0/openssh-key", true},
		{"without its body", "HEAD", keysPath + "0/openssh-key", true},
		{"unbound", "GET", keysPath, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := imds.New(instance())
			e.Bind("before", keyB)
			address := startServer(t, e)
			held := open(t, address, test.method, test.path+"?wait_for_change=true")
			awaitWaiting(t, e, 1)
			if test.bound {
				e.Bind("pair", keyA)
			} else {
				e.Unbind()
			}
			plain := open(t, address, test.method, test.path+"?last_etag=x", "Connection: close")
			check(t, rest(t, held), rest(t, plain))
		})
	}
}

func TestALongAnswerIsWholeAfterAWait(t *testing.T) {
	e := imds.New(instance())
	address := startServer(t, e)
	held := open(t, address, "GET", keysPath+"0/openssh-key?wait_for_change=true")
	awaitWaiting(t, e, 1)
	long := keyA + strings.Repeat("x", 5000)
	e.Bind("pair", long)
	response, err := http.ReadResponse(bufio.NewReader(held), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check(t, err, nil)
	check(t, string(body), long)
}

func TestWhatHappensToAWatchMeanwhileDecidesItsAnswer(t *testing.T) {
	tests := []struct {
		name   string
		happen func(*imds.Service, *imds.Endpoint)
		want   int // 0: none
	}{
		{"bound", func(_ *imds.Service, e *imds.Endpoint) { e.Bind("b", keyB) }, 200},
		{"unbound", func(_ *imds.Service, e *imds.Endpoint) { e.Unbind() }, 404},
		{"set", func(s *imds.Service, _ *imds.Endpoint) {
			i := instance()
			i.LoginUser = "ecs-user"
			_ = s.Set(i)
		}, 404},
		{"removed", func(s *imds.Service, _ *imds.Endpoint) { s.Remove(instance().ID) }, 404},
		{"removed while silent", func(s *imds.Service, e *imds.Endpoint) {
			e.Misbehave(imds.Timeout)
			s.Remove(instance().ID)
		}, 404},
		{"disabled", func(s *imds.Service, _ *imds.Endpoint) {
			i := instance()
			i.HTTPEndpoint = imds.EndpointDisabled
			_ = s.Set(i)
		}, 403},
		{"token forgotten", func(_ *imds.Service, e *imds.Endpoint) {
			e.ForgetTokens()
			e.Unbind()
		}, 401},
		{"service closed", func(s *imds.Service, _ *imds.Endpoint) { s.Close() }, 0},
		{"hung up", func(_ *imds.Service, e *imds.Endpoint) { e.HangUp() }, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := imds.NewService(imds.Options{})
			mustSet(t, s, instance())
			e := s.Endpoint(instance().ID)
			e.Bind("a", keyA)
			token := ask(e, "PUT", "/latest/api/token", ttlHeader, "60").Body
			conn := open(t, startServer(t, s.For(instance().ID)), "GET", watchPath(""), tokenHeader+": "+token)
			awaitWaiting(t, e, 1)
			test.happen(s, e)
			check(t, statusOf(rest(t, conn)), test.want)
			check(t, e.Waiting(), 0)
		})
	}
}

func TestAWatchOverAConnectionEndsWithItsTime(t *testing.T) {
	e := imds.New(instance())
	conn := open(t, startServer(t, e), "GET", watchPath("&timeout_sec=1"))
	check(t, statusOf(rest(t, conn)), 404)
	check(t, e.Waiting(), 0)
}

// wrapped hides what kind of connection it is.
type wrapped struct{ net.Conn }

type wrappingListener struct{ net.Listener }

func (l wrappingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return wrapped{conn}, err
}

func TestAHangUpFreesTheWatchAtOnce(t *testing.T) {
	for _, wrap := range []bool{false, true} {
		e := imds.New(instance())
		server := httptest.NewUnstartedServer(e)
		if wrap {
			server.Listener = wrappingListener{server.Listener}
		}
		server.Start()
		var conns []net.Conn
		for range 10 {
			conns = append(conns, open(t, server.Listener.Addr().String(), "GET", watchPath("")))
		}
		awaitWaiting(t, e, len(conns))
		for n, conn := range conns {
			_ = conn.Close()
			awaitWaiting(t, e, len(conns)-n-1)
		}
		server.Close()
	}
}

func TestWatchesBeyondTheLimitAreRefused(t *testing.T) {
	s := imds.NewService(imds.Options{WatchersPerInstance: 2})
	defer s.Close()
	other := imds.Instance{ID: "i-other"}
	mustSet(t, s, instance())
	mustSet(t, s, other)
	e, address := s.Endpoint(instance().ID), startServer(t, s.For(instance().ID))
	first := open(t, address, "GET", watchPath(""))
	open(t, address, "GET", watchPath(""))
	awaitWaiting(t, e, 2)
	check(t, statusOf(rest(t, open(t, address, "GET", watchPath("")))), 503)
	check(t, ask(e, "GET", watchPath("&timeout_sec=1")), answer{503, "Service Unavailable"})
	open(t, startServer(t, s.For(other.ID)), "GET", watchPath("")) // has its own limit
	awaitWaiting(t, s.Endpoint(other.ID), 1)
	_ = first.Close()
	awaitWaiting(t, e, 1)
	open(t, address, "GET", watchPath(""))
	awaitWaiting(t, e, 2)
}

func TestAClosedServiceHoldsNoWatch(t *testing.T) {
	s := imds.NewService(imds.Options{})
	mustSet(t, s, instance())
	s.Close()
	mustSet(t, s, imds.Instance{ID: "i-later"})
	for _, id := range []string{instance().ID, "i-later"} {
		check(t, ask(s.For(id), "GET", watchPath("")), answer{503, "Service Unavailable"})
		check(t, ask(s.For(id), "GET", "/latest/meta-data/instance-id"), answer{200, id})
	}
}

func TestMisbehavioursConcernHeldWatches(t *testing.T) {
	starts := map[imds.Misbehaviour]string{
		imds.Slow:            "HTTP/1.1 200 OK",
		imds.Error500:        "HTTP/1.1 500 Internal Server Error",
		imds.Busy:            "HTTP/1.1 429 Too Many Requests",
		imds.HalfBody:        "HTTP/1.1 200 OK",
		imds.NoLength:        "HTTP/1.0 200 OK",
		imds.Oversized:       "HTTP/1.1 200 OK",
		imds.HTML:            "HTTP/1.1 200 OK",
		imds.Redirect:        "HTTP/1.1 302 Found",
		imds.KeyMissing:      "HTTP/1.1 404 Not Found",
		imds.KeyOptions:      "HTTP/1.1 200 OK",
		imds.SwappedInstance: "HTTP/1.1 200 OK",
	}
	for m, start := range starts {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			e := imds.New(instance())
			conn := open(t, startServer(t, e), "GET", keysPath+"0/openssh-key?wait_for_change=true")
			awaitWaiting(t, e, 1)
			e.Misbehave(m)
			e.Bind("pair", keyA)
			text := rest(t, conn)
			whole := strings.HasSuffix(text, keyA)
			check(t, strings.HasPrefix(text, start), true)
			check(t, whole, m == imds.Slow || m == imds.SwappedInstance || m == imds.KeyOptions)
		})
	}
}

func TestASilentEndpointAnswersNoWatch(t *testing.T) {
	e := imds.New(instance())
	address := startServer(t, e)
	conn := open(t, address, "GET", watchPath("&timeout_sec=1"))
	awaitWaiting(t, e, 1)
	e.Misbehave(imds.Timeout)
	e.Bind("pair", keyA)
	if err := conn.SetReadDeadline(time.Now().Add(1500 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("answered")
	}
	check(t, e.Waiting(), 1)
	_ = conn.Close() // which frees it all the same
	awaitWaiting(t, e, 0)
}

func TestAWatchOverHTTP2OrTLSIsHeldByItsHandler(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		e := imds.New(instance())
		server := httptest.NewUnstartedServer(e)
		server.EnableHTTP2 = http2
		server.StartTLS()
		type result struct {
			proto int
			err   error
		}
		done := make(chan result)
		get := func() {
			response, err := server.Client().Get(server.URL + watchPath(""))
			if err != nil {
				done <- result{err: err}
				return
			}
			done <- result{response.ProtoMajor, response.Body.Close()}
		}
		go get()
		awaitWaiting(t, e, 1)
		e.Bind("pair", keyA)
		got := <-done
		check(t, got.err, nil)
		check(t, got.proto == 2, http2)
		go get() // and without an answer when the endpoint hangs up
		awaitWaiting(t, e, 1)
		e.HangUp()
		check(t, (<-done).err != nil, true)
		server.Close()
	}
}

// A change while watches begin is seen by each of them: by those that are held already, by
// those that are just about to be, and by those that come too late.
func TestNoWakeUpIsLost(t *testing.T) {
	const watchers, changes = 8, 300
	e := imds.New(instance())
	address := startServer(t, e)
	for n := range changes {
		before := etag(e, keysPath)
		query := watchPath("&last_etag=" + before)
		var group sync.WaitGroup
		for n := range watchers {
			group.Go(func() {
				proto := "HTTP/1.1"
				if n%4 == 3 {
					proto = "HTTP/1.0" // is held the other way
				}
				now := etagOver(t, send(t, address, "GET "+query+" "+proto, "Host: endpoint"))
				if now == "" || now == before {
					t.Errorf("watcher %d was told %q after %q", n, now, before)
				}
			})
		}
		for deadline := time.Now().Add(patience); e.Waiting() < n%watchers && time.Now().Before(deadline); {
			runtime.Gosched() // not a sleep: the change is to come while others are on their way
		}
		e.Bind(fmt.Sprint("pair-", n), keyA)
		group.Wait()
		if t.Failed() {
			return
		}
	}
	check(t, e.Waiting(), 0)
}

// etagOver is the ETag of the answer that comes over the connection.
func etagOver(t *testing.T, conn net.Conn) string {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer response.Body.Close()
	return response.Header.Get("ETag")
}

func TestAllWatchersOfOneInstanceAreWoken(t *testing.T) {
	const watchers = 2000
	s := imds.NewService(imds.Options{WatchersPerInstance: watchers})
	defer s.Close()
	mustSet(t, s, instance())
	address := startServer(t, s.For(instance().ID))
	conns := make([]net.Conn, watchers)
	for n := range conns {
		conns[n] = open(t, address, "GET", watchPath(""))
	}
	awaitWaiting(t, s.Endpoint(instance().ID), watchers)
	bound := instance()
	bound.KeyPairName, bound.PublicKey = "pair", keyA
	mustSet(t, s, bound)
	for n, conn := range conns {
		if text := rest(t, conn); !strings.HasSuffix(text, "\r\n\r\n0/\npair/") {
			t.Fatalf("watcher %d: %q", n, text)
		}
	}
}

// A hang-up, a change and the end of the time at the same moment end a watch once.
func TestTheEndsOfAWatchDoNotMeet(t *testing.T) {
	e := imds.New(instance())
	address := startServer(t, e)
	for n := range 200 {
		conn := open(t, address, "GET", watchPath("&timeout_sec=1"))
		awaitWaiting(t, e, 1)
		var ends sync.WaitGroup
		ends.Go(func() { _ = conn.Close() })
		ends.Go(func() { e.Bind(fmt.Sprint(n), keyA) })
		ends.Go(e.HangUp)
		ends.Wait()
		awaitWaiting(t, e, 0)
	}
}
