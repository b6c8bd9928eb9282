package overlay

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespaceEnv names the mount namespace that a program made for itself
// before it started over, as /proc/self/ns/mnt shows it.
const namespaceEnv = "LATCHKEY_MOUNTS"

// InOwnNamespace compares instead of trusting the variable, which also reaches
// children that were moved elsewhere.
func InOwnNamespace() bool {
	current, err := os.Readlink("/proc/self/ns/mnt")
	return err == nil && os.Getenv(namespaceEnv) == current
}

// EnterOwnNamespace moves the program into a mount namespace of its own, for
// which it has to start over: a namespace belongs to a thread, only exec makes it
// that of the whole process. It returns only if that failed.
func EnterOwnNamespace() error {
	runtime.LockOSThread() // the calling thread is the one that becomes the process
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare mount namespace: %w", err)
	}
	// Slave rather than private: what is unmounted outside is not held here.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("detach mount namespace: %w", err)
	}
	current, err := os.Readlink("/proc/thread-self/ns/mnt")
	if err != nil {
		return fmt.Errorf("read mount namespace: %w", err)
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the program: %w", err)
	}
	env := append(os.Environ(), namespaceEnv+"="+current)
	return fmt.Errorf("start %s again: %w", program, unix.Exec(program, os.Args, env))
}
