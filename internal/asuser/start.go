package asuser

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Start starts cmd as that user for good: with no supplementary group but c's,
// no capability in any set, and no way to gain one by executing a file
// (prctl(2), PR_SET_NO_NEW_PRIVS). Without privilege it can only start it as the
// user it is itself.
func Start(cmd *exec.Cmd, c Credentials) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(c.UID), Gid: uint32(c.GID), Groups: groupIDs(c)}
	} else if c.UID != os.Geteuid() {
		return fmt.Errorf("start %s as uid %d: %w", cmd.Path, c.UID, ErrNotPermitted)
	}
	started := make(chan error, 1)
	// What a thread gives up here it never gets back: the child is forked from one
	// that ends with it.
	onOwnThread(func() {
		err := giveUp()
		if err == nil {
			err = cmd.Start()
		}
		started <- err
	})
	return <-started
}

func groupIDs(c Credentials) []uint32 {
	ids := []uint32{}
	for _, group := range c.Groups {
		ids = append(ids, uint32(group))
	}
	return ids
}

// giveUp empties this thread's bounding set, as far as it may, and sees to it
// that no file's mode or capabilities give anything back.
func giveUp() error {
	for capability := uintptr(0); os.Geteuid() == 0 && capability <= unix.CAP_LAST_CAP; capability++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err == unix.EPERM {
			break // in a container, which has few itself
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return nil
}
