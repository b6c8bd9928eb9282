package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/user"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/sshd/target"
)

// announcement is the line that says how to log in.
type announcement struct {
	Address     string `json:"address"` // host:port
	Host        string `json:"host"`
	Port        int    `json:"port"`
	HostKey     string `json:"host_key"`    // type and base64
	Fingerprint string `json:"fingerprint"` // of the host key, SHA256:…
	KnownHosts  string `json:"known_hosts"` // lines for a known_hosts file, each with its newline
	PID         int    `json:"pid"`

	User       string      `json:"user,omitempty"`        // one who may log in
	PrivateKey string      `json:"private_key,omitempty"` // OpenSSH's format; only the one that was made for this run
	Users      []userEntry `json:"users,omitempty"`
	SSHConfig  string      `json:"ssh_config,omitempty"` // path, for ssh -F
}

// userEntry is a user who was named. A password that was given is not told again.
type userEntry struct {
	Name     string `json:"name"`
	Password string `json:"password,omitempty"`
	Methods  string `json:"methods,omitempty"`
}

// announce prints the line.
func (p *program) announce(server *target.Server, address *net.TCPAddr, accounts []account, sshConfig string) error {
	a := announcement{
		Address: address.String(), Host: address.IP.String(), Port: address.Port,
		HostKey:     strings.TrimSpace(string(ssh.MarshalAuthorizedKey(server.HostKey()))),
		Fingerprint: ssh.FingerprintSHA256(server.HostKey()),
		KnownHosts:  server.KnownHosts(),
		PID:         os.Getpid(),
		PrivateKey:  string(server.ClientKeyPEM()),
		SSHConfig:   sshConfig,
	}
	for _, of := range accounts {
		entry := userEntry{Name: of.Name, Methods: of.Methods}
		if of.generated {
			entry.Password = of.Password
		}
		a.Users = append(a.Users, entry)
	}
	a.User = p.someUser(a.Users)
	encoder := json.NewEncoder(p.stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(a); err != nil {
		return fmt.Errorf("say where it listens: %w", err)
	}
	return nil
}

// someUser is the first who was named; where anybody may log in, whoever runs the program.
func (p *program) someUser(users []userEntry) string {
	if len(users) > 0 {
		return users[0].Name
	}
	if p.sshdConfig() != "" {
		return "" // the configuration decides, and the accounts
	}
	if me, err := user.Current(); err == nil {
		return me.Username
	}
	return "root"
}
