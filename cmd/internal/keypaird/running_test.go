package keypaird

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// running is the region that a script has started.
type running struct {
	cmd     *exec.Cmd // nil before the first
	stdout  io.ReadCloser
	stderr  bytes.Buffer
	ended   chan struct{}
	watches map[string]chan string // status of the answer, or the error
	flood   []net.Conn
}

func (r *running) start(ts *testscript.TestScript, args []string) (err error) {
	program, err := exec.LookPath("keypaird") // testscript has put it there
	if err != nil {
		return err
	}
	r.cmd = exec.Command(program, args...)
	if files := ts.Getenv("FILES"); files != "" {
		r.cmd = exec.Command("sh", append([]string{"-c", `ulimit -n "$0" && exec keypaird "$@"`, files}, args...)...)
	}
	r.cmd.Dir = ts.MkAbs(".")
	r.cmd.Env = append(os.Environ(), "SECRET_OF_KEYPAIRD=1")
	r.stderr.Reset()
	r.cmd.Stderr = &r.stderr
	if r.stdout, err = r.cmd.StdoutPipe(); err != nil {
		return err
	}
	return r.cmd.Start()
}

// said is the line with which a region says that it can be asked.
type said struct {
	ready
	text string
}

// firstLine waits for that line. One that ends without is an error with what it said instead.
func (r *running) firstLine() (said, error) {
	silent := time.AfterFunc(patience, func() { _ = r.cmd.Process.Kill() })
	defer silent.Stop()
	lines := bufio.NewReader(r.stdout)
	text, err := lines.ReadString('\n')
	r.ended = make(chan struct{})
	go func() {
		defer close(r.ended)
		_, _ = io.Copy(io.Discard, lines)
		_ = r.cmd.Wait() // how it ended is in ProcessState
	}()
	if err != nil {
		<-r.ended
		return said{}, fmt.Errorf("keypaird has not started: %w\n%s", err, r.stderr.Bytes())
	}
	line := said{text: text}
	return line, json.Unmarshal([]byte(text), &line.ready)
}

// end sends the signal and returns the exit status, which is -1 after SIGKILL.
func (r *running) end(signal string) (int, error) {
	if err := r.cmd.Process.Signal(map[string]os.Signal{"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}[signal]); err != nil {
		return 0, err
	}
	select {
	case <-r.ended:
		return r.cmd.ProcessState.ExitCode(), nil
	case <-time.After(patience):
		return 0, errors.New("keypaird does not end")
	}
}

// kill ends what still runs.
func (r *running) kill() {
	for _, conn := range r.flood {
		_ = conn.Close()
	}
	r.flood = nil
	if r.ended == nil {
		return
	}
	_ = r.cmd.Process.Kill() // gone already is as good
	<-r.ended
}

// watch asks what is told once what is bound is no longer what it is now. It returns as soon
// as that is asked.
func (r *running) watch(name, endpoint string) error {
	url := endpoint + "/latest/meta-data/public-keys/"
	now, err := get(context.Background(), url)
	if err != nil {
		return err
	}
	if r.watches == nil {
		r.watches = make(map[string]chan string)
	}
	answered, asked := make(chan string, 1), make(chan struct{})
	r.watches[name] = answered
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { close(asked) },
	})
	go func() {
		then, err := get(ctx, url+"?wait_for_change=true&last_etag="+now.etag)
		if err != nil {
			answered <- err.Error()
			return
		}
		answered <- strconv.Itoa(then.status)
	}()
	select {
	case <-asked:
		return nil
	case why := <-answered:
		return errors.New(why)
	}
}

// hold makes connections that ask for something and stay, until the region is ended.
func (r *running) hold(count int, url, request string) error {
	for range count {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			return err
		}
		r.flood = append(r.flood, conn)
		_, _ = io.WriteString(conn, request) // one that was refused may be closed
	}
	return nil
}

// answer is one of the metadata endpoint.
type answer struct {
	status     int
	body, etag string
}

func get(ctx context.Context, url string) (answer, error) {
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return answer{}, err
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, string(text), response.Header.Get("ETag")}, err
}
