//go:build linux && (386 || arm)

package asuser

import "golang.org/x/sys/unix"

// The calls without the suffix take 16-bit ids on these machines.
const (
	sysSetgroups = unix.SYS_SETGROUPS32
	sysSetresgid = unix.SYS_SETRESGID32
	sysSetresuid = unix.SYS_SETRESUID32
)
