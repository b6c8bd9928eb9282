// launcher runs programs as sshd runs an AuthorizedKeysCommand, and measures
// them. A message names the root folder (or none: ""), the program and its
// arguments, each but the last followed by a NUL. The answer is the time in µs from
// before the fork to after the end, the time on a processor in µs, the peak RSS in kB
// and the wait status, then a newline and what the program printed, its errors too.
// Messages come from standard input, a SOCK_SEQPACKET socket, to which the answers go;
// or there is one, the arguments, and the answer goes to standard output.
//
// Until it executes the program, a child has its parent's memory, which counts into
// its peak RSS. So the launcher is a process apart from the benchmark, and imports
// next to nothing; what it has itself, least when it is fresh, is the least that it
// can see.
package main

import (
	"strconv"
	"strings"
	"syscall"
)

// message holds one, and then what the program prints, which is a line or two.
var message [16 << 10]byte

func main() {
	if words := arguments(); len(words) > 0 {
		_, err := syscall.Write(1, run(words[0], words[1:]))
		check(err)
		return
	}
	for {
		n, err := syscall.Read(0, message[:])
		if err != nil || n == 0 {
			return
		}
		words := strings.Split(string(message[:n]), "\x00")
		if _, err := syscall.Write(0, run(words[0], words[1:])); err != nil {
			return
		}
	}
}

// arguments is os.Args without package os (proc(5), /proc/PID/cmdline).
func arguments() []string {
	fd, err := syscall.Open("/proc/self/cmdline", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	check(err)
	n, err := syscall.Read(fd, message[:])
	check(err)
	check(syscall.Close(fd))
	words := strings.Split(string(message[:n]), "\x00")
	return words[1 : len(words)-1]
}

// run answers one message.
func run(root string, argv []string) []byte {
	var out [2]int
	check(syscall.Pipe2(out[:], syscall.O_CLOEXEC))
	null, err := syscall.Open("/dev/null", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	check(err)
	attr := &syscall.ProcAttr{
		Dir: "/", Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "USER=root", "LOGNAME=root", "HOME=/root"},
		Files: []uintptr{uintptr(null), uintptr(out[1]), uintptr(out[1])},
		Sys:   &syscall.SysProcAttr{Chroot: root},
	}
	start := micros()
	pid, err := syscall.ForkExec(argv[0], argv, attr)
	check(err)
	_ = syscall.Close(out[1])
	said := readAll(out[0])
	_ = syscall.Close(out[0]) // so that one that prints too much ends
	var status syscall.WaitStatus
	var usage syscall.Rusage
	_, err = syscall.Wait4(pid, &status, 0, &usage)
	took := micros() - start
	check(err)
	_ = syscall.Close(null)
	var answer []byte
	for _, figure := range []int64{took, (usage.Utime.Nano() + usage.Stime.Nano()) / 1000, usage.Maxrss, int64(status)} {
		answer = append(strconv.AppendInt(answer, figure, 10), ' ')
	}
	return append(append(answer, '\n'), said...)
}

func micros() int64 {
	var now syscall.Timeval
	check(syscall.Gettimeofday(&now))
	return now.Nano() / 1000
}

func readAll(fd int) []byte {
	for n := 0; ; {
		more, err := syscall.Read(fd, message[n:])
		if err != nil || more == 0 {
			return message[:n]
		}
		n += more
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
