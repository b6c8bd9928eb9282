package rooted

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pkg/sftp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// served is a folder, and a client of it.
type served struct {
	*sftp.Client
	dir string
}

// serve serves a folder "in" with the files (path: content), beside a file "out" that is not in it. A path that ends
// in a slash is a folder.
func serve(t *testing.T, files map[string]string, o Options, client ...sftp.ClientOption) *served {
	t.Helper()
	above := t.TempDir()
	o.Dir = filepath.Join(above, "in")
	write(t, filepath.Join(above, "out"), "secret")
	if err := os.Mkdir(o.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if strings.HasSuffix(name, "/") {
			name, content = name+".keep", ""
		}
		write(t, filepath.Join(o.Dir, name), content)
	}
	ours := start(t, o)
	c, err := sftp.NewClientPipe(ours, ours, client...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &served{c, o.Dir}
}

// start serves one end of a pipe and returns the other. What was served has ended when the test does.
func start(t testing.TB, o Options) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- Serve(context.Background(), theirs, theirs, o) }()
	t.Cleanup(func() {
		_ = ours.Close()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Error("still served after the end of the connection")
		}
	})
	return ours
}

func write(t testing.TB, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (s *served) read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// code is the status code of SFTP behind the client's error, "ok" for none.
func code(err error) string {
	var status *sftp.StatusError
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, os.ErrNotExist):
		return "no such file"
	case errors.Is(err, os.ErrPermission):
		return "permission denied"
	case errors.As(err, &status):
		return status.FxCode().Error()
	}
	return err.Error()
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	s := serve(t, nil, Options{})
	long := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	f, err := s.Create("/f")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadFrom(bytes.NewReader(long)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(got, long) || s.read(t, "f") != string(long) {
		t.Errorf("%d bytes of %d came back, %v", len(got), len(long), err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheFlagsOfOpenAreHonoured(t *testing.T) {
	for _, test := range []struct {
		name        string
		flags       int
		status      string
		write, want string
	}{
		{"/there", os.O_RDONLY, "ok", "", "old"},
		{"/there", os.O_WRONLY, "ok", "n", "nld"},
		{"/there", os.O_WRONLY | os.O_TRUNC, "ok", "n", "n"},
		{"/there", os.O_WRONLY | os.O_APPEND, "ok", "new", "oldnew"},
		{"/there", os.O_RDWR | os.O_APPEND, "ok", "new", "oldnew"},
		{"/there", os.O_WRONLY | os.O_CREATE | os.O_EXCL, "failure", "", "old"},
		{"/absent", os.O_RDONLY, "no such file", "", ""},
		{"/absent", os.O_WRONLY, "no such file", "", ""},
		{"/absent", os.O_WRONLY | os.O_CREATE | os.O_EXCL, "ok", "new", "new"},
		{"/folder", os.O_RDONLY, "failure", "", ""},
		{"/folder/below", os.O_WRONLY | os.O_CREATE, "ok", "new", "new"},
		{"/there/below", os.O_WRONLY | os.O_CREATE, "no such file", "", ""},
	} {
		s := serve(t, map[string]string{"there": "old", "folder/": ""}, Options{})
		f, err := s.OpenFile(test.name, test.flags)
		if diff := cmp.Diff(test.status, code(err)); diff != "" {
			t.Errorf("%s, flags %#x: %s", test.name, test.flags, diff)
		}
		if err != nil {
			continue
		}
		if test.write != "" {
			_, err = f.Write([]byte(test.write))
		}
		if err := errors.Join(err, f.Close()); err != nil || s.read(t, test.name) != test.want {
			t.Errorf("%s, flags %#x: file is %q, want %q; %v", test.name, test.flags, s.read(t, test.name), test.want, err)
		}
	}
}

func TestWhatIsAppendedStaysInOrder(t *testing.T) {
	// Small packets: many requests are on their way before the first is answered.
	s := serve(t, map[string]string{"log": "begin:"}, Options{}, sftp.MaxPacketUnchecked(4))
	f, err := s.OpenFile("/log", os.O_WRONLY|os.O_APPEND)
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	for i := range 3000 {
		fmt.Fprintf(&want, "%08d", i)
	}
	if _, err := f.ReadFromWithConcurrency(bytes.NewReader(want.Bytes()), 64); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := s.read(t, "log"); got != "begin:"+want.String() {
		t.Errorf("%d bytes, not in the order in which they were sent", len(got))
	}
}

func TestEntriesAreMadeRenamedAndRemoved(t *testing.T) {
	for _, test := range []struct {
		name   string
		do     func(*sftp.Client) error
		status string
		want   []string // what is there afterwards
	}{
		{"mkdir", func(c *sftp.Client) error { return c.Mkdir("/new") }, "ok", []string{"a", "b", "d", "d/x", "new"}},
		{"mkdir of what is there", func(c *sftp.Client) error { return c.Mkdir("/d") }, "failure", nil},
		{"rmdir of what is not empty", func(c *sftp.Client) error { return c.RemoveDirectory("/d") }, "failure", nil},
		{"rmdir of a file", func(c *sftp.Client) error { return c.RemoveDirectory("/a") }, "no such file", nil},
		{"rmdir of everything", func(c *sftp.Client) error { return c.RemoveDirectory("/") }, "bad message", nil},
		{"remove", func(c *sftp.Client) error { return c.Remove("/a") }, "ok", []string{"b", "d", "d/x"}},
		{"rename", func(c *sftp.Client) error { return c.Rename("/a", "/d/y") }, "ok", []string{"b", "d", "d/x", "d/y"}},
		{"rename of a folder", func(c *sftp.Client) error { return c.Rename("/d", "/e") }, "ok", []string{"a", "b", "e", "e/x"}},
		{"rename to what is there", func(c *sftp.Client) error { return c.Rename("/a", "/b") }, "failure", nil},
		{"rename of a folder to what is there", func(c *sftp.Client) error { return c.Rename("/d", "/b") }, "failure", nil},
		{"posix-rename to what is there", func(c *sftp.Client) error { return c.PosixRename("/a", "/b") }, "ok", []string{"b", "d", "d/x"}},
		{"rename of nothing", func(c *sftp.Client) error { return c.Rename("/none", "/b") }, "no such file", nil},
		{"hard link", func(c *sftp.Client) error { return c.Link("/a", "/l") }, "ok", []string{"a", "b", "d", "d/x", "l"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, map[string]string{"a": "a", "b": "b", "d/x": "x"}, Options{})
			if test.want == nil {
				test.want = []string{"a", "b", "d", "d/x"}
			}
			if diff := cmp.Diff(test.status, code(test.do(s.Client))); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.want, s.everything(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// everything is what the folder holds, as the client walks it.
func (s *served) everything(t *testing.T) []string {
	t.Helper()
	var all []string
	for w := s.Walk("/"); w.Step(); {
		if err := w.Err(); err != nil {
			t.Fatal(err)
		}
		if name := strings.TrimPrefix(w.Path(), "/"); name != "" {
			all = append(all, name)
		}
	}
	return slices.Sorted(slices.Values(all))
}

func TestAFolderOfAnySizeIsListed(t *testing.T) {
	files := map[string]string{}
	for i := range 350 {
		files["d/"+strings.Repeat("x", i%50)+"-"+string(rune('A'+i/50))] = ""
	}
	s := serve(t, files, Options{})
	entries, err := s.ReadDir("/d")
	if err != nil || len(entries) != len(files) {
		t.Errorf("%d entries of %d, %v", len(entries), len(files), err)
	}
}

func TestAttributesAreSet(t *testing.T) {
	s := serve(t, map[string]string{"f": "content"}, Options{})
	then := time.Unix(1_000_000_000, 0)
	if err := errors.Join(
		s.Truncate("/f", 4), s.Chmod("/f", 0o640|os.ModeSetuid), s.Chtimes("/f", then, then), s.Chown("/f", os.Getuid(), os.Getgid()),
	); err != nil {
		t.Fatal(err)
	}
	info, err := s.Stat("/f")
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() != 4 || !info.ModTime().Equal(then) || info.Mode() != 0o640 { // nor does it become a setuid file
		t.Errorf("%v %d %v", info.Mode(), info.Size(), info.ModTime())
	}
}

func TestAFileIsMadeWithTheModeOfTheClient(t *testing.T) {
	for attrs, want := range map[string]os.FileMode{
		"\x00\x00\x81\xed":         0o755,
		"\x00\x00\x01\x80":         0o600,
		"\x00\x00\x0f\xff":         0o777,
		"":                         0o666,
		"\x00\x00\x81\xed12345678": 0o666,
	} {
		if got := newMode([]byte(attrs)); got != want {
			t.Errorf("%q: %o, want %o", attrs, got, want)
		}
	}
}

func TestRelativePathsBeginAtTheStart(t *testing.T) {
	for _, test := range []struct{ start, want string }{
		{"", "/"}, {"/home/a", "/home/a"}, {"home/a", "/home/a"}, {"/none", "/"}, {"../..", "/"},
	} {
		s := serve(t, map[string]string{"home/a/f": ""}, Options{Start: test.start})
		if got, err := s.Getwd(); got != test.want || err != nil {
			t.Errorf("start %q: %q, %v", test.start, got, err)
		}
	}
}

func TestReadOnlyChangesNothing(t *testing.T) {
	s := serve(t, map[string]string{"a": "old"}, Options{ReadOnly: true})
	if f, err := s.Open("/a"); err != nil {
		t.Error(err)
	} else if _, err := f.Write([]byte("new")); err == nil {
		t.Error("written to a handle that was opened to read")
	}
	for name, do := range map[string]func() error{
		"write":        func() error { _, err := s.OpenFile("/a", os.O_WRONLY); return err },
		"read, write":  func() error { _, err := s.OpenFile("/a", os.O_RDWR); return err },
		"truncate":     func() error { _, err := s.OpenFile("/a", os.O_RDONLY|os.O_TRUNC); return err },
		"create":       func() error { _, err := s.Create("/b"); return err },
		"mkdir":        func() error { return s.Mkdir("/b") },
		"remove":       func() error { return s.Remove("/a") },
		"rename":       func() error { return s.Rename("/a", "/b") },
		"posix-rename": func() error { return s.PosixRename("/a", "/b") },
		"link":         func() error { return s.Link("/a", "/b") },
		"symlink":      func() error { return s.Symlink("a", "/b") },
		"chmod":        func() error { return s.Chmod("/a", 0) },
	} {
		if diff := cmp.Diff("permission denied", code(do())); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if diff := cmp.Diff([]string{"a"}, s.everything(t)); diff != "" || s.read(t, "a") != "old" {
		t.Errorf("changed: %s", diff)
	}
}

func TestTheRoomLeftIsTold(t *testing.T) {
	s := serve(t, nil, Options{})
	room, err := s.StatVFS("/")
	var want unix.Statfs_t
	if err := unix.Statfs(s.dir, &want); err != nil {
		t.Fatal(err)
	}
	if err != nil || room.Blocks != want.Blocks || room.Bsize != uint64(want.Bsize) {
		t.Errorf("%+v, %v", room, err)
	}
}

func TestOnlySoManyFilesAreOpenAtOnce(t *testing.T) {
	s := serve(t, map[string]string{"f": ""}, Options{})
	var open []*sftp.File
	for range maxHandles {
		f, err := s.Open("/f")
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, f)
	}
	if _, err := s.Open("/f"); err == nil {
		t.Error("one more was opened")
	}
	if _, err := s.ReadDir("/"); err == nil {
		t.Error("a folder was opened")
	}
	if err := open[0].Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadDir("/"); err != nil {
		t.Errorf("none was opened after one was closed: %v", err)
	}
	if _, err := s.Open("/f"); err != nil {
		t.Errorf("a folder that was read to its end still counts: %v", err)
	}
}

func TestTheEndOfTheConnectionClosesAllFiles(t *testing.T) {
	s := serve(t, map[string]string{"f": "", "d/": ""}, Options{})
	for range 5 {
		if _, err := s.Open("/f"); err != nil {
			t.Fatal(err)
		}
	}
	if n := openBelow(t, s.dir); n < 6 { // the folder itself is open too
		t.Fatalf("%d are open: nothing is tested", n)
	}
	_ = s.Close()
	for deadline := time.Now().Add(20 * time.Second); openBelow(t, s.dir) > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("%d files are still open", openBelow(t, s.dir))
		}
	}
}

// openBelow counts the descriptors of this process that are open below dir.
func openBelow(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, dir) {
			n++
		}
	}
	return n
}
