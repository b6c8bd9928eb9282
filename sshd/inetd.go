package sshd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// answerTimeout bounds one conversation. A sound sshd needs 25 to 55 ms; a
// PAM stack that asks a directory server may take seconds.
const answerTimeout = 10 * time.Second

// inetd is an sshd -i that serves one connection of ours: no listener, no
// reload. It shows a configuration before any listener has it.
type inetd struct {
	conn net.Conn
	cmd  *exec.Cmd
	log  *boundedLog
}

// startInetd runs sshd -i under the configuration file config, a path below
// Root. What it has to say goes to log instead of the journal: the instance's
// log shows real logons only.
func (d *Daemon) startInetd(ctx context.Context, config string) (*inetd, error) {
	ours, theirs, err := d.clientPair(ctx)
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	cmd := d.command(ctx, "-i", "-e", "-f", config, "-o", "LogLevel=DEBUG1")
	log := &boundedLog{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, log
	if err := cmd.Start(); err != nil {
		ours.Close()
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%w at %s", ErrMissing, d.Program())
		}
		return nil, fmt.Errorf("start %s -i: %w", d.Program(), err)
	}
	return &inetd{conn: ours, cmd: cmd, log: log}, nil
}

// end closes the conversation and waits for sshd to be gone; its log is whole
// then.
func (i *inetd) end() []string {
	_ = i.conn.Close()
	_ = i.cmd.Wait()
	return i.log.lines()
}

// exited tells, after end, whether sshd ended of its own will: what it did
// until then was its verdict, not an accident.
func (i *inetd) exited() bool {
	return i.cmd.ProcessState != nil && i.cmd.ProcessState.Exited()
}

// QueryInetd asks an sshd -i under config whether it would let user in with
// key, question (a) of a proof. The log is sshd's own account of it.
func (d *Daemon) QueryInetd(ctx context.Context, config, user string, key *PublicKey) (Answer, []string) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	answer, log := d.queryInetd(ctx, config, &query{user: user, key: key})
	if answer.Key == Unknown && d.makeRunFolder(strings.Join(log, "\n")) {
		answer, log = d.queryInetd(ctx, config, &query{user: user, key: key})
	}
	if answer.Key == Unknown && answer.Methods == nil {
		if said := fatalLine(log); said != "" {
			answer.Reason += ": " + said
		}
	}
	return answer, log
}

func (d *Daemon) queryInetd(ctx context.Context, config string, q *query) (Answer, []string) {
	server, err := d.startInetd(ctx, config)
	if err != nil {
		return Answer{Key: Unknown, Reason: err.Error()}, nil
	}
	answer := ask(ctx, server.conn, q)
	return answer, server.end()
}

// fatalLine is what an sshd said that could not even begin.
func fatalLine(log []string) string {
	for i := len(log) - 1; i >= 0; i-- {
		if line := strings.TrimSpace(log[i]); line != "" && !strings.HasPrefix(line, "debug") {
			return line
		}
	}
	return ""
}

// boundedLog keeps the first 256 KiB of what sshd says.
type boundedLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

const maxLog = 256 << 10

func (l *boundedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if room := maxLog - l.text.Len(); room > 0 {
		l.text.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (l *boundedLog) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := strings.ReplaceAll(l.text.String(), "\r", "")
	return strings.Split(strings.TrimRight(text, "\n"), "\n")
}
