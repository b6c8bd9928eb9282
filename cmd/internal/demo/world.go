package demo

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"
)

// world is the instance: its root folder, its SSH server, its logon user.
type world struct {
	root           string
	user, password string
	server         string // what it is, for a person
	address        string
	hostKey        ssh.PublicKey
	command        func() *exec.Cmd // runs the server in the foreground
	newBoot        func(*demo) error
}

const (
	demoUser    = "demo"
	hostKeyFile = "/etc/ssh/ssh_host_ed25519_key"
)

// newEmbedded is an instance of a few files, with the embedded SSH server. It
// needs no privilege: everybody in it is whoever runs the demo.
func newEmbedded(d *demo) (*world, error) {
	w := &world{root: filepath.Join(d.dir, "instance"), user: demoUser, server: "the embedded SSH server"}
	program := d.options.Server
	passwords := filepath.Join(d.dir, "passwords")
	account := fmt.Sprintf("%s:x:%d:%d::/home/%s:/bin/sh\n", demoUser, os.Getuid(), os.Getgid(), demoUser)
	files := map[string]string{
		"/etc/passwd": account,
		"/etc/group":  fmt.Sprintf("%s:x:%d:\n", demoUser, os.Getgid()),
		"/bin/sh":     "#!/bin/sh\n",
	}
	if err := w.furnish(files, "PermitRootLogin yes\n"); err != nil {
		return nil, err
	}
	if err := os.WriteFile(passwords, []byte(w.user+":"+w.password+"\n"), 0o600); err != nil {
		return nil, err
	}
	config := fmt.Sprintf("[sshd]\ncommand = [%q, \"--root\", %q]\n", program, w.root)
	w.command = func() *exec.Cmd {
		return exec.Command(program, "-D", "-e", "--root", w.root, "-f", "/etc/ssh/sshd_config", "--password-file", passwords)
	}
	w.newBoot = func(d *demo) error { return w.write("/proc/sys/kernel/random/boot_id", d.nextBoot(), 0o644) }
	return w, w.configure(d, config)
}

// furnish writes what any instance has: the files given, a home, a host key,
// and sshd's configuration with a port of its own.
func (w *world) furnish(files map[string]string, sshdLines string) error {
	var err error
	if w.password, err = newPassword(); err != nil {
		return err
	}
	for name, text := range files {
		if err := w.write(name, text, 0o755); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(w.root, "home", w.user), 0o700); err != nil {
		return err
	}
	for _, folder := range []string{"/run", "/etc/ssh/sshd_config.d", "/var/lib"} {
		if err := os.MkdirAll(filepath.Join(w.root, folder), 0o755); err != nil {
			return err
		}
	}
	if err := w.writeHostKey(); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	w.address = fmt.Sprintf("127.0.0.1:%d", port)
	return w.write("/etc/ssh/sshd_config", fmt.Sprintf(`Port %d
ListenAddress 127.0.0.1
HostKey %s
PidFile /run/sshd.pid
Include /etc/ssh/sshd_config.d/*.conf
KbdInteractiveAuthentication yes
%s`, port, hostKeyFile, sshdLines), 0o644)
}

// configure writes the agent's configuration.
func (w *world) configure(d *demo, more string) error {
	text := fmt.Sprintf("[metadata]\nendpoint = %q\n[login]\nuser = %q\n%s", d.region.metadata, w.user, more)
	return w.write("/etc/latchkey/latchkey.toml", text, 0o644)
}

func (w *world) write(name, text string, mode os.FileMode) error {
	file := filepath.Join(w.root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text), mode)
}

func (w *world) writeHostKey() error {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return err
	}
	w.hostKey = signer.PublicKey()
	return w.write(hostKeyFile, string(pem.EncodeToMemory(block)), 0o600)
}

// newPassword is one that nobody else can know while the demo listens.
func newPassword() (string, error) {
	secret := make([]byte, 16)
	if _, err := rand.Read(secret); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", secret), nil
}

// freePort is a port on which nobody listens now.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// listen starts the server and waits until it identifies itself (RFC 4253,
// section 4.2).
func (w *world) listen(d *demo) error {
	server, err := startProcess(w.command())
	if err != nil {
		return err
	}
	d.onClose(server.stop)
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) && d.ctx.Err() == nil {
		if identifies(w.address) {
			return nil
		}
		select {
		case err := <-server.done:
			server.done <- err
			return fmt.Errorf("%s ended: %w\n%s", w.server, err, server.log)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s does not answer at %s", w.server, w.address)
}

func identifies(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && len(line) > 4 && line[:4] == "SSH-"
}

// nextBoot is the text of a boot_id that was not there before.
func (d *demo) nextBoot() string {
	d.boots++
	return fmt.Sprintf("%08d-0000-4000-8000-000000000000\n", d.boots)
}
