package testmachine

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/latchkey-ssh/latchkey/internal/overlay"
)

// Path returns where the test sees the machine's path. Opening it follows an
// absolute link, such as Debian's /var/run, out of the machine; the methods
// below refuse to.
func (m *Machine) Path(path string) string { return filepath.Join(m.Root, path) }

// WriteFile writes a file of the machine, making its folders (root's, 0755)
// where they are missing. The mode is as given, whatever the umask.
func (m *Machine) WriteFile(path, content string, mode fs.FileMode) {
	m.t.Helper()
	name := inside(path)
	if parent := filepath.Dir(name); !m.exists(parent) {
		m.Mkdir(parent, 0o755)
	}
	if mode&0o111 != 0 { // a child that is just being forked has it open for writing, and it cannot be run then
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
	}
	err := errors.Join(m.files.WriteFile(name, []byte(content), mode), m.files.Chmod(name, mode))
	if err != nil {
		m.t.Fatal(err)
	}
}

// ReadFile returns the content of a file of the machine.
func (m *Machine) ReadFile(path string) string {
	m.t.Helper()
	content, err := m.files.ReadFile(inside(path))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(content)
}

// Mkdir makes a folder of the machine, root's and with that mode whatever the
// umask; its parents, where missing, have 0755. One that is there gets the mode.
func (m *Machine) Mkdir(path string, mode fs.FileMode) {
	m.t.Helper()
	if err := overlay.MakeFolder(m.files, inside(path), mode); err != nil {
		m.t.Fatal(err)
	}
}

// AuthorizedKeys gives the user a ~/.ssh/authorized_keys of these lines that
// sshd is content with: the user's own, 0600 in a folder of 0700.
func (m *Machine) AuthorizedKeys(user string, lines ...string) {
	m.t.Helper()
	home, uid, gid := m.account(user)
	folder := filepath.Join(home, ".ssh")
	file := filepath.Join(folder, "authorized_keys")
	m.Mkdir(folder, 0o700)
	m.WriteFile(file, strings.Join(lines, "\n")+"\n", 0o600)
	err := errors.Join(
		m.files.Chown(inside(folder), uid, gid),
		m.files.Chown(inside(file), uid, gid))
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *Machine) exists(name string) bool {
	_, err := m.files.Stat(name)
	return err == nil
}

// inside is the path as os.Root wants it.
func inside(path string) string { return filepath.Join(".", path) }
