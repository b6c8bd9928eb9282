package target

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// dialog is a session channel with its requests in a test's hands, as x/crypto's own session has not.
type dialog struct {
	ssh.Channel
	t        *testing.T
	client   *ssh.Client
	out, err output
	reading  sync.WaitGroup
	mu       sync.Mutex
	exit     string // how the program ended, once it has
}

// output can be read while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func newDialog(t *testing.T, client *ssh.Client) *dialog {
	t.Helper()
	channel, requests, err := client.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	d := &dialog{Channel: channel, t: t, client: client, exit: "no exit"}
	d.reading.Go(func() { _, _ = io.Copy(&d.out, channel) })
	d.reading.Go(func() { _, _ = io.Copy(&d.err, channel.Stderr()) })
	d.reading.Go(func() { d.readRequests(requests) })
	t.Cleanup(func() { _ = channel.Close() })
	return d
}

func (d *dialog) readRequests(requests <-chan *ssh.Request) {
	for r := range requests {
		exit := ""
		switch r.Type {
		case "exit-status":
			var e struct{ Status uint32 }
			_ = ssh.Unmarshal(r.Payload, &e)
			exit = fmt.Sprintf("exit %d", e.Status)
		case "exit-signal":
			var e struct {
				Name              string
				Core              bool
				Message, Language string
			}
			_ = ssh.Unmarshal(r.Payload, &e)
			exit = strings.TrimSpace(fmt.Sprintf("SIG%s core=%v %s", e.Name, e.Core, e.Message))
		}
		if exit != "" {
			d.mu.Lock()
			d.exit = exit
			d.mu.Unlock()
		}
		_ = r.Reply(false, nil)
	}
}

// ask sends a request, and is "yes" or "no".
func (d *dialog) ask(request string, fields any) string {
	d.t.Helper()
	payload := []byte(nil)
	if fields != nil {
		payload = ssh.Marshal(fields)
	}
	ok, err := d.SendRequest(request, true, payload)
	switch {
	case err != nil:
		d.t.Fatalf("%s: %v", request, err)
	case ok:
		return "yes"
	}
	return "no"
}

type oneString struct{ Text string }

func (d *dialog) exec(command string) string   { return d.ask("exec", oneString{command}) }
func (d *dialog) subsystem(name string) string { return d.ask("subsystem", oneString{name}) }
func (d *dialog) signal(name string) string    { return d.ask("signal", oneString{name}) }
func (d *dialog) setenv(name, value string) string {
	return d.ask("env", struct{ N, V string }{name, value})
}

func (d *dialog) pty(columns, rows uint32, modes string) string {
	return d.ask("pty-req", struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}{"vt100", columns, rows, 0, 0, modes})
}

func (d *dialog) window(columns, rows uint32) string {
	return d.ask("window-change", struct{ Columns, Rows, Width, Height uint32 }{columns, rows, 0, 0})
}

func (d *dialog) send(text string) {
	d.t.Helper()
	if _, err := io.WriteString(d, text); err != nil {
		d.t.Fatal(err)
	}
}

// wait polls until the output has the text.
func (d *dialog) wait(text string) {
	d.t.Helper()
	await(d.t, fmt.Sprintf("%q in the output", text), func() bool { return strings.Contains(d.out.String(), text) })
}

// end waits for the channel's end, and is what came of it.
func (d *dialog) end() string {
	d.t.Helper()
	over := make(chan struct{})
	go func() { d.reading.Wait(); close(over) }()
	select {
	case <-over:
	case <-time.After(20 * time.Second):
		d.t.Errorf("the session does not end: %q %q", d.out.String(), d.err.String())
		_ = d.Close()
	}
	result := d.out.String()
	if text := d.err.String(); text != "" {
		result += "stderr: " + text
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return result + d.exit
}

// await polls until it holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
