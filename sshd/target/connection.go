package target

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	glssh "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/sshd"
)

// connection is one connection, under the configuration in force when it began.
//
// Nothing in it is an identity while nobody has logged in. What has been proved is handed from one step of the login to the next
// through the callbacks' own arguments, and ends in the Permissions of the finished connection; a key that was only
// asked about leaves no trace.
type connection struct {
	server *Server
	config *Config
	number uint64
	net    net.Conn
	remote string
	asked  sshd.Connection // without its user
	faults []Fault

	lifetime
	attempts attempts
	sessions atomic.Int64

	serving        sync.WaitGroup // channels, and requests that concern the whole connection
	noMoreSessions atomic.Bool
	forwards       forwards
	agentsAsked    atomic.Int64 // channels to the client's agent that wait for an answer

	mu       sync.Mutex
	client   string    // its identification; "" before the first attempt to log in
	policies []*policy // anybody's, of the user "", and that of who logs in
	login    *login
	programs map[*Session]struct{} // whose handlers run
	closed   bool                  // nothing more is served
}

func (s *Server) newConnection(conn net.Conn) *connection {
	c := &connection{
		server: s, config: s.config.Load(), number: s.connections.Add(1), net: conn, remote: host(conn.RemoteAddr()),
		faults: s.nextFaults(), lifetime: lifetime{began: time.Now(), gone: make(chan struct{})},
	}
	c.asked = sshd.Connection{
		Host: c.remote, Addr: c.remote,
		LAddr: host(conn.LocalAddr()), LPort: port(conn.LocalAddr()),
	}
	return c
}

// tell fills in what is known of the connection.
func (c *connection) tell(e Event) {
	e.Connection, e.Remote = c.number, c.remote
	c.mu.Lock()
	e.Client = c.client
	if c.login != nil && e.User == "" {
		e.User = c.login.user
	}
	c.mu.Unlock()
	c.server.tell(e)
}

// policyFor is what holds for a user on this connection. Like sshd, the account is looked up once.
func (c *connection) policyFor(user string) (*policy, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.policies {
		if p.conn.User == user {
			return p, nil
		}
	}
	asked := c.asked
	asked.User = user
	p, err := c.server.policyFor(c.config, asked)
	if err == nil {
		c.policies = append(c.policies, p)
	}
	return p, err
}

// forgetAnybody is called with the login of a user: what holds for others is not asked for again.
func (c *connection) forgetAnybody(user string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.policies = slices.DeleteFunc(c.policies, func(p *policy) bool { return p.conn.User != user })
}

// loginOf is who has logged in. It comes from the finished connection alone; without a proof there is nobody.
func (c *connection) loginOf(conn *ssh.ServerConn) (*login, bool) {
	if conn.Permissions == nil {
		return nil, false
	}
	did, ok := conn.Permissions.ExtraData[proofKey{}].(proof)
	if !ok {
		return nil, false
	}
	p, err := c.policyFor(conn.User())
	if err != nil {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.login == nil {
		c.login = &login{user: conn.User(), proof: did, policy: p, client: string(conn.ClientVersion())}
	}
	return c.login, true
}

// login is a user who has logged in.
type login struct {
	user   string
	client string // identification of the client
	proof  proof
	policy *policy
}

type contextKey struct{}

func connectionOf(ctx glssh.Context) *connection {
	c, _ := ctx.Value(contextKey{}).(*connection)
	return c
}

// enter begins to serve a channel or a request, unless the connection is gone.
func (c *connection) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.serving.Add(1)
	return true
}

// await returns when everything that the connection served has ended.
func (c *connection) await() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.serving.Wait()
}

// runs notes that a session's handler runs, until ended is called.
func (c *connection) runs(s *Session) (ended func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.programs == nil {
		c.programs = map[*Session]struct{}{}
	}
	c.programs[s] = struct{}{}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.programs, s)
	}
}

// onChannel is serve as the library calls it: with the user who has logged in, a panic kept to the channel, and
// the connection waiting for its end. A channel of nobody is refused.
func onChannel(serve func(*connection, *login, *ssh.ServerConn, ssh.NewChannel, glssh.Context)) glssh.ChannelHandler {
	return func(_ *glssh.Server, conn *ssh.ServerConn, channel ssh.NewChannel, ctx glssh.Context) {
		c := connectionOf(ctx)
		defer c.panicked()
		if !c.enter() {
			return
		}
		defer c.serving.Done()
		l, ok := c.loginOf(conn)
		if !ok {
			_ = channel.Reject(ssh.Prohibited, "nobody has logged in")
			return
		}
		c.watch.opened()
		defer c.watch.closed()
		serve(c, l, conn, channel, ctx)
	}
}

// onRequest is the same for a request that concerns the whole connection.
func onRequest(serve func(*connection, *login, *ssh.ServerConn, *ssh.Request, glssh.Context) (bool, []byte)) glssh.RequestHandler {
	return func(ctx glssh.Context, _ *glssh.Server, request *ssh.Request) (ok bool, reply []byte) {
		c := connectionOf(ctx)
		defer c.panicked()
		if !c.enter() {
			return false, nil
		}
		defer c.serving.Done()
		conn, _ := ctx.Value(glssh.ContextKeyConn).(*ssh.ServerConn)
		if conn == nil {
			return false, nil
		}
		l, ok := c.loginOf(conn)
		if !ok {
			return false, nil
		}
		return serve(c, l, conn, request, ctx)
	}
}
