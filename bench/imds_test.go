package bench

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ssh/latchkey/keypair/imds"
)

const (
	imdsEnv   = "LATCHKEY_BENCH_IMDS" // in the process that serves: how many instances there are
	watchers  = 10_000
	imdsKey   = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9iqyKO0p7HKHzQ6Y+UVFoG8wOE42yG4xk4XFaxCc1t ada@desk"
	keyPath   = "/latest/meta-data/public-keys/0/openssh-key"
	watchPath = "/latest/meta-data/public-keys/?wait_for_change=true"
)

// hello is the peer: what net/http costs by itself.
func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

// source is the address that instance n asks from.
func source(n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 1, byte(n >> 8), byte(n)}) }

// TestServeForTheBench is no test but the process that serves: the endpoint of many instances,
// the peer, and on its standard input and output a few words to direct it.
func TestServeForTheBench(t *testing.T) {
	instances, err := strconv.Atoi(os.Getenv(imdsEnv))
	if err != nil {
		return
	}
	service := imds.NewService(imds.Options{WatchersPerInstance: watchers})
	defer service.Close()
	set := func(n, key int) {
		err := service.Set(imds.Instance{
			ID: "i-" + strconv.Itoa(n), Addresses: []netip.Addr{source(n)},
			KeyPairName: "pair-" + strconv.Itoa(key), PublicKey: imdsKey,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := range instances {
		set(n, 0)
	}
	fmt.Println(listen(t, service), listen(t, http.HandlerFunc(hello)))
	for key := 1; ; key++ {
		var word string
		var n int
		if _, err := fmt.Scan(&word, &n); err != nil {
			return
		}
		if word == "waiting" {
			fmt.Println(service.Endpoint("i-" + strconv.Itoa(n)).Waiting())
			continue
		}
		start := time.Now()
		set(n, key)
		fmt.Println(start.UnixNano())
	}
}

func listen(t *testing.T, handler http.Handler) net.Addr {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return listener.Addr()
}

// region is that process, as seen from here.
type region struct {
	cmd             *exec.Cmd
	in              io.Writer
	out             *bufio.Reader
	endpoint, hello string // addresses
}

func newRegion(b *testing.B, instances int) *region {
	b.Helper()
	r := &region{cmd: exec.Command(os.Args[0], "-test.run=^TestServeForTheBench$")}
	r.cmd.Env = append(os.Environ(), imdsEnv+"="+strconv.Itoa(instances))
	r.cmd.Stderr = os.Stderr
	in, err := r.cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = r.cmd.Wait()
	})
	r.in, r.out = in, bufio.NewReader(out)
	if _, err := fmt.Fscanln(r.out, &r.endpoint, &r.hello); err != nil {
		b.Fatal(err)
	}
	return r
}

// rebind binds another key to instance n, and returns when that began.
func (r *region) rebind(b *testing.B, n int) time.Time {
	b.Helper()
	return time.Unix(0, r.ask(b, "bind", n))
}

// awaitHeld waits until instance n has that many watches.
func (r *region) awaitHeld(b *testing.B, n, watches int) {
	b.Helper()
	for deadline := time.Now().Add(time.Minute); r.ask(b, "waiting", n) < int64(watches); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatal("the watches are not held")
		}
	}
}

func (r *region) ask(b *testing.B, word string, n int) (answer int64) {
	b.Helper()
	fmt.Fprintln(r.in, word, n)
	if _, err := fmt.Fscanln(r.out, &answer); err != nil {
		b.Fatal(err)
	}
	return answer
}

func (r *region) rss(b *testing.B) float64 {
	return statusField(b, fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid), "VmRSS:")
}

// cpu is the time that the process was on a processor (proc(5), /proc/PID/task/TID/schedstat).
func (r *region) cpu(b *testing.B) time.Duration {
	b.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", r.cmd.Process.Pid))
	if err != nil || len(files) == 0 {
		b.Fatalf("no threads of process %d: %v", r.cmd.Process.Pid, err)
	}
	var sum time.Duration
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			b.Fatal(err)
		}
		var ns time.Duration
		if _, err := fmt.Sscan(string(data), &ns); err != nil {
			b.Fatalf("read %s: %v", file, err)
		}
		sum += ns
	}
	return sum
}

// dial connects as instance n and sends a request.
func dial(b *testing.B, address string, n int, path string) net.Conn {
	b.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: source(n).AsSlice()}}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		b.Fatal(err)
	}
	return conn
}

// watch holds a watch of each instance that of names.
func (r *region) watch(b *testing.B, of func(int) int) []net.Conn {
	b.Helper()
	conns := make([]net.Conn, watchers)
	for n := range conns {
		conns[n] = dial(b, r.endpoint, of(n), watchPath)
	}
	b.Cleanup(func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	})
	return conns
}

// settled waits until the process no longer changes size, and returns that in kB.
func (r *region) settled(b *testing.B) float64 {
	b.Helper()
	size := r.rss(b)
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		time.Sleep(2 * time.Second)
		now := r.rss(b)
		if max(now-size, size-now) < size/100 {
			return now
		}
		size = now
	}
	return size
}

// get asks over a kept connection, again and again.
type get struct {
	conn   net.Conn
	ask    string
	answer []byte // as long as every answer
}

func newGet(b *testing.B, address, path string) *get {
	b.Helper()
	g := &get{ask: "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"}
	g.conn = dial(b, address, 0, path)
	b.Cleanup(func() { _ = g.conn.Close() })
	g.answer = make([]byte, 64<<10)
	n, err := g.conn.Read(g.answer)
	if err != nil || !strings.HasPrefix(string(g.answer[:n]), "HTTP/1.1 200 OK\r\n") {
		b.Fatalf("GET %s: %v\n%s", path, err, g.answer[:n])
	}
	g.answer = g.answer[:n]
	return g
}

func (g *get) times(b *testing.B, n int) {
	for range n {
		if _, err := io.WriteString(g.conn, g.ask); err != nil {
			b.Error(err)
			return
		}
		if _, err := io.ReadFull(g.conn, g.answer); err != nil {
			b.Error(err)
			return
		}
	}
}

// inParallel has each of them ask n times and returns how long that took.
func inParallel(b *testing.B, gets []*get, n int) time.Duration {
	start := time.Now()
	var workers sync.WaitGroup
	for _, g := range gets {
		workers.Go(func() { g.times(b, n) })
	}
	workers.Wait()
	return time.Since(start)
}

// BenchmarkKeyGet is how many times a second the key is had over kept connections, beside a
// net/http server that says hello, asked in turn by the same client.
func BenchmarkKeyGet(b *testing.B) {
	for _, instances := range []int{1, watchers} {
		b.Run(fmt.Sprintf("instances=%d", instances), func(b *testing.B) { benchmarkKeyGet(b, instances) })
	}
}

func benchmarkKeyGet(b *testing.B, instances int) {
	const conns, each = 8, 50
	r := newRegion(b, instances)
	var keys, peers []*get
	for range conns {
		keys = append(keys, newGet(b, r.endpoint, keyPath))
		peers = append(peers, newGet(b, r.hello, "/"))
	}
	var key, peer, keyCPU, peerCPU time.Duration
	for b.Loop() {
		start := r.cpu(b)
		key += inParallel(b, keys, each)
		middle := r.cpu(b)
		peer += inParallel(b, peers, each)
		keyCPU, peerCPU = keyCPU+middle-start, peerCPU+r.cpu(b)-middle
	}
	b.ReportMetric(float64(b.N*conns*each)/key.Seconds(), "key-gets/s")
	b.ReportMetric(float64(b.N*conns*each)/peer.Seconds(), "hellos/s")
	b.ReportMetric(float64(peer)/float64(key), "x-hello")
	b.ReportMetric(0.9, "goal-x-hello")
	b.ReportMetric(float64(peerCPU)/float64(keyCPU), "x-hello-CPU")
	b.Log("limit: net/http, which reads a longer request line and sends a longer body than a hello (the handler itself takes 0.13 µs); x-hello-CPU is of the server's time on a processor, which other work on the machine does not change")
}

// BenchmarkHeldWatchers is the memory of a watch that is held, one of each of 10,000
// instances, and the time from a new key to the answer of the watch of its instance.
func BenchmarkHeldWatchers(b *testing.B) {
	r := newRegion(b, watchers)
	inParallel(b, []*get{newGet(b, r.endpoint, keyPath)}, 10_000) // what the server needs anyway
	before := r.settled(b)
	conns := r.watch(b, func(n int) int { return n })
	held := r.settled(b)
	var took []time.Duration
	buffer := make([]byte, 4096)
	for i := 0; b.Loop(); i++ {
		n := i % watchers
		start := r.rebind(b, n)
		if _, err := conns[n].Read(buffer); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
		_ = conns[n].Close()
		conns[n] = dial(b, r.endpoint, n, watchPath)
		r.awaitHeld(b, n, 1)
	}
	b.ReportMetric((held-before)/watchers, "kB-RSS/watcher")
	b.ReportMetric(3, "goal-kB-RSS/watcher")
	reportP99(b, took, 5)
	b.Log("limit: of memory, net's connection and the garbage collector's room; of time, two processes to wake")
}

// BenchmarkWakeAll is the time from one new key to the answers of 10,000 watches of one
// instance.
func BenchmarkWakeAll(b *testing.B) {
	r := newRegion(b, watchers)
	var took []time.Duration
	for b.Loop() {
		conns := r.watch(b, func(int) int { return 0 })
		r.awaitHeld(b, 0, watchers)
		start := r.rebind(b, 0)
		took = append(took, readAll(b, conns, start)...)
	}
	reportP99(b, took, 1000)
	b.Log("limit: 10,000 times write and close on two cores, which the client needs too")
}

// readAll returns how long after start each had its answer.
func readAll(b *testing.B, conns []net.Conn, start time.Time) []time.Duration {
	took := make([]time.Duration, len(conns))
	var readers sync.WaitGroup
	for n, conn := range conns {
		readers.Go(func() {
			if _, err := conn.Read(make([]byte, 512)); err != nil {
				b.Error(err)
			}
			took[n] = time.Since(start)
			_ = conn.Close()
		})
	}
	readers.Wait()
	return took
}

func reportP99(b *testing.B, took []time.Duration, goal float64) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(milliseconds(took[len(took)*99/100]), "ms-p99")
	b.ReportMetric(goal, "goal-ms-p99")
}
