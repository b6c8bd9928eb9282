package sshd

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// isSSHD tells whether the process runs an sshd program, also one that a
// package upgrade has replaced.
func isSSHD(pid int) bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return false
	}
	base := filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
	return base == sshdBinary || base == embeddedSSHDBinary
}

// listening finds the sshd of this instance that listens on one of the ports,
// without a pid file: the process, and the socket as /proc names it. There is
// none where pid is 0.
func (d *Daemon) listening(ports []int) (pid int, socket string) {
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || d.Outside {
		return 0, ""
	}
	for _, process := range processes {
		pid, err := strconv.Atoi(filepath.Base(process))
		if err != nil || !isSSHD(pid) || !sameFile(filepath.Join(process, "root"), d.Root) {
			continue
		}
		if socket := listeningSocket(process, ports); socket != "" {
			return pid, socket
		}
	}
	return 0, ""
}

func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

// listeningSocket is a socket of the process that listens on one of the ports.
func listeningSocket(process string, ports []int) string {
	files, err := filepath.Glob(filepath.Join(process, "fd/[0-9]*"))
	if err != nil {
		return ""
	}
	sockets := listeningSockets(process, ports)
	for _, file := range files {
		if target, err := os.Readlink(file); err == nil && slices.Contains(sockets, target) {
			return target
		}
	}
	return ""
}

// listeningSockets are all that listen on the ports in the network of a
// process, from /proc/net/tcp (proc_net(5)): the local address is the second
// field, its port in hexadecimal; the state the fourth; the inode the tenth.
func listeningSockets(process string, ports []int) []string {
	const listen = "0A"
	var sockets []string
	for _, table := range []string{"net/tcp", "net/tcp6"} {
		file, err := os.Open(filepath.Join(process, table))
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) < 10 || fields[3] != listen {
				continue
			}
			_, text, _ := strings.Cut(fields[1], ":")
			if port, err := strconv.ParseUint(text, 16, 16); err == nil && slices.Contains(ports, int(port)) {
				sockets = append(sockets, "socket:["+fields[9]+"]")
			}
		}
		_ = file.Close()
	}
	return sockets
}
