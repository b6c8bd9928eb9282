// Command latchkey-sshd is the SSH server of package target as a program: for tests in any language, and, with sshd's own
// options, for the agent or a demonstration to talk to where no sshd is installed and nobody is root.
package main

import (
	"math"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

func main() {
	// What whoever started this program left open is not for the commands of those who log in. Kernels before 5.11 cannot.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE) // who reads the log may go: no end for a server
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
