// Package idle gives back memory that a process needs only while it works. A
// service that does nothing for all but a moment of its life is judged by what
// it holds meanwhile.
package idle

import (
	"bufio"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// GiveBack returns the memory that only work needs: the heap to the kernel,
// and the program's own pages to the page cache, from where they come back
// when they are used again.
func GiveBack() {
	debug.FreeOSMemory()
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer smaps.Close()
	var current mapping
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 0 && !strings.HasSuffix(fields[0], ":") {
			current = parseMapping(fields, program)
		}
		if len(fields) > 1 && fields[0] == "Anonymous:" && fields[1] == "0" && current.unchanging {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, current.start, current.length, unix.MADV_DONTNEED)
		}
	}
}

// mapping is the head of an entry in /proc/PID/smaps (proc(5)).
type mapping struct {
	start, length uintptr
	// unchanging: of the program's file, and not to be written to. Where no page
	// of it is anonymous besides, it holds nothing but what is in the file.
	unchanging bool
}

func parseMapping(fields []string, program string) mapping {
	if len(fields) != 6 || fields[5] != program || !strings.HasPrefix(fields[1], "r-") {
		return mapping{}
	}
	from, to, _ := strings.Cut(fields[0], "-")
	low, err1 := strconv.ParseUint(from, 16, 64)
	high, err2 := strconv.ParseUint(to, 16, 64)
	if err1 != nil || err2 != nil || high <= low {
		return mapping{}
	}
	return mapping{uintptr(low), uintptr(high - low), true}
}
