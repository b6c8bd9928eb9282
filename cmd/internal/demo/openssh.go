package demo

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/overlay"
)

const openSSHD = "/usr/sbin/sshd"

// newOpenSSH is this machine itself below an overlay, with a throw-away
// account and the real sshd. The real machine sees no account, no file and no
// mount of it.
func newOpenSSH(d *demo) (*world, error) {
	if _, err := os.Stat(openSSHD); err != nil {
		return nil, fmt.Errorf("find sshd: %w; install it: apt-get install openssh-server", err)
	}
	if !overlay.InOwnNamespace() {
		return nil, errors.New("the demo has no mounts of its own")
	}
	base := filepath.Join(d.dir, "overlay")
	if err := os.Mkdir(base, 0o755); err != nil {
		return nil, err
	}
	root, err := overlay.Assemble(base, "/")
	d.onClose(func() error {
		overlay.EndProcessesIn(root)
		return overlay.Dismantle(base)
	})
	if err != nil {
		return nil, err
	}
	w := &world{root: root, user: "latchkey-demo", server: "OpenSSH's sshd"}
	if err := w.furnish(nil, "UsePAM yes\n"); err != nil {
		return nil, err
	}
	if err := w.addAccount(); err != nil {
		return nil, err
	}
	w.command = func() *exec.Cmd { return w.chroot(openSSHD, "-D", "-e") }
	w.newBoot = func(d *demo) error { return w.mountBoot(d) }
	return w, w.configure(d, "")
}

// addAccount makes the logon user, with a password, in the overlay alone.
func (w *world) addAccount() error {
	if err := os.MkdirAll(filepath.Join(w.root, "run/sshd"), 0o755); err != nil {
		return err
	}
	home := filepath.Join(w.root, "home", w.user)
	if err := os.RemoveAll(home); err != nil {
		return err
	}
	setPassword := w.chroot("/usr/sbin/chpasswd")
	setPassword.Stdin = strings.NewReader(w.user + ":" + w.password + "\n")
	for _, cmd := range []*exec.Cmd{
		w.chroot("/usr/sbin/useradd", "--create-home", "--user-group", "--shell", "/bin/sh", w.user),
		setPassword,
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", cmd.Path, err, out)
		}
	}
	return nil
}

// chroot is a command in the overlay.
func (w *world) chroot(program string, args ...string) *exec.Cmd {
	return &exec.Cmd{
		Path: program, Args: append([]string{program}, args...), Dir: "/",
		Env:         []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
		SysProcAttr: &syscall.SysProcAttr{Chroot: w.root},
	}
}

// mountBoot puts a boot id over the kernel's, in the overlay's own /proc.
func (w *world) mountBoot(d *demo) error {
	id := d.nextBoot()
	name := fmt.Sprintf("/run/boot_id.%d", d.boots)
	if err := w.write(name, id, 0o644); err != nil {
		return err
	}
	target := filepath.Join(w.root, "proc/sys/kernel/random/boot_id")
	if err := unix.Mount(filepath.Join(w.root, name), target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("give the instance a new boot id: %w", err)
	}
	return nil
}
