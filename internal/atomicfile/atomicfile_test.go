package atomicfile_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/atomicfile"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

const limit = 1 << 20

func openRoot(t *testing.T, path string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// newFolder returns a folder that holds "file" with the content "old".
func newFolder(t *testing.T) *os.Root {
	t.Helper()
	dir := openRoot(t, t.TempDir())
	writeFile(t, dir, "file", "old")
	return dir
}

func writeFile(t *testing.T, dir *os.Root, name, content string) {
	t.Helper()
	if err := dir.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantFolder compares all names in dir, and their content.
func wantFolder(t *testing.T, dir *os.Root, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(dir.Name())
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, entry := range entries {
		data, err := dir.ReadFile(entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		got[entry.Name()] = string(data)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func read(t *testing.T, dir *os.Root, name string) *atomicfile.Snapshot {
	t.Helper()
	snapshot, err := atomicfile.Read(dir, name, limit)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot
}

func TestReplaceSetsTheModeWhateverTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o22, 0o777} {
		for _, mode := range []fs.FileMode{0o600, 0o644, 0o640} {
			t.Run(fmt.Sprintf("%o under %o", mode, umask), func(t *testing.T) {
				dir := newFolder(t)
				old := syscall.Umask(umask)
				err := atomicfile.Replace(dir, "file", []byte("new"), mode)
				syscall.Umask(old)
				if err != nil {
					t.Fatal(err)
				}
				if got := read(t, dir, "file").Mode; got != mode {
					t.Errorf("mode %o", got)
				}
				wantFolder(t, dir, map[string]string{"file": "new"})
			})
		}
	}
}

func TestReplaceMakesAMissingFile(t *testing.T) {
	for name, options := range map[string][]atomicfile.Option{
		"plain": nil,
		"over":  {atomicfile.Over(nil)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := openRoot(t, t.TempDir())
			if err := atomicfile.Replace(dir, "file", []byte("new"), 0o600, options...); err != nil {
				t.Fatal(err)
			}
			wantFolder(t, dir, map[string]string{"file": "new"})
		})
	}
}

func TestReplaceTakesTheOwnerGiven(t *testing.T) {
	testmachine.RequireRoot(t)
	dir := newFolder(t)
	if err := atomicfile.Replace(dir, "file", []byte("new"), 0o600, atomicfile.Owner(54321, 54322)); err != nil {
		t.Fatal(err)
	}
	if s := read(t, dir, "file"); s.UID != 54321 || s.GID != 54322 {
		t.Errorf("owner %d:%d", s.UID, s.GID)
	}
}

func TestReplaceKeepsTheLabel(t *testing.T) {
	testmachine.RequireRoot(t)
	const label = "system_u:object_r:ssh_home_t:s0\x00"
	dir := newFolder(t)
	path := filepath.Join(dir.Name(), "file")
	if err := unix.Setxattr(path, "security.selinux", []byte(label), 0); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Replace(dir, "file", []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got [100]byte
	n, err := unix.Getxattr(path, "security.selinux", got[:])
	if err != nil || string(got[:n]) != label {
		t.Errorf("label %q, %v", got[:max(n, 0)], err)
	}
}

func TestOverRefusesWhatIsNotWhatWasRead(t *testing.T) {
	tests := []struct {
		name    string
		missing bool // when it is read
		meddle  func(t *testing.T, dir *os.Root)
		want    map[string]string
	}{
		{"edited in place", false, func(t *testing.T, dir *os.Root) { writeFile(t, dir, "file", "theirs") }, map[string]string{"file": "theirs"}},
		{"replaced by the same content", false, func(t *testing.T, dir *os.Root) {
			writeFile(t, dir, "other", "old")
			if err := dir.Rename("other", "file"); err != nil {
				t.Fatal(err)
			}
		}, map[string]string{"file": "old"}},
		{"removed", false, func(t *testing.T, dir *os.Root) {
			if err := dir.Remove("file"); err != nil {
				t.Fatal(err)
			}
		}, map[string]string{}},
		{"made", true, func(t *testing.T, dir *os.Root) { writeFile(t, dir, "file", "theirs") }, map[string]string{"file": "theirs"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := openRoot(t, t.TempDir())
			var old *atomicfile.Snapshot
			if !test.missing {
				writeFile(t, dir, "file", "old")
				old = read(t, dir, "file")
			}
			meddle := atomicfile.Before(func() error { test.meddle(t, dir); return nil })
			err := atomicfile.Replace(dir, "file", []byte("new"), 0o600, atomicfile.Over(old), meddle)
			if !errors.Is(err, atomicfile.ErrChanged) {
				t.Errorf("got %v, want %v", err, atomicfile.ErrChanged)
			}
			wantFolder(t, dir, test.want)
		})
	}
}

func TestFailureLeavesEverythingAsItWas(t *testing.T) {
	testmachine.RequireRoot(t)
	tests := []struct {
		name  string
		mount func(t *testing.T, path string)
		want  error
	}{
		{"full disk", func(t *testing.T, path string) {
			mount(t, "tmpfs", path, "tmpfs", 0, "size=64k")
		}, unix.ENOSPC},
		{"no inode left", func(t *testing.T, path string) {
			mount(t, "tmpfs", path, "tmpfs", 0, "nr_inodes=2")
		}, unix.ENOSPC},
		{"read-only file system", func(t *testing.T, path string) {
			mount(t, path, path, "", unix.MS_BIND, "")
			writeFile(t, openRoot(t, path), "file", "old")
			mount(t, "", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}, unix.EROFS},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := t.TempDir()
			test.mount(t, path)
			dir := openRoot(t, path)
			if _, err := dir.Stat("file"); err != nil {
				writeFile(t, dir, "file", "old")
			}
			err := atomicfile.Replace(dir, "file", make([]byte, 128<<10), 0o600, atomicfile.Over(read(t, dir, "file")))
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			wantFolder(t, dir, map[string]string{"file": "old"})
		})
	}
}

// mount works in the mount namespace that testmachine gives the test binary.
func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		t.Fatalf("mount %s: %v", target, err)
	}
	if flags&unix.MS_REMOUNT == 0 {
		t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
	}
}

func TestCheckBeforeTheRenameCanStopIt(t *testing.T) {
	dir := newFolder(t)
	stop := errors.New("stop")
	err := atomicfile.Replace(dir, "file", []byte("new"), 0o600, atomicfile.Before(func() error { return stop }))
	if !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	wantFolder(t, dir, map[string]string{"file": "old"})
}

func TestStreamThatFailsChangesNothing(t *testing.T) {
	dir := newFolder(t)
	stop := errors.New("stop")
	write := func(end error) func(*os.File) error {
		return func(file *os.File) error {
			_, err := file.WriteString("half")
			return errors.Join(err, end)
		}
	}
	if err := atomicfile.Stream(dir, "file", write(stop), 0o644); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	wantFolder(t, dir, map[string]string{"file": "old"})
	if err := atomicfile.Stream(dir, "file", write(nil), 0o644); err != nil {
		t.Error(err)
	}
	wantFolder(t, dir, map[string]string{"file": "half"})
}

func TestReadTakesRegularFilesOnly(t *testing.T) {
	dir := newFolder(t)
	path := func(name string) string { return filepath.Join(dir.Name(), name) }
	listener, err := net.Listen("unix", path("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	err = errors.Join(
		unix.Mkfifo(path("fifo"), 0o600), os.Mkdir(path("folder"), 0o700),
		os.Symlink("file", path("link")), os.Symlink("/dev/zero", path("device")))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"fifo":   "a FIFO",
		"folder": "a directory",
		"link":   "a symbolic link",
		"device": "a symbolic link",
		"socket": "a socket",
	} {
		_, err := atomicfile.Read(dir, name, limit)
		kind, ok := errors.AsType[*atomicfile.KindError](err)
		if !ok || !strings.Contains(kind.Error(), want) {
			t.Errorf("%s: %v, want one that says %q", name, err, want)
		}
	}
	if _, err := atomicfile.Read(dir, "none", limit); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

func TestReadRefusesADevice(t *testing.T) {
	_, err := atomicfile.Read(openRoot(t, "/dev"), "zero", limit)
	if err == nil || !strings.Contains(err.Error(), "a device") {
		t.Errorf("got %v", err)
	}
}

func TestReadStopsAtTheLimit(t *testing.T) {
	dir := newFolder(t)
	if _, err := atomicfile.Read(dir, "file", 3); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	_, err := atomicfile.Read(dir, "file", 2)
	if _, ok := errors.AsType[*atomicfile.SizeError](err); !ok {
		t.Errorf("above the limit: %v", err)
	}
}

func TestOnlyPlainNamesAreTaken(t *testing.T) {
	dir := newFolder(t)
	for _, name := range []string{"", ".", "..", "a/b", "/etc/passwd", "../x", "a\x00b"} {
		if err := atomicfile.Replace(dir, name, nil, 0o600); err == nil {
			t.Errorf("%q was written", name)
		}
		if _, err := atomicfile.Read(dir, name, limit); err == nil {
			t.Errorf("%q was read", name)
		}
	}
}

func TestLeftoversOfDeadProcessesAreSweptAndNoOthers(t *testing.T) {
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	dir := newFolder(t)
	gone := fmt.Sprintf(".latchkey-tmp-%d-X-1", dead.Process.Pid)
	samePID := fmt.Sprintf(".latchkey-tmp-%d-X-1", os.Getpid())
	alive := fmt.Sprintf(".latchkey-tmp-%d-X-1", os.Getppid())
	for _, name := range []string{gone, samePID, alive, ".latchkey-tmp-theirs", ".latchkey"} {
		writeFile(t, dir, name, "")
	}
	if err := atomicfile.Replace(dir, "file", []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantFolder(t, dir, map[string]string{"file": "new", alive: "", ".latchkey-tmp-theirs": "", ".latchkey": ""})
}
