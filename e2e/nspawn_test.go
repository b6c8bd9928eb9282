package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// nspawn boots the system in a folder. It is in a process namespace of its own:
// systemd-nspawn ends with the process that started it, but the system it has
// booted would not. The kernel ends a namespace with the first process in it.
func nspawn(root string) *exec.Cmd {
	cmd := exec.Command("sh", "-c", intoControlGroup, controlGroup(), "unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
		"systemd-nspawn", "--quiet", "--directory", root, "--machine", fmt.Sprintf("latchkey-%d", os.Getpid()),
		"--resolv-conf=off", "--register=no", "--keep-unit", "--console=pipe", "--boot")
	// One tree of control groups, whatever this machine has.
	cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	return cmd
}

// intoControlGroup runs a command in the control group named by $0, in each tree
// of them that a system may use. Without one of its own, two runs of these tests
// would take each other's groups away. Where there is none to be had, there is
// only one run.
const intoControlGroup = `for tree in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
	[ ! -e "$tree/cgroup.procs" ] || { mkdir -p "$tree/$0" && echo $$ >"$tree/$0/cgroup.procs"; }
done 2>/dev/null
exec "$@"`

// controlGroup is the name of this run's.
func controlGroup() string { return fmt.Sprintf("latchkey-e2e-%d", os.Getpid()) }

// removeControlGroup removes this run's control groups, which are empty by now.
func removeControlGroup() {
	for _, tree := range []string{"", "unified", "systemd"} {
		top := filepath.Join("/sys/fs/cgroup", tree, controlGroup())
		_ = exec.Command("find", top, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";").Run()
	}
}

// startOnThread starts a command that ends with this process, on a thread kept
// for it: the kernel sends the signal when the thread ends that forked.
func startOnThread(cmd *exec.Cmd) (pid int, ended chan struct{}, err error) {
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	ended = make(chan struct{})
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is on the console
		}
	}()
	if err := <-started; err != nil {
		return 0, ended, err
	}
	return cmd.Process.Pid, ended, nil
}

// payload is the process id of the init below the process that starts it, "" as
// long as there is none.
func payload(ancestor string) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%s/task/%s/children", ancestor, ancestor))
	if err != nil {
		return ""
	}
	for child := range strings.FieldsSeq(string(data)) {
		if name, err := os.ReadFile("/proc/" + child + "/comm"); err == nil && strings.TrimSpace(string(name)) == "systemd" {
			return child
		}
		if found := payload(child); found != "" {
			return found
		}
	}
	return ""
}
