package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/latchkey-ssh/latchkey/sshd"
	"github.com/latchkey-ssh/latchkey/sshd/target"
)

// serveStdin serves the connection that standard input is, or it and standard output, as sshd -i does.
func (p *program) serveStdin() error {
	server, _, err := p.server()
	if err != nil {
		return err
	}
	defer server.Close()
	conn, err := stdinConn(p.stdin, p.stdout)
	if err != nil {
		return err
	}
	return server.ServeConn(conn)
}

// listen serves until it is told to end.
func (p *program) listen() error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	server, accounts, err := p.server()
	if err != nil {
		return err
	}
	defer server.Close()
	config, err := p.listenConfig()
	if err != nil {
		return err
	}
	first, err := listenOn(server, addresses(config))
	if err != nil {
		return err
	}
	sshConfig := ""
	if p.writeTo != "" {
		files, config, err := writeClientFiles(server, p.writeTo)
		defer files.remove()
		if err != nil {
			return err
		}
		sshConfig = config
	}
	pid := pidFile(p.root, config["pidfile"])
	if err := pid.write(); err != nil {
		return err
	}
	defer pid.remove()
	if err := p.announce(server, first, accounts, sshConfig); err != nil {
		return err
	}
	return p.await(server, pid, signals)
}

// checkConfig finds what would keep the program from listening, but for ports that are taken.
func (p *program) checkConfig() error {
	if _, _, err := p.server(); err != nil {
		return err
	}
	config, err := p.listenConfig()
	if err != nil {
		return err
	}
	for _, address := range addresses(config) {
		if _, err := net.ResolveTCPAddr("tcp", address); err != nil {
			return fmt.Errorf("listen on %s: %w", address, err)
		}
	}
	return nil
}

// listenConfig is what holds for the listener, which no Match block can change. A configuration whose place
// it does not take has no say in it.
func (p *program) listenConfig() (map[string][]string, error) {
	path, lines := p.sshdConfig(), p.settings()
	if !p.inPlace() {
		path = ""
		if !slices.ContainsFunc(lines, isPort) {
			lines = append(lines, "Port 0")
		}
	}
	config, err := target.LoadConfig(p.root, path, lines...)
	if err != nil {
		return nil, err
	}
	return config.Effective(sshd.Connection{})
}

func isPort(line string) bool {
	d, err := sshd.ParseDirective(line)
	return err == nil && d.Name() == "port"
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

// listenOn listens on all of them, and returns where the first one is.
func listenOn(server *target.Server, addresses []string) (first *net.TCPAddr, err error) {
	for _, address := range addresses {
		at, err := server.Listen(address)
		if err != nil {
			return nil, portHint(err)
		}
		if first == nil {
			first = at.(*net.TCPAddr)
		}
	}
	return first, nil
}

// portHint says what to do where a port is not to be had.
func portHint(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: something else listens there; -p 0 takes a free port", err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: ports below 1024 are root's; -p 0 takes a free one", err)
	}
	return err
}

// await obeys signals. A configuration that cannot be read ends the program, as it ends sshd.
func (p *program) await(server *target.Server, pid pidPath, signals <-chan os.Signal) error {
	end := p.end()
	for {
		select {
		case <-end:
			return nil
		case s := <-signals:
			if s != syscall.SIGHUP {
				go hurry(signals)
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

// hurry ends the program at the second signal to end, whatever is still being ended.
func hurry(signals <-chan os.Signal) {
	for s := range signals {
		if s != syscall.SIGHUP {
			os.Exit(exitFailed)
		}
	}
}

// end is closed when --for or --until-eof ends the program.
func (p *program) end() <-chan struct{} {
	end := make(chan struct{})
	closeOnce := sync.OnceFunc(func() { close(end) })
	if p.lifetime > 0 {
		time.AfterFunc(p.lifetime, closeOnce)
	}
	if p.untilEOF {
		go func() {
			_, _ = io.Copy(io.Discard, p.stdin)
			closeOnce()
		}()
	}
	return end
}
