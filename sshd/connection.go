package sshd

import (
	"fmt"
	"net/netip"
)

// Connection is what Match blocks of sshd_config(5) are tested against: who
// logs in, from where, to where.
type Connection struct {
	User    string
	Groups  []string // names of User's groups; sshd -T looks them up itself
	Host    string   // client host name, or its address when it has none
	Addr    string   // client address
	LAddr   string   // address the client connected to
	LPort   int      // port the client connected to
	RDomain string   // routing domain, mostly empty
}

// Addresses for the two questions asked about every logon. Outside is from
// TEST-NET-3 (RFC 5737): no real client has it, so only Match blocks that
// speak of addresses in general, or of loopback, can tell the two apart.
var (
	loopback = netip.MustParseAddr("127.0.0.1")
	outside  = netip.MustParseAddr("203.0.113.77")
)

// FromLoopback is a logon of user at port from this instance itself.
func FromLoopback(user string, port int) Connection {
	return Connection{User: user, Host: "localhost", Addr: loopback.String(), LAddr: loopback.String(), LPort: port}
}

// FromOutside is a logon of user at port from some other machine.
func FromOutside(user string, port int) Connection {
	return Connection{User: user, Host: outside.String(), Addr: outside.String(), LAddr: "192.0.2.1", LPort: port}
}

// arg is c as the value of sshd's -C. All keys are always given: one that is
// missing makes its criterion silently not match, and a missing lport fails
// the whole command.
func (c Connection) arg() string {
	return fmt.Sprintf("user=%s,host=%s,addr=%s,laddr=%s,lport=%d,rdomain=%s",
		c.User, c.Host, c.Addr, c.LAddr, c.LPort, c.RDomain)
}
