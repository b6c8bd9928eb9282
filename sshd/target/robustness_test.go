package target

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// left is what connections must not leave behind in this process.
type left struct{ goroutines, files int }

func leftNow(t *testing.T) left {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return left{goroutines: runtime.NumGoroutine(), files: len(files)}
}

// awaitLeft waits until there is no more than there was.
func awaitLeft(t *testing.T, before left) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for now := leftNow(t); now.goroutines > before.goroutines || now.files > before.files; now = leftNow(t) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%+v, where there was %+v\n%s", now, before, stacks[:runtime.Stack(stacks, true)])
		}
		runtime.Gosched()
	}
}

var errLeaving = errors.New("leaving")

// aborts are connections that end early, by the stage they get to.
func aborts(s *Server) map[string]func(net.Conn) {
	talk := func(conn net.Conn, config *ssh.ClientConfig) ssh.Conn {
		c, channels, requests, err := ssh.NewClientConn(conn, "", config)
		if err != nil {
			return nil
		}
		go ssh.DiscardRequests(requests)
		go func() {
			for range channels { // the server opens none
			}
		}()
		return c
	}
	return map[string]func(net.Conn){
		"connect": func(net.Conn) {},
		"version": func(conn net.Conn) { _, _, _ = newRawClient(conn) },
		"kexinit": func(conn net.Conn) {
			if c, _, err := newRawClient(conn); err == nil {
				_ = c.write(rawKexInit())
			}
		},
		"host key": func(conn net.Conn) {
			config := s.ClientConfig("alice")
			config.HostKeyCallback = func(string, net.Addr, ssh.PublicKey) error { return errLeaving }
			talk(conn, config)
		},
		"keys": func(conn net.Conn) {
			config := s.ClientConfig("alice")
			config.Auth = nil
			talk(conn, config)
		},
		"login": func(conn net.Conn) { talk(conn, s.ClientConfig("alice")) },
		"session": func(conn net.Conn) {
			c := talk(conn, s.ClientConfig("alice"))
			if c == nil {
				return
			}
			if channel, requests, err := c.OpenChannel("session", nil); err == nil {
				go ssh.DiscardRequests(requests)
				_, _ = channel.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{"wait"}))
			}
		},
	}
}

func TestTenThousandAbortedConnectionsLeaveNothing(t *testing.T) {
	s := Start(t, WithSettings("MaxStartups 10000", "PerSourceMaxStartups none"), WithRun(func(ctx context.Context, _ *Session) int {
		<-ctx.Done()
		return 0
	}))
	before := leftNow(t)
	stages := aborts(s)
	total := 0
	for stage, n := range map[string]int{
		"connect": 4300, "version": 3000, "kexinit": 2000, "host key": 200, "keys": 200, "login": 150, "session": 150,
	} {
		total += n
		abort(t, s, n, stages[stage])
		awaitLeft(t, before)
	}
	if total != 10_000 {
		t.Errorf("%d connections", total)
	}
	client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("alice"))
	if err != nil {
		t.Fatalf("after all of them: %v", err)
	}
	_ = client.Close()
}

// abort opens and ends n connections, several at a time, each second one by a reset.
func abort(t *testing.T, s *Server, n int, stage func(net.Conn)) {
	t.Helper()
	var group sync.WaitGroup
	next := make(chan int)
	for range 8 {
		group.Go(func() {
			for i := range next {
				conn, err := net.Dial("tcp", s.Addr().String())
				if err != nil {
					t.Error(err)
					continue
				}
				stage(conn)
				if i%2 == 0 {
					_ = conn.(*net.TCPConn).SetLinger(0)
				}
				_ = conn.Close()
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	group.Wait()
}
