package atomicfile

import (
	"crypto/rand"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// tempPrefix begins the name of every temporary file. The whole is
// ".latchkey-tmp-PID-RUN-N": the process, a word drawn at its start, a count.
const tempPrefix = ".latchkey-tmp-"

// run tells the files of this process from those of an earlier one with the
// same pid, which in a container is always 1.
var (
	run   = rand.Text()
	count atomic.Uint64
)

func tempName() string {
	return tempPrefix + strconv.Itoa(os.Getpid()) + "-" + run + "-" + strconv.FormatUint(count.Add(1), 10)
}

// maxSwept bounds the names looked at: the folder may be a hostile user's.
const maxSwept = 4096

// Sweep removes the temporary files that crashed processes left in dir, as Replace
// does before it writes there.
func Sweep(dir *os.Root) {
	folder, err := dir.Open(".")
	if err != nil {
		return
	}
	defer folder.Close()
	sweep(folder)
}

// sweep removes the temporary files that a crashed process left behind. It is a
// courtesy: what cannot be removed does no harm.
func sweep(folder *os.File) {
	names, _ := folder.Readdirnames(maxSwept)
	for _, name := range names {
		if isLeftover(name) {
			remove(folder, name)
		}
	}
}

func isLeftover(name string) bool {
	owner, ok := strings.CutPrefix(name, tempPrefix)
	if !ok {
		return false
	}
	process, rest, _ := strings.Cut(owner, "-")
	pid, err := strconv.Atoi(process)
	if err != nil || pid <= 0 {
		return false
	}
	if pid == os.Getpid() {
		return !strings.HasPrefix(rest, run+"-")
	}
	return errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}
