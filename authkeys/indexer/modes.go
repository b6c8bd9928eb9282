package indexer

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// owners tell whether a source can be believed, by the rule that sshd has for the files
// that it reads (sshd_config(5), StrictModes): whoever may write to a user's file logs in
// as that user. The file has to be root's, the user's or the caller's, and so has its
// folder, and nobody else may write to either. Folders further up are not looked at.
type owners struct {
	off bool
	uid func(user string) (int, bool) // may be nil
}

// unsafe tells why a file or a folder is not to be believed; user is "" for what has to be
// root's.
func (o owners) unsafe(stat *syscall.Stat_t, user string) error {
	switch {
	case o.off:
		return nil
	case !o.isOwner(int(stat.Uid), user):
		return unsafe{"belongs to uid " + strconv.Itoa(int(stat.Uid)) + ", neither to root" + orTo(user)}
	case stat.Mode&0o022 != 0:
		return unsafe{fmt.Sprintf("can be written to by others (mode %04o)", stat.Mode&0o7777)}
	}
	return nil
}

func orTo(user string) string {
	if user == "" {
		return " nor to who builds"
	}
	return " nor to " + user
}

func (o owners) isOwner(uid int, user string) bool {
	if uid == 0 || uid == os.Geteuid() {
		return true
	}
	if user == "" || o.uid == nil {
		return false
	}
	owner, known := o.uid(user)
	return known && owner == uid
}

// unsafeFolder is unsafe of the folder in which an open file lies, links followed.
func (o owners) unsafeFolder(fd int, user string) error {
	if o.off {
		return nil
	}
	path, err := os.Readlink(fdPath(fd))
	if err != nil {
		return err
	}
	folder := filepath.Dir(path)
	var stat syscall.Stat_t
	if err := syscall.Stat(folder, &stat); err != nil {
		return err
	}
	if err := o.unsafe(&stat, user); err != nil {
		return fmt.Errorf("its folder %s %w", folder, err)
	}
	return nil
}

// unsafe is why sshd would not believe a file.
type unsafe struct{ why string }

func (u unsafe) Error() string { return u.why + ": sshd would not read it either (StrictModes)" }
