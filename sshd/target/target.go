package target

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	glssh "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"
)

// Options say what a Server lets in. The zero value lets nobody in.
type Options struct {
	// Root is the folder below which every path here, in the configuration and in /etc/passwd is; "" means "/".
	Root string

	// AuthorizedKeysFile is one or more paths, separated by blanks, with the tokens %u, %U, %h and %% of
	// sshd_config(5); a relative path is below the user's home. It takes the place of the configuration's.
	// A pattern without %h, %U and with a leading "/" serves users who have no account.
	AuthorizedKeysFile string

	// Passwords are the passwords by user name, for both password and keyboard-interactive. An
	// empty password never lets anyone in.
	Passwords map[string]string

	// SSHDConfig is the path of an sshd_config; "" means none: then every method that Options give a
	// secret for is offered, to root too.
	SSHDConfig string

	// Overrides are lines that come before the configuration's, as sshd's -o.
	Overrides []string

	// HostKeys replace those that the configuration names. Where neither names one, an ed25519 key is
	// made for the life of the Server.
	HostKeys []ssh.Signer

	// Run runs one session and returns its exit status; nil means [Shell].
	Run func(context.Context, Session) int

	// Log is told of every attempt to log in, from many goroutines at once; nil tells nobody.
	Log func(Attempt)
}

// Server is an SSH server. Its methods may be called from several goroutines.
type Server struct {
	options Options
	config  atomic.Pointer[Config]
	ssh     *glssh.Server

	starting atomic.Int64 // connections that have not logged in yet
	running  sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
	conns     map[net.Conn]struct{}
}

// ErrClosed is what Serve and ServeConn return after Close.
var ErrClosed = errors.New("the SSH server is closed")

// New returns a server that is ready to serve. An error names the file, and the line where there is one.
func New(options Options) (*Server, error) {
	s := &Server{
		options:   options,
		listeners: map[net.Listener]struct{}{},
		conns:     map[net.Conn]struct{}{},
	}
	if s.options.Run == nil {
		s.options.Run = Shell
	}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	keys, err := s.hostKeys()
	if err != nil {
		return nil, err
	}
	s.ssh = s.newSSH(keys)
	return s, nil
}

// Reload reads the configuration again, as sshd does on SIGHUP. Connections that are being served keep the one they
// began with, and after an error so does the Server. The authorized keys need no reload.
func (s *Server) Reload() error {
	config, err := LoadConfig(s.options.Root, s.options.SSHDConfig, s.options.Overrides...)
	if err != nil {
		return err
	}
	s.config.Store(config)
	return nil
}

// HostKey is the public key by which the server proves itself; of several, the first.
func (s *Server) HostKey() ssh.PublicKey { return s.ssh.HostSigners[0].PublicKey() }

// Addr is the address of a listener that is being served, nil when there is none.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.listeners {
		return l.Addr()
	}
	return nil
}

// newSSH sets up the library so that nothing it does by default for authentication can be reached. With no
// handler of its own set it turns on the method "none", which is refused in [authentication.none].
func (s *Server) newSSH(keys []ssh.Signer) *glssh.Server {
	server := &glssh.Server{
		Version:                "latchkey",
		Handler:                s.runSession,
		SessionRequestCallback: s.countSession,
		ConnCallback:           s.beginConn,
		ServerConfigCallback:   serverConfig,
		ChannelHandlers:        map[string]glssh.ChannelHandler{"session": s.serveChannel},
		RequestHandlers:        map[string]glssh.RequestHandler{},
		SubsystemHandlers:      map[string]glssh.SubsystemHandler{},
	}
	for _, key := range keys {
		server.AddHostKey(key)
	}
	return server
}

func (s *Server) hostKeys() ([]ssh.Signer, error) {
	if len(s.options.HostKeys) > 0 {
		return s.options.HostKeys, nil
	}
	if files := s.config.Load().HostKeys(); len(files) > 0 {
		return readHostKeys(s.options.Root, files)
	}
	key, err := newHostKey()
	if err != nil {
		return nil, fmt.Errorf("make a host key: %w", err)
	}
	return []ssh.Signer{key}, nil
}
