// Package overlay makes throw-away machines: an overlay of a file tree in which
// accounts, an sshd and all else can be changed, and of which nothing is left.
//
// The process that makes one first moves into a mount namespace of its own, so
// that the real machine never sees a mount, however the process ends.
package overlay

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ownFolders are those of which a machine sees nothing of the tree below it.
var ownFolders = map[string]fs.FileMode{
	"etc/latchkey":     0o755,
	"etc/ssh":          0o755,
	"home":             0o755,
	"root":             0o700,
	"run":              0o755,
	"tmp":              0o777 | fs.ModeSticky,
	"var/lib/latchkey": 0o711,
}

// deviceNodes are what sshd, PAM and a shell open in /dev.
var deviceNodes = map[string]struct {
	major, minor uint32
}{
	"null":    {1, 3},
	"zero":    {1, 5},
	"full":    {1, 7},
	"random":  {1, 8},
	"urandom": {1, 9},
	"tty":     {5, 0},
}

// Assemble mounts a machine over lower and returns its root. All that it
// writes is in one tmpfs mounted on dir, so that one unmount takes it away.
func Assemble(dir, lower string) (root string, err error) {
	if err := mount(dir, "tmpfs", "mode=755"); err != nil {
		return "", err
	}
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	root = filepath.Join(dir, "root")
	for _, folder := range []string{upper, work, root} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			return "", err
		}
	}
	if err := os.Chmod(upper, 0o755); err != nil { // it shows as the machine's /, whatever the umask
		return "", err
	}
	if err := hideFolders(upper); err != nil {
		return "", err
	}
	layers := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work)
	if err := mount(root, "overlay", layers); err != nil {
		return "", err
	}
	if err := mount(filepath.Join(root, "proc"), "proc", ""); err != nil {
		return "", err
	}
	return root, makeDev(filepath.Join(root, "dev"))
}

// hideFolders marks folders opaque: overlayfs shows nothing from below them.
func hideFolders(upper string) error {
	top, err := os.OpenRoot(upper)
	if err != nil {
		return err
	}
	defer top.Close()
	for name, mode := range ownFolders {
		if err := MakeFolder(top, name, mode); err != nil {
			return err
		}
		path := filepath.Join(upper, name)
		if err := unix.Setxattr(path, "trusted.overlay.opaque", []byte("y"), 0); err != nil {
			return fmt.Errorf("hide %s: %w", name, err)
		}
	}
	return nil
}

// makeDev makes a /dev of the machine's own: a test that breaks its devices
// must not break those of the real machine, as a bind mount would.
func makeDev(dev string) error {
	if err := mount(dev, "tmpfs", "mode=755"); err != nil {
		return err
	}
	for name, node := range deviceNodes {
		path := filepath.Join(dev, name)
		if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(node.major, node.minor))); err != nil {
			return fmt.Errorf("make device %s: %w", name, err)
		}
		if err := os.Chmod(path, 0o666); err != nil {
			return err
		}
	}
	pts := filepath.Join(dev, "pts")
	err := errors.Join(
		os.Mkdir(pts, 0o755),
		os.Symlink("pts/ptmx", filepath.Join(dev, "ptmx")),
		os.Symlink("/proc/self/fd", filepath.Join(dev, "fd")))
	if err != nil {
		return err
	}
	return mount(pts, "devpts", "newinstance,ptmxmode=0666,mode=620,gid=5")
}

// Dismantle takes everything mounted on dir away. The folder is removed only
// if it is empty: never by its content, which would be the machine's tree if
// an unmount had failed.
func Dismantle(dir string) error {
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return os.Remove(dir)
}

func mount(target, kind, options string) error {
	if err := unix.Mount(kind, target, kind, 0, options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", kind, target, err)
	}
	return nil
}

// MakeFolder makes missing parents one by one: MkdirAll would let the umask
// have its say on each.
func MakeFolder(top *os.Root, name string, mode fs.FileMode) error {
	err := top.Mkdir(name, 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		if err := MakeFolder(top, filepath.Dir(name), 0o755); err != nil {
			return err
		}
		err = top.Mkdir(name, 0o755)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return top.Chmod(name, mode)
}
