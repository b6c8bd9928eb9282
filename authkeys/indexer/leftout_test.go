package indexer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// buildWith builds with these options, and returns what was left out.
func buildWith(t testing.TB, o indexer.Options) (summary indexer.Summary, left []string, err error) {
	t.Helper()
	o.LeftOut = func(file string, line int, why error) {
		left = append(left, fmt.Sprintf("%s:%d: %.120v", filepath.Base(file), line, why))
	}
	summary, err = indexer.Build(context.Background(), o)
	return summary, left, err
}

// TestOneUsersFileDoesNotKeepOutTheOthers: what a user may do to a file of theirs costs
// that user the key, as with sshd, and never keeps the others' from being revoked.
func TestOneUsersFileDoesNotKeepOutTheOthers(t *testing.T) {
	tests := map[string]struct {
		spoil func(t *testing.T, path string)
		left  string
	}{
		"a link out of the folder": {func(t *testing.T, path string) { mustNot(t, os.Symlink("/etc/passwd", path)) }, "eve:0: a symbolic link that leads out of the folder"},
		"a dangling link":          {func(t *testing.T, path string) { mustNot(t, os.Symlink("none", path)) }, "eve:0: no such file or directory"},
		"a link to itself":         {func(t *testing.T, path string) { mustNot(t, os.Symlink("eve", path)) }, "eve:0: "},
		"written by others": {func(t *testing.T, path string) {
			writeFile(t, path, line("", 1, ""))
			mustNot(t, os.Chmod(path, 0o664))
		}, "eve:0: can be written to by others (mode 0664): sshd would not read it either (StrictModes)"},
		"a link to what others may write": {func(t *testing.T, path string) {
			sub := filepath.Join(filepath.Dir(path), "sub")
			mustNot(t, errors.Join(os.Mkdir(sub, 0o755), os.Symlink("sub/eve", path)))
			writeFile(t, filepath.Join(sub, "eve"), line("", 1, ""))
			mustNot(t, os.Chmod(sub, 0o777))
		}, "eve:0: its folder "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir, out := newFolder(t), filepath.Join(newFolder(t), "out")
			writeFile(t, filepath.Join(dir, "ada"), line("", 7, ""))
			writeFile(t, filepath.Join(dir, "zoe"), line("", 8, ""))
			test.spoil(t, filepath.Join(dir, "eve"))
			o := indexer.Options{Sources: []indexer.Source{{Path: dir}}, Out: out}
			summary, left, err := buildWith(t, o)
			if err != nil || summary.Users != 2 || summary.LeftOut != 1 || len(left) != 1 || !strings.HasPrefix(left[0], test.left) {
				t.Errorf("%+v, left out %q, %v", summary, left, err)
			}
			before := readFile(t, out)
			o.Strict = true
			if _, _, err := buildWith(t, o); !errors.Is(err, indexer.ErrSkipped) || readFile(t, out) != before {
				t.Errorf("strict: %v", err)
			}
		})
	}
}

func mustNot(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestLongLineIsLeftOut, and nothing but it.
func TestLongLineIsLeftOut(t *testing.T) {
	const long = "the line is longer than 1048576 bytes"
	tests := map[string]struct {
		text string
		left []string
	}{
		"a key with a newline": {line("", 1, strings.Repeat("x", 1<<20)) + "\n", []string{"in:4001: " + long}},
		"a key at the end":     {line("", 1, strings.Repeat("x", 1<<20)), []string{"in:4001: " + long}},
		"endless":              {strings.Repeat("x", 5<<20), []string{"in:4001: " + long}},
		"between others": {
			strings.Repeat("x", 3<<20) + "\r\n" + line("", 1, "") + "\n" + strings.Repeat("y", 2<<20) + "\n",
			[]string{"in:4001: " + long, "in:4003: " + long},
		},
		"as long as may be": {line("", 1, strings.Repeat("x", 1<<20-len(line("", 1, ""))-1)) + "\r\n", nil},
		"a comment":         {"# " + strings.Repeat("x", 3<<20) + "\n", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := newFolder(t)
			in := writeFile(t, filepath.Join(dir, "in"), keyLines(t, 4000)+test.text+"\n"+line("", 2, "last"))
			summary, left, err := buildWith(t, indexer.Options{
				Sources: []indexer.Source{{User: "git", Path: in}}, Out: filepath.Join(dir, "out"),
			})
			if diff := cmp.Diff(test.left, left); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
			if got, err := matched(open(t, filepath.Join(dir, "out")), "git", plain, key(2)); err != nil || len(got) != 2 || summary.Lines < 4001 {
				t.Errorf("%+v, and the last line is %q, %v", summary, got, err)
			}
		})
	}
}

// TestSourcesAreBelievedAsSshdBelievesThem: StrictModes of sshd_config(5).
func TestSourcesAreBelievedAsSshdBelievesThem(t *testing.T) {
	testmachine.RequireRoot(t)
	const ada, eve = 4001, 4002
	tests := map[string]struct {
		file, folder string // owner and mode
		left         bool
	}{
		"root's":                        {"0 0644", "0 0755", false},
		"the user's":                    {"4001 0600", "4001 0700", false},
		"the user's, in root's folder":  {"4001 0644", "0 0755", false},
		"another user's":                {"4002 0644", "0 0755", true},
		"written by the group":          {"0 0664", "0 0755", true},
		"written by all":                {"4001 0646", "0 0755", true},
		"in another user's folder":      {"4001 0644", "4002 0755", true},
		"in a folder that all write to": {"4001 0644", "0 1777", true},
	}
	uids := map[string]int{"ada": ada, "eve": eve}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			folder, out := newFolder(t), filepath.Join(newFolder(t), "out")
			path := writeFile(t, filepath.Join(folder, "ada"), line("", 1, ""))
			give(t, path, test.file)
			give(t, folder, test.folder)
			o := indexer.Options{
				Sources: []indexer.Source{{User: "ada", Path: path}}, Out: out, AllowEmpty: true,
				UID: func(user string) (int, bool) { uid, known := uids[user]; return uid, known },
			}
			summary, left, err := buildWith(t, o)
			if err != nil || (len(left) > 0) != test.left || summary.Lines != 1-summary.LeftOut {
				t.Errorf("%+v, left out %q, %v", summary, left, err)
			}
			o.AnyMode = true
			if summary, left, err = buildWith(t, o); err != nil || summary.Lines != 1 {
				t.Errorf("any mode: %+v, left out %q, %v", summary, left, err)
			}
		})
	}
}

// give gives a file an owner and a mode.
func give(t *testing.T, path, to string) {
	t.Helper()
	var uid int
	var mode uint32
	if _, err := fmt.Sscanf(to, "%d %o", &uid, &mode); err != nil {
		t.Fatal(err)
	}
	mustNot(t, errors.Join(unix.Chown(path, uid, 0), unix.Chmod(path, mode)))
}

// TestNothingIsOpenedToFindOutThatItIsNoFile: a device may take notice of being opened.
func TestNothingIsOpenedToFindOutThatItIsNoFile(t *testing.T) {
	dir := newFolder(t)
	fifo := filepath.Join(dir, "git")
	mustNot(t, unix.Mkfifo(fifo, 0o644))
	// Whoever opens the FIFO for reading lets this open it for writing.
	writer := func() bool {
		fd, err := unix.Open(fifo, unix.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err == nil
	}
	opened := make(chan bool)
	stop := make(chan struct{})
	go func() {
		seen := false
		for {
			select {
			case <-stop:
				opened <- seen
				return
			default:
				seen = seen || writer()
			}
		}
	}()
	for range 50 {
		if _, _, err := build(t, filepath.Join(dir, "out"), indexer.Source{User: "git", Path: fifo}); err == nil {
			t.Fatal("built")
		}
	}
	close(stop)
	if <-opened {
		t.Error("it was opened for reading")
	}
}

// TestEmptyResultChangesNothing unless it is asked for: a folder that is not mounted has no
// users, and a private key no line with a key.
func TestEmptyResultChangesNothing(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		file  string // given as a user's
		says  string
	}{
		"an empty folder":   {nil, "", "no source has a line with a key"},
		"empty files":       {map[string]string{"ada": "", "bob": "# gone\n"}, "", "no source has a line with a key"},
		"an empty file":     {map[string]string{"in": ""}, "in", "no source has a line with a key"},
		"a private key":     {map[string]string{"in": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n"}, "in", "/in is not empty, but has none either"},
		"comments, by name": {map[string]string{"in": "# none\n"}, "in", "/in is not empty, but has none either"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir, outDir := newFolder(t), newFolder(t)
			for name, text := range test.files {
				writeFile(t, filepath.Join(dir, name), text)
			}
			source := indexer.Source{Path: dir}
			if test.file != "" {
				source = indexer.Source{User: "git", Path: filepath.Join(dir, test.file)}
			}
			out := writeFile(t, filepath.Join(outDir, "users.index"), "old")
			o := indexer.Options{Sources: []indexer.Source{source}, Out: out}
			_, _, err := buildWith(t, o)
			if !errors.Is(err, indexer.ErrEmpty) || !strings.Contains(err.Error(), test.says) || readFile(t, out) != "old" {
				t.Errorf("error %v, want one that says %q", err, test.says)
			}
			wantNames(t, outDir, "users.index")
			o.AllowEmpty = true
			if summary, _, err := buildWith(t, o); err != nil || summary.Lines != 0 || readFile(t, out) == "old" {
				t.Errorf("allowed: %+v, %v", summary, err)
			}
		})
	}
}

// TestWhatIsNoKeyIsCalledByItsName, of what people put there in the place of one.
func TestWhatIsNoKeyIsCalledByItsName(t *testing.T) {
	dir := newFolder(t)
	for text, says := range map[string]string{
		"\ufeff" + line("", 1, "") + "\n":                      "byte order mark",
		"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA==\n":  "a private key",
		"-----BEGIN EC PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n":    "a private key",
		"---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END ----": "no key",
	} {
		in := writeFile(t, filepath.Join(dir, "in"), text+line("", 2, ""))
		_, skipped, err := build(t, filepath.Join(newFolder(t), "out"), indexer.Source{User: "git", Path: in})
		if err == nil && (len(skipped) == 0 || !strings.Contains(skipped[0], says)) {
			t.Errorf("%.20q: %q, want one that says %q", text, skipped, says)
		}
	}
}

// TestNamesThatAreHardlyUsersAreSaid, and taken.
func TestNamesThatAreHardlyUsersAreSaid(t *testing.T) {
	dir := newFolder(t)
	for i, name := range []string{"zoe~", "ada.pub", "bob"} {
		writeFile(t, filepath.Join(dir, name), line("", i, ""))
	}
	var warned []string
	summary, _, err := buildWith(t, indexer.Options{
		Sources: []indexer.Source{{Path: dir}}, Out: filepath.Join(newFolder(t), "out"),
		Warned: func(file string, why error) {
			warned = append(warned, filepath.Base(file)+": "+why.Error())
		},
	})
	want := []string{
		`ada.pub: taken as the file of a user "ada.pub": is it meant to be that of "ada"?`,
		`zoe~: taken as the file of a user "zoe~": is it meant to be that of "zoe"?`,
	}
	if diff := cmp.Diff(want, warned); err != nil || diff != "" || summary.Users != 3 {
		t.Errorf("%+v, %v\n%s", summary, err, diff)
	}
}

// TestIndexIsNoSource: in a folder of users it would be one the next time.
func TestIndexIsNoSource(t *testing.T) {
	dir := newFolder(t)
	writeFile(t, filepath.Join(dir, "ada"), line("", 1, ""))
	if _, _, err := build(t, filepath.Join(dir, "users.index"), indexer.Source{Path: dir}); err == nil {
		t.Error("built")
	}
	wantNames(t, dir, "ada")
}

// TestLeaseKeepsOutOneUserOnly: a user may lease a file of theirs (fcntl(2), F_SETLEASE),
// and nobody else can open it then without waiting.
func TestLeaseKeepsOutOneUserOnly(t *testing.T) {
	dir, out := newFolder(t), filepath.Join(newFolder(t), "out")
	writeFile(t, filepath.Join(dir, "ada"), line("", 1, ""))
	eve, err := os.Open(writeFile(t, filepath.Join(dir, "eve"), line("", 2, "")))
	mustNot(t, err)
	defer eve.Close()
	if _, err := unix.FcntlInt(eve.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Fatal(err)
	}
	summary, left, err := buildWith(t, indexer.Options{Sources: []indexer.Source{{Path: dir}}, Out: out})
	want := []string{"eve:0: somebody has a lease on it (fcntl(2), F_SETLEASE)"}
	if diff := cmp.Diff(want, left); err != nil || diff != "" || summary.Users != 1 {
		t.Errorf("%+v, %v\n%s", summary, err, diff)
	}
}

// TestEndlessFileKeepsOutOneUserOnly: a file with holes has any size, and takes as long to read.
func TestEndlessFileKeepsOutOneUserOnly(t *testing.T) {
	dir, out := newFolder(t), filepath.Join(newFolder(t), "out")
	writeFile(t, filepath.Join(dir, "ada"), line("", 1, ""))
	mustNot(t, os.Truncate(writeFile(t, filepath.Join(dir, "eve"), line("", 2, "")+"\n"), 1<<40))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var left []string
	summary, err := indexer.Build(ctx, indexer.Options{
		Sources: []indexer.Source{{Path: dir}}, Out: out,
		LeftOut: func(file string, _ int, why error) { left = append(left, filepath.Base(file)+": "+why.Error()) },
	})
	want := []string{"eve: larger than 64 MiB"}
	if diff := cmp.Diff(want, left); err != nil || diff != "" || summary.Users != 1 {
		t.Errorf("%+v, %v\n%s", summary, err, diff)
	}
}

// TestFileThatGrowsKeepsOutOneUserOnly: what it had when it was opened is no promise.
func TestFileThatGrowsKeepsOutOneUserOnly(t *testing.T) {
	testmachine.RequireRoot(t)
	dir, out := newFolder(t), filepath.Join(newFolder(t), "out")
	writeFile(t, filepath.Join(dir, "ada"), line("", 1, ""))
	eve := writeFile(t, filepath.Join(dir, "eve"), keyLines(t, 4000))
	give(t, eve, "4002 0644")
	summary, left, err := buildWith(t, indexer.Options{
		Sources: []indexer.Source{{Path: dir}}, Out: out,
		UID: func(string) (int, bool) { return 4002, os.Truncate(eve, 65<<20) == nil }, // it is open
	})
	want := []string{"eve:4001: it and all lines after it cannot be read: larger than 64 MiB"}
	if diff := cmp.Diff(want, left); err != nil || diff != "" || summary.Users != 2 || summary.Lines != 4001 {
		t.Errorf("%+v, %v\n%s", summary, err, diff)
	}
}

// TestErrorOfReadingKeepsOutOneUserOnly: among what proc(5) has of a process are files that
// open, and cannot be read then.
func TestErrorOfReadingKeepsOutOneUserOnly(t *testing.T) {
	const folder = "/proc/self"
	out := filepath.Join(newFolder(t), "out")
	ada := indexer.Source{User: "ada", Path: writeFile(t, filepath.Join(newFolder(t), "ada"), line("", 1, ""))}
	summary, left, err := buildWith(t, indexer.Options{Sources: []indexer.Source{ada, {Path: folder}}, Out: out})
	if err != nil || summary.Lines != 1 || !slices.Contains(left, "mem:0: input/output error") {
		t.Errorf("%+v, %v\n%q", summary, err, left)
	}
	_, _, err = build(t, out, ada, indexer.Source{User: "git", Path: folder + "/mem"})
	if !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), folder+"/mem") {
		t.Errorf("named: %v", err)
	}
}
