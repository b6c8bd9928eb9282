package target

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// WriteSSHConfig writes to dir what OpenSSH's client needs to log in, and returns the path of the ssh_config(5) among it, so
// that "ssh -F path NAME command" reaches the server whatever the NAME, and reads or writes nothing of the user's own. The other files
// are known_hosts and, where there is a [Server.ClientKey], id_ed25519 with mode 0600. dir is made where it is missing.
func (s *Server) WriteSSHConfig(dir string) (path string, err error) {
	address, ok := s.Addr().(*net.TCPAddr)
	if !ok {
		return "", errors.New("write ssh_config: the server listens on no TCP address")
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", fmt.Errorf("write ssh_config: %w", err)
	}
	if strings.ContainsAny(dir, "\"\n") || strings.Contains(dir, "${") {
		return "", fmt.Errorf("write ssh_config: the path %q cannot stand in it", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("write ssh_config: %w", err)
	}
	path = filepath.Join(dir, "config")
	files := map[string]string{path: s.sshConfig(dir, address), filepath.Join(dir, "known_hosts"): s.KnownHosts()}
	if key := s.ClientKeyPEM(); key != nil {
		files[filepath.Join(dir, "id_ed25519")] = string(key)
	}
	for name, content := range files {
		if err := writePrivate(name, content); err != nil {
			return "", fmt.Errorf("write ssh_config: %w", err)
		}
	}
	return path, nil
}

func (s *Server) sshConfig(dir string, address *net.TCPAddr) string {
	quoted := func(name string) string {
		return `"` + strings.ReplaceAll(filepath.Join(dir, name), "%", "%%") + `"`
	}
	identity := "none"
	if s.ClientKey() != nil {
		identity = quoted("id_ed25519")
	}
	var text strings.Builder
	fmt.Fprintln(&text, "Host *")
	for _, line := range [][2]string{
		{"HostName", address.IP.String()},
		{"Port", fmt.Sprint(address.Port)},
		{"UserKnownHostsFile", quoted("known_hosts")},
		{"GlobalKnownHostsFile", "/dev/null"},
		{"StrictHostKeyChecking", "yes"},
		{"UpdateHostKeys", "no"},
		{"IdentityFile", identity},
		{"IdentitiesOnly", "yes"},
		{"IdentityAgent", "none"},
	} {
		fmt.Fprintf(&text, "\t%s %s\n", line[0], line[1])
	}
	return text.String()
}

// writePrivate writes a file with mode 0600, whatever it had: ssh takes no key that others can read.
func writePrivate(path, content string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chmod(0o600); err != nil {
		return err
	}
	if _, err := f.WriteString(content); err != nil {
		return err
	}
	return f.Close()
}
