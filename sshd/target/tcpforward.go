package target

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"

	glssh "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"
)

// tcpipChannel is the payload of direct-tcpip and forwarded-tcpip (RFC 4254 section 7.2).
type tcpipChannel struct {
	Host       string
	Port       uint32
	Originator string
	OriginPort uint32
}

// tcpipForward is the payload of tcpip-forward and cancel-tcpip-forward (RFC 4254 section 7.1).
type tcpipForward struct {
	Host string
	Port uint32
}

const maxPort = 65535

var errNoSuchPort = errors.New("no such port")

// target is how an event names the end of a forwarding.
func target(network, host string, port uint32) string {
	if network == "unix" {
		return host
	}
	return net.JoinHostPort(host, strconv.FormatUint(uint64(port), 10))
}

// serveDirectTCPIP serves a channel to a host and port: ssh -L, -D and -W.
func (c *connection) serveDirectTCPIP(l *login, conn *ssh.ServerConn, channel ssh.NewChannel, ctx glssh.Context) {
	var asked tcpipChannel
	if !c.parse(conn, channel.ChannelType(), channel.ExtraData(), &asked, &asked.Host) {
		return
	}
	address := target("tcp", asked.Host, asked.Port)
	event := Event{Kind: Forward, Request: channel.ChannelType(), Target: address}
	switch denied := l.mayOpen(asked.Host, int(asked.Port)); {
	case asked.Port > maxPort:
		c.rejectForward(channel, event, ssh.Prohibited, errNoSuchPort)
	case denied != nil:
		c.rejectForward(channel, event, ssh.Prohibited, denied)
	case asked.Host == "": // which would be this machine to the dialler, and is nothing to sshd
		c.rejectForward(channel, event, ssh.ConnectionFailed, &net.DNSError{Err: "no host"})
	default:
		c.forwardTo(ctx, channel, event, "tcp", address)
	}
}

// answerTCPIPForward listens on a host and port: ssh -R. The reply tells the port where the client left it open.
func (c *connection) answerTCPIPForward(l *login, conn *ssh.ServerConn, request *ssh.Request, ctx glssh.Context) (bool, []byte) {
	var asked tcpipForward
	if !c.parse(conn, request.Type, request.Payload, &asked, &asked.Host) {
		return false, nil
	}
	sockets, err := listenTCP(ctx, l, asked, request.WantReply)
	port := asked.Port
	var reply []byte
	if err == nil && port == 0 {
		port = portOf(sockets[0].Addr())
		reply = ssh.Marshal(struct{ Port uint32 }{port})
	}
	return c.answerListener(ctx, conn, request, &forwardListener{
		sockets: sockets, network: "tcp", host: asked.Host, port: port, channelType: "forwarded-tcpip",
		payload: func(peer net.Conn) []byte { return forwardedTCPIP(asked.Host, peer) },
	}, reply, err)
}

func forwardedTCPIP(host string, peer net.Conn) []byte {
	from := peer.RemoteAddr().(*net.TCPAddr)
	return ssh.Marshal(tcpipChannel{
		Host: host, Port: portOf(peer.LocalAddr()), Originator: from.AddrPort().Addr().Unmap().String(), OriginPort: portOf(from),
	})
}

func portOf(addr net.Addr) uint32 { return uint32(addr.(*net.TCPAddr).Port) }

// answerCancelTCPIPForward closes what this client had asked for, by the same host, and by the port it was told.
func (c *connection) answerCancelTCPIPForward(_ *login, conn *ssh.ServerConn, request *ssh.Request, _ glssh.Context) (bool, []byte) {
	var asked tcpipForward
	if !c.parse(conn, request.Type, request.Payload, &asked, &asked.Host) {
		return false, nil
	}
	return c.answerCancel(request, "tcp", asked.Host, asked.Port), nil
}

func (c *connection) answerCancel(request *ssh.Request, network, host string, port uint32) bool {
	found := c.forwards.cancel(network, host, port)
	var why error
	if !found {
		why = errors.New("this connection has no such listener")
	}
	c.tellForward(Event{Request: request.Type, Target: target(network, host, port)}, why)
	return found
}

// listenTCP listens on every address that is meant. Those that cannot be had are passed over, as long as one can.
func listenTCP(ctx context.Context, l *login, asked tcpipForward, answered bool) ([]net.Listener, error) {
	if asked.Port > maxPort {
		return nil, errNoSuchPort
	}
	if err := l.mayListen(asked.Host, int(asked.Port)); err != nil {
		return nil, err
	}
	if asked.Port == 0 && !answered {
		return nil, errors.New("a free port was asked for, but no reply that would tell which")
	}
	addrs, err := l.policy.bindAddrs(ctx, asked.Host)
	if err != nil {
		return nil, err
	}
	return listenAll(ctx, addrs, uint16(asked.Port))
}

// listenAll listens on the same port of all addresses, a free one for 0.
func listenAll(ctx context.Context, addrs []netip.Addr, port uint16) ([]net.Listener, error) {
	var sockets []net.Listener
	var config net.ListenConfig
	why := errors.New("no address to listen on")
	for _, addr := range addrs {
		network := "tcp6" // which does not take IPv4 along
		if addr.Is4() {
			network = "tcp4"
		}
		socket, err := config.Listen(ctx, network, netip.AddrPortFrom(addr, port).String())
		if err != nil {
			why = err
			continue
		}
		port = uint16(portOf(socket.Addr()))
		sockets = append(sockets, socket)
	}
	if len(sockets) == 0 {
		return nil, why
	}
	return sockets, nil
}

var (
	everyAddr = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	loopbacks = []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})}
)

// bindAddrs are the addresses that a listener's host stands for, which GatewayPorts limits.
func (p *policy) bindAddrs(ctx context.Context, host string) ([]netip.Addr, error) {
	gateway := p.value("gatewayports")
	named := gateway == "clientspecified" && host != "localhost"
	switch {
	case gateway == "yes", named && (host == "" || host == "*"):
		return p.ofFamily(everyAddr), nil
	case named, host == "127.0.0.1", host == "::1":
		addrs, err := resolve(ctx, host)
		return p.ofFamily(addrs), err
	}
	return p.ofFamily(loopbacks), nil
}

// resolve looks a name up. An address is itself: the resolver takes "::" for every address of IPv4 too.
func resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	ctx, done := context.WithTimeout(ctx, forwardDialTimeout)
	defer done()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, err
}

// ofFamily are the addresses that AddressFamily leaves.
func (p *policy) ofFamily(addrs []netip.Addr) []netip.Addr {
	family := cmp.Or(strings.ToLower(p.value("addressfamily")), "any")
	var left []netip.Addr
	for _, addr := range addrs {
		if family == "any" || addr.Is4() == (family == "inet") {
			left = append(left, addr)
		}
	}
	return left
}
