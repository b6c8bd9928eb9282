package testmachine

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Chroot returns a command that runs inside the machine as its root, with a
// plain environment. A name without a slash is looked up in the machine.
func (m *Machine) Chroot(name string, args ...string) *exec.Cmd {
	return &exec.Cmd{
		Path:        m.lookPath(name),
		Args:        append([]string{name}, args...),
		Env:         []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root"},
		Dir:         "/",
		SysProcAttr: &syscall.SysProcAttr{Chroot: m.Root},
	}
}

// lookPath looks with Lstat: a link's target is one inside the machine.
func (m *Machine) lookPath(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	for _, folder := range []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		path := filepath.Join(folder, name)
		if _, err := m.files.Lstat(inside(path)); err == nil {
			return path
		}
	}
	return name // Start then says that it is not there
}

// Run runs a command inside the machine and returns what it printed, standard
// error included. A command that fails ends the test.
func (m *Machine) Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := m.Chroot(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s in the machine: %v\n%s", name, err, out)
	}
	return string(out)
}

// AddUser makes a user with a home, a private group and /bin/bash, or only
// sets the password if the user is there (root always is). With an empty
// password the account has none that works ("!" in shadow(5)).
func (m *Machine) AddUser(name, password string) {
	m.t.Helper()
	if m.Chroot("id", name).Run() != nil {
		m.Run(m.t, "useradd", "--create-home", "--user-group", "--shell", "/bin/bash", name)
	}
	if password == "" {
		return
	}
	cmd := m.Chroot("chpasswd")
	cmd.Stdin = strings.NewReader(name + ":" + password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("chpasswd in the machine: %v\n%s", err, out)
	}
}

// account reads passwd(5) rather than ask NSS, which would answer for the
// machine the test runs on.
func (m *Machine) account(user string) (home string, uid, gid int) {
	m.t.Helper()
	for line := range strings.Lines(m.ReadFile("/etc/passwd")) {
		field := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(field) != 7 || field[0] != user {
			continue
		}
		uid, uidErr := strconv.Atoi(field[2])
		gid, gidErr := strconv.Atoi(field[3])
		if uidErr == nil && gidErr == nil {
			return field[5], uid, gid
		}
	}
	m.t.Fatalf("the machine has no user %s", user)
	return "", 0, 0
}
