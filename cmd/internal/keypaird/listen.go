package keypaird

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/cmd/internal/cli"
	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/ecsapi"
	"github.com/latchkey-ssh/latchkey/keypair/imds"
	"github.com/latchkey-ssh/latchkey/systemd"
)

// Bounds on what a client may take of a server.
const (
	headerTime = 5 * time.Second
	readTime   = 15 * time.Second
	writeTime  = 30 * time.Second
	idleTime   = 2 * time.Minute
	maxHeader  = 16 << 10 // bytes, where no parameters are in the request line

	// farewell is how long answers under way have when the program ends.
	farewell = 3 * time.Second
)

// servers are those of one run.
type servers struct{ all []server }

// server is one with the listener it serves.
type server struct {
	*http.Server
	listener net.Listener
	tls      bool
}

// addAPI listens for the ECS API and returns its URL.
func (s *servers) addAPI(flags service, handler http.Handler) (string, error) {
	secure := flags.certificate != "" || flags.key != ""
	if err := checkPlain(flags, secure); err != nil {
		return "", err
	}
	added := server{Server: &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime,
		IdleTimeout: idleTime, MaxHeaderBytes: ecsapi.MaxHeaderBytes,
	}, tls: secure}
	scheme := "http://"
	if secure {
		if flags.certificate == "" || flags.key == "" {
			return "", cli.UsageError{Err: errors.New("--tls-cert and --tls-key go together")}
		}
		pair, err := tls.LoadX509KeyPair(flags.certificate, flags.key)
		if err != nil {
			return "", cli.UsageError{Err: fmt.Errorf("--tls-cert, --tls-key: %w", err)}
		}
		added.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
		scheme = "https://"
	}
	address, err := s.listen(added, flags.listen)
	return scheme + address, err
}

// checkPlain keeps what is signed but not encrypted, private keys among it, off the network.
func checkPlain(flags service, secure bool) error {
	host, _, err := net.SplitHostPort(flags.listen)
	if err != nil {
		return cli.UsageError{Err: fmt.Errorf("--listen %s: want HOST:PORT", flags.listen)}
	}
	ip := net.ParseIP(host)
	if secure || flags.plain || host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return cli.UsageError{Err: fmt.Errorf("--listen %s is no loopback address: CreateKeyPair answers with a private key, "+
		"so give --tls-cert and --tls-key (or --insecure-http where something else encrypts)", flags.listen)}
}

// addMetadata listens for the metadata endpoint: at ADDRESS, or at ID=ADDRESS for one instance.
func (s *servers) addMetadata(ctx context.Context, where string, region *keypair.Region, metadata *imds.Service) (imdsAt, error) {
	id, address, own := strings.Cut(where, "=")
	var handler http.Handler = metadata
	if own {
		if err := registerOnce(ctx, region, id); err != nil {
			return imdsAt{}, cli.UsageError{Err: fmt.Errorf("--imds %s: %w", where, err)}
		}
		handler = metadata.For(id)
	} else {
		id, address = "", where
	}
	// No time to write in: an answer may wait for a change. ReadTimeout would end the wait.
	added := server{Server: &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
	}}
	at, err := s.listen(added, address)
	if err != nil {
		return imdsAt{}, fmt.Errorf("--imds %s: %w", where, err)
	}
	return imdsAt{id, "http://" + at}, nil
}

// registerOnce registers an instance of which nothing but the id is known.
func registerOnce(ctx context.Context, region *keypair.Region, id string) error {
	_, err := region.Register(ctx, keypair.Instance{ID: id})
	if errors.Is(err, keypair.ErrInstanceExists) {
		return nil
	}
	return err
}

func (s *servers) listen(added server, address string) (string, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	added.listener = listener
	s.all = append(s.all, added)
	return listener.Addr().String(), nil
}

// addManagement listens on the management socket, which is born for its owner alone. One
// that a killed keypaird has left is taken away; the store's lock tells that none runs.
func (s *servers) addManagement(path string, handler http.Handler) error {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket && !answers(path) {
		_ = os.Remove(path)
	}
	before := unix.Umask(0o177)
	listener, err := net.Listen("unix", path)
	unix.Umask(before)
	if err != nil {
		return fmt.Errorf("management socket: %w", err)
	}
	s.all = append(s.all, server{
		Server:   &http.Server{Handler: handler, ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime},
		listener: listener,
	})
	return nil
}

func answers(socket string) bool {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// run serves until the context is over, or until a server cannot go on.
func (s *servers) run(ctx context.Context) error {
	failed := make(chan error, len(s.all))
	for _, one := range s.all {
		go func() { failed <- one.serve() }()
	}
	systemd.Ready()
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

func (s server) serve() error {
	if s.tls {
		return s.ServeTLS(s.listener, "", "")
	}
	return s.Serve(s.listener)
}

// close ends all servers; answers under way have a moment.
func (s *servers) close() {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	for _, one := range s.all {
		if one.Shutdown(ctx) != nil {
			_ = one.Close()
		}
		_ = one.listener.Close() // if it never served
	}
}
