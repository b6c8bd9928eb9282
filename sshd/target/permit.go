package target

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// The directions of a forwarding, in the words of AllowTcpForwarding: the client listens, or the server does.
const (
	localForwarding  = "local"
	remoteForwarding = "remote"
)

// mayOpen tells why a channel to the host and port is denied. Like sshd it compares text and resolves nothing, so that
// another spelling of an address that is allowed is denied.
func (l *login) mayOpen(host string, port int) error {
	if err := l.mayForward(localForwarding); err != nil {
		return err
	}
	matches := func(end authkeys.HostPort) bool { return end.Matches(host, port) }
	if !anyEnd(l.policy.ends("permitopen"), matches) {
		return errors.New("not listed in PermitOpen")
	}
	if !l.proof.all(func(o *authkeys.Options) bool { return len(o.PermitOpen) == 0 || anyEnd(o.PermitOpen, matches) }) {
		return errors.New("not listed in permitopen of the key's line")
	}
	return nil
}

// mayListen tells why listening on the host and port is denied.
func (l *login) mayListen(host string, port int) error {
	if err := l.mayForward(remoteForwarding); err != nil {
		return err
	}
	if port > 0 && port < firstUnprivilegedPort && l.policy.who.UID != 0 {
		return errors.New("a privileged port, which only root may listen on")
	}
	matches := func(end authkeys.HostPort) bool { return matchesListener(end, host, port) }
	if !anyEnd(l.policy.ends("permitlisten"), matches) {
		return errors.New("not listed in PermitListen")
	}
	if !l.proof.all(func(o *authkeys.Options) bool { return len(o.PermitListen) == 0 || anyEnd(o.PermitListen, matches) }) {
		return errors.New("not listed in permitlisten of the key's line")
	}
	return nil
}

// firstUnprivilegedPort is IPPORT_RESERVED.
const firstUnprivilegedPort = 1024

// mayOpenPath tells why a channel to a Unix-domain socket is denied. In sshd everything that limits TCP limits it too,
// so that of ends only those for any host and any port let a path through.
func (l *login) mayOpenPath(path string) error {
	if err := l.policy.allows("AllowStreamLocalForwarding", localForwarding); err != nil {
		return err
	}
	return l.mayOpen(path, noPort)
}

// noPort is no end's port.
const noPort = -1

// mayListenPath tells why listening on a Unix-domain socket is denied. In sshd AllowTcpForwarding denies it too, while
// PermitListen has no say.
func (l *login) mayListenPath() error {
	if err := l.policy.allows("AllowStreamLocalForwarding", remoteForwarding); err != nil {
		return err
	}
	return l.mayForward(remoteForwarding)
}

// mayForward is what every forwarding needs.
func (l *login) mayForward(direction string) error {
	switch {
	case l.policy.is("disableforwarding"):
		return errors.New("DisableForwarding is yes")
	case !l.proof.all(func(o *authkeys.Options) bool { return o.PortForwarding }):
		return errors.New("the key's line does not grant port-forwarding")
	}
	return l.policy.allows("AllowTcpForwarding", direction)
}

// allows reads a keyword that is yes, all, no, local or remote.
func (p *policy) allows(keyword, direction string) error {
	switch word := p.value(strings.ToLower(keyword)); word {
	case "yes", "all", direction:
		return nil
	default:
		return fmt.Errorf("%s is %s", keyword, word)
	}
}

// ends are those that PermitOpen or PermitListen lists.
func (p *policy) ends(keyword string) []authkeys.HostPort {
	ends, err := parseEnds(keyword, p.args(keyword))
	if err != nil {
		return nil // LoadConfig lets none through; it permits nothing
	}
	return ends
}

func anyEnd(ends []authkeys.HostPort, matches func(authkeys.HostPort) bool) bool {
	for _, end := range ends {
		if matches(end) {
			return true
		}
	}
	return false
}

// matchesListener compares as sshd does for permitlisten: the host, in lower case, with a pattern of * and ?, which is
// no list.
func matchesListener(end authkeys.HostPort, host string, port int) bool {
	pattern := withoutBrackets(end.Host)
	return (end.Port == 0 || end.Port == port) && sshd.MatchesPattern(strings.ToLower(host), pattern)
}

func withoutBrackets(host string) string {
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		return host[1 : len(host)-1]
	}
	return host
}

// parseEnds reads the arguments of PermitOpen or PermitListen: any, none, or ends.
func parseEnds(keyword string, args []string) ([]authkeys.HostPort, error) {
	if len(args) == 1 && args[0] == "any" {
		return []authkeys.HostPort{{Host: "*"}}, nil
	}
	if len(args) == 1 && args[0] == "none" {
		return nil, nil
	}
	var ends []authkeys.HostPort
	for _, arg := range args {
		if keyword == "permitlisten" && !strings.Contains(arg, ":") {
			arg = "*:" + arg
		}
		end, err := parseEnd(arg)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", arg, err)
		}
		ends = append(ends, end)
	}
	return ends, nil
}

// parseEnd reads host:port, where an IPv6 address is in brackets and the port may be a service's name (services(5))
// or *.
func parseEnd(arg string) (authkeys.HostPort, error) {
	host, port, found := strings.Cut(arg, ":")
	if strings.HasPrefix(arg, "[") {
		host, port, found = strings.Cut(arg, "]:")
		host += "]"
	}
	if !found {
		return authkeys.HostPort{}, errors.New("expected host:port")
	}
	if port == "*" {
		return authkeys.HostPort{Host: host}, nil
	}
	number, err := net.LookupPort("tcp", port)
	if err != nil || number == 0 {
		return authkeys.HostPort{}, errors.New("expected a port from 1 to 65535, or *, after the host")
	}
	return authkeys.HostPort{Host: host, Port: number}, nil
}

// bindMask reads StreamLocalBindMask.
func bindMask(octal string) (uint32, error) {
	mask, err := strconv.ParseUint(octal, 8, 9)
	if err != nil {
		return 0, errors.New("expected an octal mask from 0 to 0777")
	}
	return uint32(mask), nil
}
