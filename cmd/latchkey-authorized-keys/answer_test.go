package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
)

func TestOnlyTheLinesOfTheOfferedKeyArePrinted(t *testing.T) {
	r := newRig(t)
	bound, mine, other := newPublicKey(t), newPublicKey(t), newPublicKey(t)
	authority := "cert-authority,principals=\"git\" " + other.line + " the CA"
	restricted := "restrict,command=\"uptime \\\"now\\\"\" " + mine.line
	r.write("bound.index", indexer.User{Name: "git", Lines: []string{bound.line}})
	r.write("users.index",
		indexer.User{Name: "git", Lines: []string{restricted, other.line, authority, mine.line + " again", bound.line + " mine"}},
		indexer.User{Name: "root", Lines: []string{mine.line}})
	certificate := []string{"git", "1000", "/home/git", "ssh-ed25519-cert-v01@openssh.com", "AAAAIHNzaA=="}
	for _, test := range []struct {
		why   string
		words []string
		want  []string
	}{
		{"of one key all lines, in order", mine.question("git"), []string{restricted, mine.line + " again"}},
		{"of another user", mine.question("root"), []string{mine.line}},
		{"the bound key comes first", bound.question("git"), []string{bound.line, bound.line + " mine"}},
		{"a certificate gets all authorities", certificate, []string{authority}},
		{"an authority's own key is not an authority", other.question("git"), []string{other.line}},
		{"a key that is nowhere", newPublicKey(t).question("git"), nil},
		{"a key of somebody else", other.question("root"), nil},
		{"nobody", mine.question("nobody"), nil},
		{"all of a user's", []string{"git"}, []string{bound.line, restricted, other.line, authority, mine.line + " again", bound.line + " mine"}},
		{"nothing of nobody's", []string{"nobody"}, nil},
		{"of one index", append([]string{"--index=" + r.path("users.index")}, bound.question("git")...), []string{bound.line + " mine"}},
	} {
		t.Run(test.why, func(t *testing.T) {
			var want string
			if len(test.want) > 0 {
				want = strings.Join(test.want, "\n") + "\n"
			}
			r.want(t, want, exitDone, test.words...)
		})
	}
	if messages := r.messages(); messages != nil {
		t.Errorf("the journal has %q", messages)
	}
}

func TestAnIndexThatIsNotThereIsAnEmptyOne(t *testing.T) {
	r, key := newRig(t), newPublicKey(t)
	r.write("users.index", indexer.User{Name: "git", Lines: []string{key.line}})
	r.want(t, key.line+"\n", exitDone, key.question("git")...)
	r.indexes = [2]string{r.path("no/such/folder/x.index"), r.path("users.index")}
	r.want(t, key.line+"\n", exitDone, key.question("git")...)
	if err := os.Rename(r.path("users.index"), r.path("bound.index")); err != nil {
		t.Fatal(err)
	}
	r.indexes = [2]string{r.path("bound.index"), r.path("users.index")}
	r.want(t, key.line+"\n", exitDone, key.question("git")...)
	if messages := r.messages(); messages != nil {
		t.Errorf("the journal has %q", messages)
	}
}

// TestThatThereIsNoIndexAtAllIsSaid: nobody can have meant that, as an index that was
// removed is not missed otherwise. The administrator's own command is asked all the same.
func TestThatThereIsNoIndexAtAllIsSaid(t *testing.T) {
	r, key := newRig(t), newPublicKey(t)
	for _, test := range []struct {
		printed string
		words   []string
	}{
		{"", key.question("git")},
		{"", []string{"git"}},
		{"its line\n", append(key.question("git"), "--", r.file("bin/command", "#!/bin/sh\necho its line\n", 0o755))},
	} {
		r.want(t, test.printed, exitDone, test.words...)
		want := []string{"4 there is no key index, neither " + r.path("bound.index") + " nor " + r.path("users.index") + ": none lets a key in"}
		if diff := cmp.Diff(want, r.messages()); diff != "" {
			t.Errorf("the journal (-want +got):\n%s", diff)
		}
	}
}

// TestWithARefusedIndexNothingIsPrinted: neither from the other one, and whatever
// the administrator's own command would say.
func TestWithARefusedIndexNothingIsPrinted(t *testing.T) {
	for _, test := range []struct {
		why    string
		breaks func(r *rig, path string) error
		logged string
	}{
		{"written by its group", func(_ *rig, path string) error { return os.Chmod(path, 0o664) }, "can be written by others"},
		{"written by all", func(_ *rig, path string) error { return os.Chmod(path, 0o666) }, "can be written by others"},
		{"folder written by all", func(r *rig, _ string) error { return os.Chmod(r.dir, 0o777) }, "can be written by others"},
		{"folder written by all, sticky", func(r *rig, _ string) error { return os.Chmod(r.dir, 0o777|os.ModeSticky) }, "can be written by others"},
		{"FIFO", func(_ *rig, path string) error {
			return replace(path, func() error { return syscall.Mkfifo(path, 0o644) })
		}, "not a regular file"},
		{"folder", func(_ *rig, path string) error { return replace(path, func() error { return os.Mkdir(path, 0o755) }) }, "not a regular file"},
		{"symbolic link", func(r *rig, path string) error {
			return replace(path, func() error { return os.Symlink(r.path("bound.index"), path) })
		}, "symbolic link"},
		{"empty", func(_ *rig, path string) error { return os.Truncate(path, 0) }, ""},
		{"cut short", func(_ *rig, path string) error { return cutShort(path) }, ""},
		{"no index", func(_ *rig, path string) error { return os.WriteFile(path, make([]byte, 4096), 0o644) }, ""},
	} {
		t.Run(test.why, func(t *testing.T) {
			r, key := newRig(t), newPublicKey(t)
			user := indexer.User{Name: "git", Lines: []string{key.line}}
			r.write("bound.index", user)
			r.write("users.index", user)
			if err := test.breaks(r, r.path("users.index")); err != nil {
				t.Fatal(err)
			}
			r.want(t, "", exitRefused, key.question("git")...)
			r.want(t, "", exitRefused, append(key.question("git"), "--", "/bin/echo", key.line)...)
			r.want(t, "", exitRefused, "git")
			for _, message := range r.messages() {
				if !strings.HasPrefix(message, "3 "+r.dir) || !strings.Contains(message, test.logged) || !strings.HasSuffix(message, "; all keys are refused") {
					t.Errorf("the journal has %q", message)
				}
			}
		})
	}
}

// replace puts something else in the place of a file.
func replace(path string, put func() error) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return put()
}

func cutShort(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, info.Size()-1)
}

// TestADamagedIndexNeverLetsAWrongKeyIn: whichever byte is another, the answer is
// the right one or none at all.
func TestADamagedIndexNeverLetsAWrongKeyIn(t *testing.T) {
	r, mine, other := newRig(t), newPublicKey(t), newPublicKey(t)
	r.write("users.index", indexer.User{Name: "git", Lines: []string{mine.line}}, indexer.User{Name: "root", Lines: []string{other.line}})
	whole, err := os.ReadFile(r.path("users.index"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		damaged := append([]byte{}, whole...)
		damaged[i] ^= 0x21
		r.file("users.index", string(damaged), 0o644)
		for _, test := range []struct {
			key   publicKey
			right string
		}{{mine, mine.line + "\n"}, {other, ""}} {
			printed, status := r.ask(test.key.question("git")...)
			if status == exitDone && printed != test.right || status != exitDone && printed != "" {
				t.Errorf("byte %d: prints %q, exit status %d", i, printed, status)
			}
		}
		r.messages()
	}
}

func TestTheIndexThatIsAskedForHasToBeThere(t *testing.T) {
	r := newRig(t)
	r.want(t, "", exitRefused, "--index="+r.path("x.index"), "git")
	want := []string{"3 " + r.path("x.index") + ": there is no such file; all keys are refused"}
	if diff := cmp.Diff(want, r.messages()); diff != "" {
		t.Errorf("the journal (-want +got):\n%s", diff)
	}
}

func TestWrongUsageIsRefusedAndLogged(t *testing.T) {
	r, key := newRig(t), newPublicKey(t)
	for _, test := range []struct {
		words []string
		why   string
	}{
		{nil, "no user"},
		{[]string{""}, "an empty user"},
		{[]string{"--index=x"}, "no user"},
		{[]string{"--index=", "git"}, "option --index="},
		{[]string{"--index=a", "--index=b", "git"}, "option --index=b"},
		{[]string{"--indices=a", "git"}, "option --indices=a"},
		{[]string{"-x"}, "option -x"},
		{[]string{"git", "1000"}, "neither a user alone nor"},
		{[]string{"git", "1000", "/home/git", key.keyType}, "neither a user alone nor"},
		{append(key.question("git"), "more"), "neither a user alone nor"},
		{[]string{"git", "1000", "/home/git", "", key.blob}, "an empty type or key"},
		{[]string{"git", "1000", "/home/git", key.keyType, ""}, "an empty type or key"},
		{append(key.question(""), "--", "/bin/true"), "an empty user"},
		{append(key.question("git"), "--"), "no command"},
		{[]string{"--", "/bin/true"}, "option --"},
	} {
		r.want(t, "", exitUsage, test.words...)
		messages := r.messages()
		if len(messages) != 1 || !strings.HasPrefix(messages[0], "3 wrong usage: "+test.why) || strings.Contains(messages[0], key.blob) {
			t.Errorf("%q: the journal has %q", test.words, messages)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	r := newRig(t)
	help, status := r.ask("--help")
	if status != exitDone || !strings.Contains(help, "  AuthorizedKeysCommand /usr/sbin/latchkey-authorized-keys %u %U %h %t %k\n") {
		t.Errorf("prints %q, exit status %d", help, status)
	}
	for line := range strings.Lines(help) {
		if len(line) > 91 {
			t.Errorf("%q is too long", line)
		}
	}
	r.want(t, "latchkey-authorized-keys version devel\n", exitDone, "--version")
}

// TestManyLinesGoThroughASmallBuffer: the kernel keeps the boundaries of the writes
// to such a socket.
func TestManyLinesGoThroughASmallBuffer(t *testing.T) {
	r, key := newRig(t), newPublicKey(t)
	for _, test := range []struct{ lines, writes int }{{1, 1}, {500, 1}, {5000, 7}} {
		lines := make([]string, test.lines)
		for i := range lines {
			lines[i] = key.line
		}
		r.write("users.index", indexer.User{Name: "git", Lines: lines})
		ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		sizes := make(chan []int)
		go func() { sizes <- packetSizes(ends[0]) }()
		r.stdout = ends[1]
		if status := r.run(key.question("git")); status != exitDone {
			t.Errorf("exit status %d", status)
		}
		_ = syscall.Close(ends[1])
		got, total := <-sizes, 0
		for _, size := range got {
			total += size
		}
		if want := test.lines * (len(lines[0]) + 1); total != want || len(got) != test.writes {
			t.Errorf("%d lines: writes %d, want %d bytes in %d", test.lines, got, want, test.writes)
		}
	}
}

// packetSizes reads until the other end is closed.
func packetSizes(fd int) (sizes []int) {
	packet := make([]byte, 1<<20)
	for {
		n, err := syscall.Read(fd, packet)
		if n <= 0 || err != nil {
			_ = syscall.Close(fd)
			return sizes
		}
		sizes = append(sizes, n)
	}
}

// TestAReaderThatHasReadEnoughIsNoFailure: an sshd up to 7.5 closes the pipe once
// it has its line, and takes the exit status for the answer.
func TestAReaderThatHasReadEnoughIsNoFailure(t *testing.T) {
	r, key := newRig(t), newPublicKey(t)
	r.write("users.index", indexer.User{Name: "git", Lines: []string{key.line}})
	var pipe [2]int
	if err := syscall.Pipe2(pipe[:], syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	_ = syscall.Close(pipe[0])
	defer func() { _ = syscall.Close(pipe[1]) }()
	r.stdout = pipe[1]
	if status := r.run(key.question("git")); status != exitDone {
		t.Errorf("exit status %d, want %d", status, exitDone)
	}
}

func TestWhatCannotBeWrittenIsAFailure(t *testing.T) {
	r, key := newRig(t), newPublicKey(t)
	r.write("users.index", indexer.User{Name: "git", Lines: []string{key.line}})
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	r.stdout = int(full.Fd())
	if status := r.run(key.question("git")); status != exitRefused {
		t.Errorf("exit status %d, want %d", status, exitRefused)
	}
	want := []string{"3 write: no space left on device; all keys are refused"}
	if diff := cmp.Diff(want, r.messages()); diff != "" {
		t.Errorf("the journal (-want +got):\n%s", diff)
	}
}

// TestNothingInAHomeIsRead: nor does it matter whether there is one.
func TestNothingInAHomeIsRead(t *testing.T) {
	r, key := newRig(t), newPublicKey(t)
	home := r.path("home")
	r.file("home/.ssh/authorized_keys", key.line+"\n", 0o600)
	r.want(t, "", exitDone, "git", "1000", home, key.keyType, key.blob)
	r.write("users.index", indexer.User{Name: "git", Lines: []string{key.line}})
	r.want(t, key.line+"\n", exitDone, "git", "1000", filepath.Join(home, "gone"), key.keyType, key.blob)
}
