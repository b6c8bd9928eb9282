package sshd

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Penalties of OpenSSH 9.8 and later (PerSourcePenalties in sshd_config(5)):
// each conversation without a logon costs its source address 5 s, and above
// 15 s outstanding nobody gets in from there. Six seconds between questions
// never get near; those of other processes do not add to it, see source.
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

// Ask asks the running listener once. What it refuses to an address of our own
// it is asked again from the usual one, which AllowUsers may name alone.
func (q Question) Ask(ctx context.Context) Answer {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	source := q.source()
	answer := q.askFrom(ctx, source)
	if answer.Key == Refused && source != nil {
		return q.askFrom(ctx, nil)
	}
	return answer
}

// askFrom asks from an address, nil for whichever the kernel takes.
func (q Question) askFrom(ctx context.Context, source net.Addr) Answer {
	dialer := net.Dialer{Timeout: dialTimeout, LocalAddr: source}
	conn, err := dialer.DialContext(ctx, "tcp", q.Address)
	if errors.Is(err, unix.EADDRNOTAVAIL) && source != nil {
		return q.askFrom(ctx, nil)
	}
	if err != nil {
		return Answer{Key: Unknown, Reason: err.Error()}
	}
	return ask(ctx, conn, &query{user: q.User, key: q.Key, pin: q.HostKey})
}

// source is where a question to a listener on 127.0.0.1 comes from: an address
// of the loopback network that nobody else has, another one each time. Whatever
// penalty the question earns stays there. So 127.0.0.1, from where people and
// programs of the instance log in, is never locked out, however many processes
// ask. Other listeners leave no choice.
func (q Question) source() net.Addr {
	if host, _, err := net.SplitHostPort(q.Address); err != nil || host != loopback.String() {
		return nil
	}
	return &net.TCPAddr{IP: net.IPv4(127, byte(1+rand.IntN(254)), byte(rand.IntN(256)), byte(1+rand.IntN(254)))}
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
// instance itself: loopback where it listens there, else its first address.
func (c Config) ListenAddress() string {
	var first string
	for _, address := range c.listenAddresses() {
		if address.Addr() == loopback {
			return address.String()
		}
		if first == "" {
			first = address.String()
		}
	}
	if first == "" {
		return net.JoinHostPort(loopback.String(), strconv.Itoa(c.Ports()[0]))
	}
	return first
}

// listenAddresses are the addresses listened on; in place of "everywhere"
// stands loopback.
func (c Config) listenAddresses() []netip.AddrPort {
	var addresses []netip.AddrPort
	for _, value := range c["listenaddress"] {
		text, _, _ := strings.Cut(value, " ") // "rdomain" may follow
		address, err := netip.ParseAddrPort(text)
		if err != nil {
			continue
		}
		switch address.Addr() {
		case netip.IPv4Unspecified():
			address = netip.AddrPortFrom(loopback, address.Port())
		case netip.IPv6Unspecified():
			address = netip.AddrPortFrom(netip.IPv6Loopback(), address.Port())
		}
		addresses = append(addresses, address)
	}
	return addresses
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
