package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// nobody is neither root nor the owner of anything.
const nobody = 65534

// An installed is a machine with the program as it is built, and a socket where the
// journal's is.
type installed struct {
	*testmachine.Machine
	*rig
	t *testing.T
}

// built is the program as `make build` has it, made when it is first needed.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "latchkey-built-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, name)
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	program, err := os.ReadFile(path)
	return string(program), err
})

func install(t *testing.T) *installed {
	t.Helper()
	m := &installed{Machine: testmachine.New(t), t: t}
	program, err := built()
	if err != nil {
		t.Fatalf("build the program: %v", err)
	}
	m.WriteFile("/usr/sbin/"+name, program, 0o755)
	m.Mkdir(index.Dir, 0o755)
	m.Mkdir("/run/systemd/journal", 0o755)
	m.rig = &rig{t: t, dir: m.Path(index.Dir)}
	m.inbox = m.listen(m.Path("/run/systemd/journal/socket"))
	if err := os.Chmod(m.Path("/run/systemd/journal/socket"), 0o666); err != nil {
		t.Fatal(err)
	}
	return m
}

// command is the program as sshd starts it for nobody.
func (m *installed) command(words ...string) *exec.Cmd {
	cmd := m.Chroot("/usr/sbin/"+name, words...)
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	return cmd
}

// outcome is what the program prints on standard output, and its exit status.
func (m *installed) outcome(words ...string) (printed string, status int) {
	m.t.Helper()
	cmd := m.command(words...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestAsNobodyAnIndexThatOthersCanChangeIsRefused(t *testing.T) {
	m, key := install(t), newPublicKey(t)
	for _, test := range []struct {
		why    string
		script string // what is done as root, in the folder of the indexes
		status int
		logged string
	}{
		{"as it should be", "", exitDone, ""},
		{"not there", "rm users.index", exitDone, ""},
		{"folder not there", "rm *.index; rmdir ../keys", exitDone, "4 there is no key index, neither "},
		{"somebody else's", "chown nobody users.index", exitRefused, "users.index: belongs to uid 65534, not to uid 0"},
		{"written by all", "chmod 666 users.index", exitRefused, "users.index: can be written by others: its mode is 0666"},
		{"written by its group", "chmod 664 users.index", exitRefused, "users.index: can be written by others: its mode is 0664"},
		{"unreadable", "chmod 600 users.index", exitRefused, "users.index: cannot be opened: permission denied"},
		{"folder written by all", "chmod 777 .", exitRefused, "keys: can be written by others: its mode is 0777"},
		{"folder written by its group", "chmod 775 .", exitRefused, "keys: can be written by others: its mode is 0775"},
		{"folder somebody else's", "chown nobody .", exitRefused, "keys: belongs to uid 65534, not to uid 0"},
		{"folder above written by all", "chmod 777 ..", exitRefused, "latchkey: can be written by others: its mode is 0777"},
		{"folder above somebody else's", "chown nobody ..", exitRefused, "latchkey: belongs to uid 65534, not to uid 0"},
		{"folder above closed", "chmod 700 ..", exitRefused, "cannot be opened: permission denied"},
		{"FIFO", "rm users.index; mkfifo users.index", exitRefused, "users.index: is not a regular file"},
		{"device", "rm users.index; mknod users.index c 1 5", exitRefused, "users.index: is not a regular file"},
		{"folder in its place", "rm users.index; mkdir users.index", exitRefused, "users.index: is not a regular file"},
		{"symbolic link", "mv users.index u; ln -s u users.index", exitRefused, "users.index: is a symbolic link"},
		{"folder a link", "cd ..; mv keys k; ln -s k keys", exitDone, ""},
		{"folder a link to one that others can change", "cd ..; mv keys k; chmod 777 k; ln -s k keys", exitRefused, "k: can be written by others: its mode is 0777"},
		{"empty", ": >users.index", exitRefused, "users.index: "},
		{"text", "echo 'git ssh-ed25519 AAAA' >users.index", exitRefused, "users.index: "},
	} {
		t.Run(test.why, func(t *testing.T) {
			m.furnish(key)
			m.Run(t, "sh", "-ec", "umask 022; cd "+index.Dir+"\n"+test.script)
			printed, status := m.outcome(key.question("git")...)
			if status != test.status || (status != exitDone && printed != "") {
				t.Errorf("prints %q, exit status %d, want %d", printed, status, test.status)
			}
			messages := strings.Join(m.messages(), "\n")
			if !strings.Contains(messages, test.logged) || (test.logged == "") != (messages == "") || strings.Contains(messages, key.blob) {
				t.Errorf("the journal has %q, want %q", messages, test.logged)
			}
		})
	}
}

// furnish puts the indexes in order: one of each, with the key.
func (m *installed) furnish(key publicKey) {
	m.t.Helper()
	m.Run(m.t, "rm", "-rf", filepath.Dir(index.Dir))
	m.Mkdir(filepath.Dir(index.Dir), 0o711)
	m.Mkdir(index.Dir, 0o755)
	for _, file := range []string{"bound.index", "users.index"} {
		m.write(file, indexer.User{Name: "git", Lines: []string{key.line}})
	}
}

// TestWhoeverRunsItDecidesNothingByTheEnvironment: sshd gives it a clean one.
func TestWhoeverRunsItDecidesNothingByTheEnvironment(t *testing.T) {
	m, key := install(t), newPublicKey(t)
	m.furnish(key)
	cmd := m.command(key.question("git")...)
	cmd.Env = []string{
		"GOGC=1", "GOMEMLIMIT=1", "GOTRACEBACK=crash", "GOMAXPROCS=1", "GODEBUG=gctrace=1,inittrace=1,schedtrace=1",
		"LD_PRELOAD=/no/such.so", "LD_LIBRARY_PATH=/tmp", "PATH=/tmp", "HOME=/tmp",
	}
	if out, err := cmd.Output(); err != nil || string(out) != key.line+"\n"+key.line+"\n" {
		t.Errorf("prints %q, %v", out, err)
	}
}

// TestACommandIsGivenNoDescriptorOfOurs compares with what a command gets from here.
func TestACommandIsGivenNoDescriptorOfOurs(t *testing.T) {
	m, key := install(t), newPublicKey(t)
	m.write("users.index", indexer.User{Name: "git", Lines: []string{"restrict " + key.line}})
	want := m.Run(t, "ls", "/proc/self/fd")
	printed, status := m.outcome(append(key.question("git"), "--", "/usr/bin/ls", "/proc/self/fd")...)
	if got, ours := strings.CutPrefix(printed, "restrict "+key.line+"\n"); !ours || got != want || status != exitDone {
		t.Errorf("prints %q, want these after the line: %q", printed, want)
	}
}

// TestACommandDoesNotOutliveUs: sshd kills the program when a client has taken too
// long to log in.
func TestACommandDoesNotOutliveUs(t *testing.T) {
	m, key := install(t), newPublicKey(t)
	m.WriteFile("/usr/local/sbin/slow", "#!/bin/sh\necho $$ >/tmp/pid.new\nmv /tmp/pid.new /tmp/pid\nexec sleep 1000\n", 0o755)
	cmd := m.command(append(key.question("git"), "--", "/usr/local/sbin/slow")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := ""
	await(t, "the command runs", func() bool {
		text, err := os.ReadFile(m.Path("/tmp/pid"))
		pid = strings.TrimSpace(string(text))
		return err == nil
	})
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	await(t, "the command has ended", func() bool { return hasEnded(pid) })
}

// TestAReaderThatHasGoneIsNoFailure: the program as built outlives SIGPIPE.
func TestAReaderThatHasGoneIsNoFailure(t *testing.T) {
	m, key := install(t), newPublicKey(t)
	m.furnish(key)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	defer writer.Close()
	cmd := m.command(key.question("git")...)
	cmd.Stdout = writer
	if err := cmd.Run(); err != nil {
		t.Errorf("%v", err)
	}
}

// TestAnSSHDThatDoesNotReadIsGivenUp takes the five seconds that the program has.
func TestAnSSHDThatDoesNotReadIsGivenUp(t *testing.T) {
	m, key := install(t), newPublicKey(t)
	m.write("users.index", indexer.User{Name: "git", Lines: strings.Split(strings.Repeat(key.line+"\n", 2999)+key.line, "\n")})
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	cmd := m.command(key.question("git")...)
	cmd.Stdout, cmd.Stderr = writer, writer // full by then: what is said there must not be waited for
	began := time.Now()
	err = cmd.Run()
	if took := time.Since(began); cmd.ProcessState.ExitCode() != exitRefused || took < 5*time.Second || took > 9*time.Second {
		t.Errorf("%v after %v", err, took)
	}
	if messages := fmt.Sprint(m.messages()); !strings.Contains(messages, "3 no progress in 5000 ms") {
		t.Errorf("the journal has %s", messages)
	}
}

// TestStandardErrorIsNotWaitedFor: it is a pipe that nobody reads, and full.
func TestStandardErrorIsNotWaitedFor(t *testing.T) {
	m, key := install(t), newPublicKey(t)
	m.write("users.index", indexer.User{Name: "git", Lines: []string{"restrict " + key.line}})
	reader, writer := fullPipe(t)
	defer reader.Close()
	defer writer.Close()
	for _, test := range []struct {
		words  []string
		status int
	}{
		{[]string{"--no-such"}, exitUsage},
		{[]string{"--index=/no/such/index", "git"}, exitRefused},
		{append(key.question("git"), "--", "/no/such/command"), exitDone},
	} {
		cmd := m.command(test.words...)
		cmd.Stderr = writer
		began := time.Now()
		err := cmd.Run()
		if took := time.Since(began); cmd.ProcessState.ExitCode() != test.status || took > 4*time.Second {
			t.Errorf("%s: %v after %v, want exit status %d at once", test.words[0], err, took, test.status)
		}
		if messages := m.messages(); len(messages) != 1 {
			t.Errorf("%s: the journal has %q", test.words[0], messages)
		}
	}
}

func fullPipe(t *testing.T) (reader, writer *os.File) {
	t.Helper()
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	for err := error(nil); err == nil; {
		_, err = syscall.Write(ends[1], make([]byte, 4096))
	}
	if err := syscall.SetNonblock(ends[1], false); err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(ends[0]), "reader"), os.NewFile(uintptr(ends[1]), "writer")
}

// TestDescriptorsThatAreClosedDoNotMatter: what the program opens then must not be
// taken for what it was given.
func TestDescriptorsThatAreClosedDoNotMatter(t *testing.T) {
	m, key := install(t), newPublicKey(t)
	m.write("users.index", indexer.User{Name: "git", Lines: []string{"restrict " + key.line}})
	const ours, theirs = "restrict ", "its line\n"
	for _, test := range []struct{ closed, want string }{
		{"<&-", ours + key.line + "\n" + theirs},
		{"2>&-", ours + key.line + "\n" + theirs},
		{"<&- 2>&-", ours + key.line + "\n" + theirs},
		{">&-", ""},
		{"<&- >&- 2>&-", ""},
	} {
		words := append([]string{"-c", `exec "$@" ` + test.closed, "sh", "/usr/sbin/" + name}, key.question("git")...)
		cmd := m.Chroot("/bin/sh", append(words, "--", "/usr/bin/echo", "its line")...)
		began := time.Now()
		out, err := cmd.Output()
		if took := time.Since(began); string(out) != test.want || err != nil || took > 4*time.Second {
			t.Errorf("%s: prints %q, %v after %v", test.closed, out, err, took)
		}
		if used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(); used > time.Second {
			t.Errorf("%s: took %v of a processor", test.closed, used)
		}
	}
}

// TestACommandOnADiskThatDoesNotAnswerIsGivenUp takes five seconds too, and lets in who has a line of
// ours. It hangs in execve(2), in a process that still has our memory, and whose start keeps one of
// Go's processors meanwhile: so on a machine that has no other.
func TestACommandOnADiskThatDoesNotAnswerIsGivenUp(t *testing.T) {
	m, key := install(t), newPublicKey(t)
	m.write("users.index", indexer.User{Name: "git", Lines: []string{"restrict " + key.line}})
	m.WriteFile("/usr/local/sbin/hangs", "#!/bin/sh\necho its line\n", 0o755)
	hold(t, m.Path("/usr/local/sbin/hangs"), unix.FAN_OPEN_EXEC_PERM)
	reader, writer := fullPipe(t)
	defer reader.Close()
	defer writer.Close()
	cmd := m.command(append(key.question("git"), "--", "/usr/local/sbin/hangs")...)
	cmd.Stderr = writer
	began := time.Now()
	out, err := onOneProcessor(t, cmd)
	if took := time.Since(began); err != nil || out != "restrict "+key.line+"\n" || took < 5*time.Second || took > 9*time.Second {
		t.Errorf("prints %q, %v after %v", out, err, took)
	}
	if messages := fmt.Sprint(m.messages()); !strings.Contains(messages, "4 AuthorizedKeysCommand /usr/local/sbin/hangs does not count: no progress in 5000 ms") {
		t.Errorf("the journal has %s", messages)
	}
}

// TestAnIndexOnADiskThatDoesNotAnswerIsGivenUp takes another five, with a single processor too.
func TestAnIndexOnADiskThatDoesNotAnswerIsGivenUp(t *testing.T) {
	m, key := install(t), newPublicKey(t)
	m.furnish(key)
	hold(t, m.Path(index.Users), unix.FAN_ACCESS_PERM)
	began := time.Now()
	cmd := m.command(key.question("git")...)
	out, _ := onOneProcessor(t, cmd)
	if took := time.Since(began); cmd.ProcessState.ExitCode() != exitRefused || out != "" || took < 5*time.Second || took > 9*time.Second {
		t.Errorf("prints %q, exit status %d after %v", out, cmd.ProcessState.ExitCode(), took)
	}
	if messages := fmt.Sprint(m.messages()); !strings.Contains(messages, "3 no progress in 5000 ms") {
		t.Errorf("the journal has %s", messages)
	}
}

// onOneProcessor runs a command as on a machine with one processor, and returns what it prints. One
// that has not ended in ten seconds is killed.
func onOneProcessor(t *testing.T, cmd *exec.Cmd) (printed string, err error) {
	t.Helper()
	var out strings.Builder
	cmd.Stdout = &out
	started := make(chan error)
	go func() { // on a thread that ends with it: the child has its processor from there
		runtime.LockOSThread()
		var before, first unix.CPUSet
		err := unix.SchedGetaffinity(0, &before)
		for cpu := 0; first.Count() == 0; cpu++ {
			if before.IsSet(cpu) {
				first.Set(cpu)
			}
		}
		started <- errors.Join(err, unix.SchedSetaffinity(0, &first), cmd.Start())
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() }).Stop()
	err = cmd.Wait()
	return out.String(), err
}
