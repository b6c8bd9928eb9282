package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/sshd"
	"github.com/latchkey-ssh/latchkey/sshd/target"
)

// serveStdin serves the connection that standard input is, as sshd -i does.
func (p *program) serveStdin() error {
	server, err := p.server()
	if err != nil {
		return err
	}
	defer server.Close()
	conn, err := net.FileConn(p.stdin)
	if err != nil {
		return fmt.Errorf("standard input is not a connection: %w", err)
	}
	return server.ServeConn(conn)
}

// listen serves until SIGTERM or SIGINT.
func (p *program) listen() error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	server, err := p.server()
	if err != nil {
		return err
	}
	defer server.Close()
	config, err := p.listenConfig()
	if err != nil {
		return err
	}
	listeners, err := listenOn(addresses(config))
	if err != nil {
		return err
	}
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { ended <- server.Serve(l) }()
	}
	pid := pidFile(p.root, config["pidfile"])
	if err := pid.write(); err != nil {
		return err
	}
	defer pid.remove()
	p.announce(listeners, server.HostKey())
	return await(server, pid, signals, ended)
}

// listenConfig is what holds for the listener, which no Match block can change.
func (p *program) listenConfig() (map[string][]string, error) {
	config, err := target.LoadConfig(p.root, p.config, p.lines()...)
	if err != nil {
		return nil, err
	}
	return config.Effective(sshd.Connection{})
}

// await obeys signals. A configuration that cannot be read ends the program, as it ends sshd.
func await(server *target.Server, pid pidPath, signals <-chan os.Signal, ended <-chan error) error {
	for {
		select {
		case err := <-ended:
			return err
		case s := <-signals:
			if s != syscall.SIGHUP {
				return nil
			}
			if err := server.Reload(); err != nil {
				return err
			}
			if err := pid.write(); err != nil {
				return err
			}
		}
	}
}

// addresses are host:port for every ListenAddress, with every Port where it names none.
func addresses(config map[string][]string) []string {
	var all []string
	for _, address := range config["listenaddress"] {
		if _, _, err := net.SplitHostPort(address); err == nil {
			all = append(all, address)
			continue
		}
		for _, port := range config["port"] {
			all = append(all, net.JoinHostPort(strings.Trim(address, "[]"), port))
		}
	}
	return all
}

func listenOn(addresses []string) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, address := range addresses {
		l, err := net.Listen("tcp", address)
		if err != nil {
			for _, open := range listeners {
				_ = open.Close()
			}
			return nil, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// announcement is what a caller needs to log in.
type announcement struct {
	Address     string `json:"address"` // host:port
	Host        string `json:"host"`
	Port        int    `json:"port"`
	HostKey     string `json:"host_key"` // type and base64, as in known_hosts
	Fingerprint string `json:"fingerprint"`
	PID         int    `json:"pid"`
}

func (p *program) announce(listeners []net.Listener, key ssh.PublicKey) {
	tcp := listeners[0].Addr().(*net.TCPAddr)
	line, _ := json.Marshal(announcement{
		Address: tcp.String(), Host: tcp.IP.String(), Port: tcp.Port,
		HostKey:     strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))),
		Fingerprint: ssh.FingerprintSHA256(key), PID: os.Getpid(),
	})
	fmt.Fprintf(p.stdout, "%s\n", line)
}

// pidPath is where the pid file is, "" for none.
type pidPath string

func pidFile(root string, setting []string) pidPath {
	if len(setting) == 0 || strings.EqualFold(setting[0], "none") {
		return ""
	}
	return pidPath(filepath.Join("/", root, setting[0]))
}

// write writes the pid file; anew after a reload, as sshd does, so that whoever asked for it sees it done.
func (p pidPath) write() error {
	if p == "" {
		return nil
	}
	if err := os.WriteFile(string(p), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return fmt.Errorf("write PidFile: %w", err)
	}
	return nil
}

func (p pidPath) remove() {
	if p == "" {
		return
	}
	if err := os.Remove(string(p)); err != nil && !errors.Is(err, os.ErrNotExist) {
		fmt.Fprintln(os.Stderr, "latchkey-sshd:", err)
	}
}
