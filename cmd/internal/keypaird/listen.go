package keypaird

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
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

// Bounds on what a client may take of a server. A watch of the metadata endpoint takes its connection out of
// those on time.
const (
	headerTime = 5 * time.Second
	readTime   = 15 * time.Second
	writeTime  = 30 * time.Second
	tellTime   = 10 * time.Second // for an answer of the metadata endpoint
	idleTime   = 15 * time.Second
	maxHeader  = 16 << 10 // bytes, where no parameters are in the request line

	// farewell is how long answers under way have when the program ends.
	farewell = 3 * time.Second
)

// servers are those of one run.
type servers struct {
	all    []server
	shares shares
	log    *slog.Logger
}

// newServers returns none yet, with what there may be of connections shared out among an API and so many
// listeners of the metadata endpoint.
func newServers(endpoints int, log *slog.Logger) (*servers, error) {
	var files unix.Rlimit // Go has raised it as far as it may
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return nil, os.NewSyscallError("getrlimit", err)
	}
	shares, err := shareOut(files.Cur, endpoints)
	return &servers{shares: shares, log: log}, err
}

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
	room := newRoom(s.shares.api, 0, s.log)
	added.ConnState = room.note
	address, err := s.listen(added, room, flags.listen)
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
		if err := registerOnce(ctx, region, id, s.log); err != nil {
			return imdsAt{}, cli.UsageError{Err: fmt.Errorf("--imds %s: %w", where, err)}
		}
		handler = metadata.For(id)
	} else {
		id, address = "", where
	}
	at, err := s.listen(server{Server: metadataServer(handler)}, newRoom(s.shares.endpoint, s.shares.source, s.log), address)
	if err != nil {
		return imdsAt{}, fmt.Errorf("--imds %s: %w", where, err)
	}
	return imdsAt{id, "http://" + at}, nil
}

// metadataServer gives a whole request no more time than its header: none has a body.
func metadataServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTime, ReadTimeout: headerTime, WriteTimeout: tellTime,
		IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
	}
}

// registerOnce registers an instance of which nothing but the id is known. That is logged: in a region that is
// kept, its instances are there, and one that is not may be a mistake.
func registerOnce(ctx context.Context, region *keypair.Region, id string, log *slog.Logger) error {
	_, err := region.Register(ctx, keypair.Instance{ID: id})
	if errors.Is(err, keypair.ErrInstanceExists) {
		return nil
	}
	if err == nil {
		log.Info("registered, since --imds names it and it was not there", "instance_id", id)
	}
	return err
}

func (s *servers) listen(added server, in *room, address string) (string, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	in.Listener, added.listener = listener, in
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
		Server:   &http.Server{Handler: handler, ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime},
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
