package sshd

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"
)

// Penalties of OpenSSH 9.8 and later (PerSourcePenalties in sshd_config(5)):
// each conversation without a logon costs its source address 5 s, and above
// 15 s outstanding nobody gets in from there. Six seconds between questions
// never get near.
const (
	listenerPause    = 6 * time.Second
	listenerAttempts = 4
	dialTimeout      = 2 * time.Second
)

// Question is what the running listener is asked. It is a small plain value:
// a process without privilege can ask it.
type Question struct {
	Address string     // host:port
	User    string     // logon user
	Key     *PublicKey // nil: ask for the methods only
	HostKey []byte     // blob of the only host key that may answer
}

// Ask asks the running listener once.
func (q Question) Ask(ctx context.Context) Answer {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", q.Address)
	if err != nil {
		return Answer{Key: Unknown, Reason: err.Error()}
	}
	return ask(ctx, conn, &query{user: q.User, key: q.Key, pin: q.HostKey})
}

// Persist asks until there is an answer, a few times at most and never faster
// than a listener's penalties allow. The pause after a connection that was
// refused is short: that is a listener which is just starting.
func (q Question) Persist(ctx context.Context) Answer {
	var answer Answer
	pause := 10 * time.Millisecond
	for refused, asked := 0, 0; asked < listenerAttempts && refused < 8; {
		answer = q.Ask(ctx)
		if answer.Key != Unknown || (q.Key == nil && answer.Methods != nil) {
			return answer
		}
		wait := listenerPause
		if strings.Contains(answer.Reason, "connection refused") {
			refused++
			wait, pause = pause, 2*pause
		} else {
			asked++
		}
		if !sleep(ctx, wait) {
			return answer
		}
	}
	return answer
}

// sleep waits, or tells that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// ListenAddress is where the listener of config can be reached from the
// instance itself: loopback where it listens everywhere, else its first
// address.
func (c Config) ListenAddress() string {
	var first string
	for _, value := range c["listenaddress"] {
		host, port, err := net.SplitHostPort(strings.Fields(value)[0])
		if err != nil {
			continue
		}
		switch host {
		case "0.0.0.0":
			return net.JoinHostPort("127.0.0.1", port)
		case "::":
			host = "::1"
		}
		if first == "" {
			first = net.JoinHostPort(host, port)
		}
	}
	if first == "" {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Ports()[0]))
	}
	return first
}

// Port is the port that LocalPort in a Match block is tested against.
func (f *Files) Port() int { return f.text.port() }

// configuredPort is the port that a configuration file names.
func (d *Daemon) configuredPort(config string) int {
	text, err := ReadText(d.Root, config)
	if err != nil {
		return defaultPort
	}
	return text.port()
}

// defaultPort is where sshd listens when nothing is said (RFC 4253, section 4.1).
const defaultPort = 22

func (t *Text) port() int {
	for _, directive := range t.Directives {
		if directive.Keyword == "port" && directive.Match == nil && len(directive.Args) == 1 {
			if port, err := strconv.Atoi(directive.Args[0]); err == nil {
				return port
			}
		}
	}
	return defaultPort
}
