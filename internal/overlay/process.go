package overlay

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// EndProcessesIn ends what still runs below root: sessions outlive the sshd
// that started them, and a shell that hangs would outlive the test.
func EndProcessesIn(root string) {
	links, err := filepath.Glob("/proc/[0-9]*/root")
	if err != nil || root == "" {
		return
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != root {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL) // gone already is as good
		}
	}
}
