package atomicfile

import (
	"os"

	"golang.org/x/sys/unix"
)

// labelAttribute is where SELinux keeps a file's label.
const labelAttribute = "security.selinux"

// copyLabel gives file the label of the one it is to replace. A new file has the
// label its folder's policy gives, which is the right one nearly always; so when
// the policy does not let the label be set, that one stays.
func copyLabel(folder *os.File, name string, file *os.File) {
	old, err := openRegular(folder, name)
	if err != nil {
		return
	}
	defer old.Close()
	want := label(old)
	if want != "" && want != label(file) {
		_ = unix.Fsetxattr(int(file.Fd()), labelAttribute, []byte(want), 0)
	}
}

// label returns a file's label, or "" where there is none.
func label(file *os.File) string {
	var buffer [1024]byte
	n, err := unix.Fgetxattr(int(file.Fd()), labelAttribute, buffer[:])
	if err != nil {
		return ""
	}
	return string(buffer[:n])
}
