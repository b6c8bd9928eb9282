package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The two sides of the daemon, by their command lines.
var (
	privilegedSide = []string{"/usr/sbin/latchkeyd"}
	networkSide    = []string{"/usr/sbin/latchkeyd", "network"}
)

// process is a process of the instance, by the id that it has outside.
type process string

// processes are those with that command line now.
func (i *instance) processes(command []string) []process {
	i.t.Helper()
	own, err := os.Readlink("/proc/" + i.leader + "/ns/pid")
	if err != nil {
		i.t.Fatal(err)
	}
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		i.t.Fatal(err)
	}
	var found []process
	for _, folder := range folders {
		if namespace, err := os.Readlink(folder + "/ns/pid"); err != nil || namespace != own {
			continue
		}
		line, err := os.ReadFile(folder + "/cmdline")
		if err == nil && slices.Equal(strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00"), command) {
			found = append(found, process(filepath.Base(folder)))
		}
	}
	return found
}

// privileged is the one process of the daemon that has privilege.
func (i *instance) privileged() process {
	i.t.Helper()
	found := i.processes(privilegedSide)
	if len(found) != 1 {
		i.t.Fatalf("%d processes are %q", len(found), privilegedSide)
	}
	return found[0]
}

// path is a file of the process below /proc (proc(5)).
func (p process) path(name string) string { return filepath.Join("/proc", string(p), name) }

// status is a field of /proc/PID/status.
func (p process) status(field string) (string, error) {
	text, err := os.ReadFile(p.path("status"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); name == field {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("%s has no %s", p.path("status"), field)
}

// internetSockets counts the process's sockets of the families AF_INET and
// AF_INET6, whatever they are used for. One that is closed meanwhile is none.
func (p process) internetSockets() (int, error) {
	pid, err := strconv.Atoi(string(p))
	if err != nil {
		return 0, err
	}
	handle, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, fmt.Errorf("open process %s: %w", p, err)
	}
	defer unix.Close(handle)
	entries, err := os.ReadDir(p.path("fd"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	count := 0
	for _, entry := range entries {
		link, err := os.Readlink(filepath.Join(p.path("fd"), entry.Name()))
		if err != nil || !strings.HasPrefix(link, "socket:") {
			continue
		}
		number, err := strconv.Atoi(entry.Name())
		if err != nil {
			return 0, err
		}
		family, err := socketFamily(handle, number)
		if err == nil && (family == unix.AF_INET || family == unix.AF_INET6) {
			count++
		}
		if err != nil && !errors.Is(err, unix.EBADF) && !errors.Is(err, unix.ESRCH) {
			return 0, err
		}
	}
	return count, nil
}

// socketFamily asks for the family of another process's socket.
func socketFamily(handle, number int) (int, error) {
	socket, err := unix.PidfdGetfd(handle, number, 0)
	if err != nil {
		return 0, fmt.Errorf("take descriptor %d: %w", number, err)
	}
	defer unix.Close(socket)
	return unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_DOMAIN)
}
