package rooted

import (
	"errors"
	"testing"

	"github.com/pkg/sftp"
)

// TestAPanicIsAFailure: a folder without a root is one where every access panics.
func TestAPanicIsAFailure(t *testing.T) {
	told := 0
	f := &folder{panicked: func(any) { told++ }}
	requests := map[string]func() error{
		"read":         func() error { _, err := f.Fileread(sftp.NewRequest("Get", "/a")); return err },
		"write":        func() error { _, err := f.Filewrite(sftp.NewRequest("Put", "/a")); return err },
		"open":         func() error { _, err := f.OpenFile(sftp.NewRequest("Open", "/a")); return err },
		"list":         func() error { _, err := f.Filelist(sftp.NewRequest("List", "/a")); return err },
		"stat":         func() error { _, err := f.Filelist(sftp.NewRequest("Stat", "/a")); return err },
		"lstat":        func() error { _, err := f.Lstat(sftp.NewRequest("Lstat", "/a")); return err },
		"readlink":     func() error { _, err := f.Readlink("/a"); return err },
		"statvfs":      func() error { _, err := f.StatVFS(sftp.NewRequest("StatVFS", "/a")); return err },
		"mkdir":        func() error { return f.Filecmd(sftp.NewRequest("Mkdir", "/a")) },
		"posix-rename": func() error { return f.PosixRename(sftp.NewRequest("PosixRename", "/a")) },
	}
	for name, request := range requests {
		if err := request(); !errors.Is(err, sftp.ErrSSHFxFailure) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if told != len(requests) {
		t.Errorf("%d of %d panics are told", told, len(requests))
	}
}
