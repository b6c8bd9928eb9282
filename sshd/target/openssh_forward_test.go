package target

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// sshCommand is OpenSSH's own client.
func sshCommand(t *testing.T, s *Server, key testmachine.Key, options ...string) *exec.Cmd {
	t.Helper()
	known := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(known, []byte(s.KnownHosts()), 0o600); err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(testmachine.RequireProgram(t, "ssh"), append([]string{
		"-F", "none", "-p", port, "-i", key.PEM, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ExitOnForwardFailure=yes",
		"-o", "UserKnownHostsFile=" + known, "-o", "GlobalKnownHostsFile=none", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
	}, append(options, "alice@"+host)...)...)
}

func TestOpenSSHsClientForwards(t *testing.T) {
	key := newKey(t)
	s := Start(t, WithAuthorizedKeys(key.Line))
	dir := t.TempDir()
	tcp, socket := echo(t, "tcp", "127.0.0.1:0").Addr().String(), echo(t, "unix", filepath.Join(dir, "echo")).Addr().String()
	local, remote, port := filepath.Join(dir, "local"), filepath.Join(dir, "remote"), "127.0.0.1:"+freePort(t)
	for _, test := range []struct {
		name, option, value, network, address string
	}{
		{"local to TCP", "-L", local + "1:" + tcp, "unix", local + "1"},
		{"local to a socket", "-L", local + "2:" + socket, "unix", local + "2"},
		{"remote from TCP", "-R", port + ":" + tcp, "tcp", port},
		{"remote from a socket", "-R", remote + ":" + socket, "unix", remote},
		{"dynamic", "-D", "127.0.0.1:" + freePort(t), "socks", tcp},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := sshCommand(t, s, key, "-N", test.option, test.value)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
			var conn net.Conn
			until(t, "the client listens", func() (up bool) {
				var err error
				if conn, err = net.Dial(test.network, test.address); test.network == "socks" {
					conn, err = dialSOCKS(test.value, test.address)
				}
				return err == nil
			})
			defer conn.Close()
			say(t, conn.(streamConn), "through")
			if got := hear(t, conn); got != "through" {
				t.Errorf("heard %q", got)
			}
		})
	}
	t.Run("standard input", func(t *testing.T) {
		cmd := sshCommand(t, s, key, "-W", tcp)
		cmd.Stdin = strings.NewReader("through")
		if out, err := cmd.Output(); err != nil || string(out) != "through" {
			t.Errorf("%q, %v", out, err)
		}
	})
}

// dialSOCKS connects through a SOCKS proxy, version 4.
func dialSOCKS(proxy, address string) (net.Conn, error) {
	to, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", proxy)
	if err != nil {
		return nil, err
	}
	request := append([]byte{4, 1, byte(to.Port >> 8), byte(to.Port)}, to.IP.To4()...)
	var reply [8]byte
	if _, err = conn.Write(append(request, 0)); err == nil {
		_, err = io.ReadFull(conn, reply[:])
	}
	if err == nil && reply[1] != 90 {
		err = fmt.Errorf("the proxy says %d", reply[1])
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}
