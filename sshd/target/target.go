package target

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	glssh "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/sshd"
)

// Server is an SSH server. Its methods may be called from several goroutines.
type Server struct {
	options *options
	config  atomic.Pointer[Config]
	ssh     *glssh.Server
	record  record

	agedHostKey func() (ssh.Signer, error) // for OldAlgorithms

	connections atomic.Uint64 // so far
	startups    startups
	running     sync.WaitGroup
	closing     chan struct{} // closed by Close

	mu        sync.Mutex
	closed    bool
	listeners []net.Listener // in the order in which they were opened
	conns     map[*connection]struct{}
	faults    []Fault
	clientKey ssh.Signer
	clientPEM []byte
}

// ErrClosed is what Serve, ServeConn and Listen return after Close, and WaitFor where nothing more can come.
var ErrClosed = errors.New("the SSH server is closed")

// New returns a server that is ready to serve. An error names the file, and the line where there is one.
//
// Without any way to log in among the options, a key is made that lets in as any user: [Server.ClientKey].
func New(opts ...Option) (*Server, error) {
	s := &Server{
		options: newOptions(opts),
		conns:   map[*connection]struct{}{},
		closing: make(chan struct{}),
	}
	if err := s.options.check(); err != nil {
		return nil, err
	}
	if err := s.options.checkSFTP(); err != nil {
		return nil, err
	}
	s.faults = s.options.faults
	if err := s.makeClientKey(); err != nil {
		return nil, err
	}
	config, err := s.loadConfig()
	if err != nil {
		return nil, err
	}
	keys, err := s.hostKeys(config)
	if err != nil {
		return nil, err
	}
	s.ssh = s.newSSH(keys)
	s.agedHostKey = sync.OnceValues(func() (ssh.Signer, error) { return newAgedHostKey(keys) })
	return s, s.obey(config)
}

// Reload reads the configuration again, as sshd does on SIGHUP. Connections that are being served keep the one they
// began with, and after an error so does the Server. The authorized keys need no reload.
func (s *Server) Reload() error {
	config, err := s.loadConfig()
	if err != nil {
		return err
	}
	return s.obey(config)
}

func (s *Server) loadConfig() (*Config, error) {
	return LoadConfig(s.options.root, s.options.config, s.options.settings...)
}

// obey puts a configuration in force, for connections to come.
func (s *Server) obey(config *Config) (err error) {
	if config.hostKeys, err = config.algorithms.usable(s.ssh.HostSigners); err != nil {
		return err
	}
	if len(config.text.Blocks) == 0 {
		if config.setForAll, err = s.setFor(config, sshd.Connection{}); err != nil {
			return err
		}
	}
	s.config.Store(config)
	return nil
}

// HostKey is the public key by which the server proves itself; of several, the first.
func (s *Server) HostKey() ssh.PublicKey { return s.ssh.HostSigners[0].PublicKey() }

// Addr is the address of the listener that was opened first, of those that are still served; nil when there is none.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.listeners) == 0 {
		return nil
	}
	return s.listeners[0].Addr()
}

// newSSH sets up the library so that nothing it does by default for authentication, sessions or forwarding can be
// reached. With no handler of its own set it turns on the method "none", which is refused in [connection.none].
func (s *Server) newSSH(keys []ssh.Signer) *glssh.Server {
	server := &glssh.Server{
		Version: "latchkey",
		ChannelHandlers: map[string]glssh.ChannelHandler{
			"session":                        onChannel(unlessNoMore((*connection).serveSession)),
			"direct-tcpip":                   onChannel((*connection).serveDirectTCPIP),
			"direct-streamlocal@openssh.com": onChannel((*connection).serveDirectStreamLocal),
			"default":                        onChannel((*connection).refuseChannel),
		},
		RequestHandlers: map[string]glssh.RequestHandler{
			"tcpip-forward":                          onRequest((*connection).answerTCPIPForward),
			"cancel-tcpip-forward":                   onRequest((*connection).answerCancelTCPIPForward),
			"streamlocal-forward@openssh.com":        onRequest((*connection).answerStreamLocalForward),
			"cancel-streamlocal-forward@openssh.com": onRequest((*connection).answerCancelStreamLocalForward),
			"no-more-sessions@openssh.com":           onRequest((*connection).answerNoMoreSessions),
		},
		SubsystemHandlers: map[string]glssh.SubsystemHandler{},
	}
	for _, key := range firstOfEachType(keys) {
		server.AddHostKey(key)
	}
	return server
}

func (s *Server) hostKeys(config *Config) ([]ssh.Signer, error) {
	if len(s.options.hostKeys) > 0 {
		return s.options.hostKeys, nil
	}
	if files := config.HostKeys(); len(files) > 0 {
		return readHostKeys(s.options.root, files)
	}
	key, err := newHostKey()
	if err != nil {
		return nil, fmt.Errorf("make a host key: %w", err)
	}
	return []ssh.Signer{key}, nil
}
