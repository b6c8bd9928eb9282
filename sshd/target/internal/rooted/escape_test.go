package rooted

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pkg/sftp"
	"golang.org/x/sys/unix"
)

// accesses are all ways by which a client could reach the file at a path.
func accesses(c *sftp.Client, name string) map[string]error {
	opened := func(flags int) error {
		f, err := c.OpenFile(name, flags)
		if err == nil {
			_ = f.Close()
		}
		return err
	}
	_, stat := c.Stat(name)
	_, list := c.ReadDir(name)
	return map[string]error{
		"read":     opened(os.O_RDONLY),
		"write":    opened(os.O_WRONLY),
		"create":   opened(os.O_WRONLY | os.O_CREATE),
		"truncate": opened(os.O_RDWR | os.O_TRUNC),
		"append":   opened(os.O_WRONLY | os.O_APPEND),
		"stat":     stat,
		"list":     list,
		"size":     c.Truncate(name, 0),
		"chmod":    c.Chmod(name, 0o777),
		"chown":    c.Chown(name, os.Getuid(), os.Getgid()),
		"times":    c.Chtimes(name, time.Unix(1, 0), time.Unix(1, 0)),
	}
}

// TestNoLinkLeadsOut: the links are those that somebody else has put there.
func TestNoLinkLeadsOut(t *testing.T) {
	for name, text := range map[string]string{
		"relative":         "../out",
		"absolute":         "OUT",
		"of /proc":         "/proc/self/root/OUT",
		"through itself":   "../in/../out",
		"to a folder":      "..",
		"to what is not":   "../new",
		"to the real root": "/",
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, map[string]string{"d/": ""}, Options{})
			out := filepath.Join(filepath.Dir(s.dir), "out")
			before := look(t, out)
			if text == "OUT" || text == "/proc/self/root/OUT" {
				text = text[:len(text)-3] + out
			}
			if err := os.Symlink(text, filepath.Join(s.dir, "link")); err != nil {
				t.Fatal(err)
			}
			for _, at := range []string{"/link", "/d/../link", "/link/."} {
				for how, err := range accesses(s.Client, at) {
					if err == nil {
						t.Errorf("%s of %s succeeded", how, at)
					}
				}
			}
			for how, err := range map[string]error{
				"below": code1(s.Open("/link/out")), "mkdir": s.Mkdir("/link/x"), "rename": s.Rename("/d", "/link/x"),
				"hard link": s.Link("/link/out", "/mine"), "remove": s.Remove("/link/out"), "symlink": s.Symlink("d", "/link/x"),
			} {
				if err == nil {
					t.Errorf("%s succeeded", how)
				}
			}
			if diff := cmp.Diff(before, look(t, out)); diff != "" {
				t.Errorf("what is outside was changed: %s", diff)
			}
			if entries, err := os.ReadDir(filepath.Dir(s.dir)); err != nil || len(entries) != 2 {
				t.Errorf("outside there is now %v, %v", entries, err)
			}
			if got, err := s.ReadLink("/link"); got != text || err != nil {
				t.Errorf("the link's text: %q, %v", got, err)
			}
			if err := s.Remove("/link"); err != nil {
				t.Errorf("the link itself cannot be removed: %v", err)
			}
		})
	}
}

func code1(_ *sftp.File, err error) error { return err }

// look is what a file is, as text.
func look(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().String() + info.ModTime().String() + string(data)
}

func TestDotsDoNotLeadOut(t *testing.T) {
	s := serve(t, nil, Options{})
	for _, name := range []string{"../out", "/../out", "/a/../../out", "//../out", "/..//out", "..", "/./../../etc/passwd"} {
		if f, err := s.Open(name); err == nil {
			_ = f.Close()
			t.Errorf("%s was opened", name)
		}
	}
	if got, err := s.RealPath("/../../x"); got != "/x" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestALinkThatIsMadeStaysInside(t *testing.T) {
	for _, test := range []struct{ text, at, status, want string }{
		{"f", "/link", "ok", "f"},
		{"../f", "/d/link", "ok", "../f"},
		{"/f", "/d/link", "ok", "../f"},
		{"/d/x", "/d/link", "ok", "x"},
		{"/../../f", "/d/link", "ok", "../f"},
		{"/etc/passwd", "/link", "ok", "etc/passwd"},
		{"../f", "/link", "permission denied", ""},
		{"d/../../f", "/link", "permission denied", ""},
		{"../../f", "/d/link", "permission denied", ""},
	} {
		s := serve(t, map[string]string{"f": "", "d/": ""}, Options{})
		err := s.Symlink(test.text, test.at)
		got, _ := os.Readlink(filepath.Join(s.dir, test.at))
		if diff := cmp.Diff([]string{test.status, test.want}, []string{code(err), got}); diff != "" {
			t.Errorf("%s -> %s: %s", test.at, test.text, diff)
		}
	}
}

func TestALinkInsideIsFollowed(t *testing.T) {
	s := serve(t, map[string]string{"d/f": "content"}, Options{})
	if err := s.Symlink("/d/f", "/link"); err != nil {
		t.Fatal(err)
	}
	f, err := s.Open("/link")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); string(got) != "content" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if info, err := s.Lstat("/link"); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("lstat: %v, %v", info, err)
	}
}

// TestASwappedFolderDoesNotLeadOut: while the client opens /d/out, d is now a folder with a file of that name, now a
// link to the folder outside, where there is such a file too.
func TestASwappedFolderDoesNotLeadOut(t *testing.T) {
	s := serve(t, map[string]string{"d/out": "mine", "link/": ""}, Options{})
	d, link := filepath.Join(s.dir, "d"), filepath.Join(s.dir, "link")
	if err := errors.Join(os.RemoveAll(link), os.Symlink("..", link)); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, d, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	read, refused := 0, 0
	for deadline := time.Now().Add(20 * time.Second); (read < 200 || refused < 200) && time.Now().Before(deadline); {
		f, err := s.Open("/d/out")
		if err != nil {
			refused++
			continue
		}
		got, err := io.ReadAll(f)
		_ = f.Close()
		if err != nil || string(got) != "mine" {
			t.Fatalf("read %q, %v", got, err)
		}
		read++
	}
	if read == 0 || refused == 0 {
		t.Errorf("read %d times, refused %d times: nothing was swapped", read, refused)
	}
}

func TestOnlyRegularFilesAreOpened(t *testing.T) {
	s := serve(t, nil, Options{})
	fifo := filepath.Join(s.dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(l)
	if err := unix.Bind(l, &unix.SockaddrUnix{Name: filepath.Join(s.dir, "s")}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/fifo", "/s"} {
		for _, flags := range []int{os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_CREATE, os.O_WRONLY | os.O_TRUNC} {
			if _, err := s.OpenFile(name, flags); code(err) != "permission denied" {
				t.Errorf("%s, flags %#x: %v", name, flags, err)
			}
		}
		if _, err := s.StatVFS(name); err != nil {
			t.Errorf("statvfs of %s: %v", name, err)
		}
		if _, err := s.Stat(name); err != nil {
			t.Errorf("stat of %s: %v", name, err)
		}
	}
}

func TestErrorsDoNotTellWhereTheFolderIs(t *testing.T) {
	s := serve(t, map[string]string{"a": "", "d/x": ""}, Options{})
	for name, err := range map[string]error{
		"rename": s.Rename("/a", "/d"), "rmdir": s.RemoveDirectory("/d"), "open": code1(s.Open("/d")), "mkdir": s.Mkdir("/a/b"),
	} {
		var status *sftp.StatusError
		if errors.As(err, &status) && filepath.IsAbs(status.Error()) || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
