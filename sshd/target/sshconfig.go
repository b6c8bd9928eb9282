package target

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// WriteSSHConfig writes to dir what OpenSSH's client needs to log in, and returns the path of the ssh_config(5) among it, so
// that "ssh -F path NAME command" reaches the server whatever the NAME, and reads or writes nothing of the user's own.
//
// The files are config, known_hosts and, where there is a [Server.ClientKey], id_ed25519, each with mode 0600. dir is made, with
// mode 0700, where it is missing. An entry of one of these names that is there already is left as it is: the error names it, and is an
// [fs.ErrExist]; whatever was made before it is removed again.
func (s *Server) WriteSSHConfig(dir string) (path string, err error) {
	if path, err = s.writeSSHConfig(dir); err != nil {
		return "", fmt.Errorf("write ssh_config: %w", err)
	}
	return path, nil
}

func (s *Server) writeSSHConfig(dir string) (path string, err error) {
	address, ok := s.Addr().(*net.TCPAddr)
	if !ok {
		return "", errors.New("the server listens on no TCP address")
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	if strings.ContainsAny(dir, "\"\n") || strings.Contains(dir, "${") {
		return "", fmt.Errorf("the path %q cannot stand in it", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	files := []newFile{{"known_hosts", s.KnownHosts()}}
	if key := s.ClientKeyPEM(); key != nil {
		files = append(files, newFile{"id_ed25519", string(key)})
	}
	return filepath.Join(dir, "config"), writeNewFiles(dir, append(files, newFile{"config", s.sshConfig(dir, address)}))
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

// newFile is one that is to be made.
type newFile struct{ name, content string }

// writeNewFiles makes all of the files, or none.
func writeNewFiles(dir string, files []newFile) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for i, file := range files {
		made, err := writeNewFile(root, file)
		if err == nil {
			continue
		}
		if made {
			i++
		}
		for _, before := range files[:i] {
			_ = root.Remove(before.name)
		}
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s: %w, and is left as it is", filepath.Join(dir, file.name), fs.ErrExist)
		}
		return err
	}
	return nil
}

// writeNewFile makes a file for its owner alone: ssh takes no key that others can read.
func writeNewFile(root *os.Root, file newFile) (made bool, err error) {
	f, err := root.OpenFile(file.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if err := f.Chmod(0o600); err != nil { // whatever the umask
		return true, err
	}
	if _, err := f.WriteString(file.content); err != nil {
		return true, err
	}
	return true, f.Close()
}
