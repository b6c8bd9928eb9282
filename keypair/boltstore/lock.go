package boltstore

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// lockHolder names the process that has locked the file, as well as /proc lets it.
func lockHolder(path string) string {
	var stat syscall.Stat_t
	locks, err := os.Open("/proc/locks")
	if err == nil {
		defer locks.Close()
		err = syscall.Stat(path, &stat)
	}
	if err != nil {
		return "another process"
	}
	where := fmt.Sprintf("%02x:%02x:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev), stat.Ino)
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		// "1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF": proc_locks(5)
		fields := strings.Fields(lines.Text())
		if len(fields) > 5 && fields[1] == "FLOCK" && fields[5] == where {
			return processNamed(fields[4])
		}
	}
	return "another process"
}

func processNamed(pid string) string {
	name, err := os.ReadFile("/proc/" + pid + "/comm")
	if err != nil {
		return "another process" // in another pid namespace, or ended just now
	}
	return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
}
