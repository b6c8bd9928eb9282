package target

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

func TestMuchOutputReachesASlowReaderWhole(t *testing.T) {
	s := Start(t)
	session, err := connect(t, s).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	out, err := session.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start("head -c 8000000 /dev/zero; printf end"); err != nil {
		t.Fatal(err)
	}
	hash, buffer, size := sha256.New(), make([]byte, 100), 0
	for {
		n, err := out.Read(buffer[:1+size%len(buffer)])
		hash.Write(buffer[:n])
		size += n
		if err != nil {
			break
		}
		if size > 1<<20 { // slow enough: now faster
			buffer = make([]byte, 1<<16)
		}
	}
	want := sha256.Sum256(append(make([]byte, 8_000_000), "end"...))
	if !bytes.Equal(hash.Sum(nil), want[:]) {
		t.Errorf("%d bytes, not those that were written", size)
	}
	if err := session.Wait(); err != nil {
		t.Error(err)
	}
}

// pidsIn are the numbers that a command has written, a line each.
func pidsIn(t *testing.T, d *dialog, lines int) []int {
	t.Helper()
	await(t, "the numbers of the processes", func() bool { return strings.Count(d.out.String(), "\n") >= lines })
	var pids []int
	for field := range strings.FieldsSeq(d.out.String()) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

const stubborn = "trap '' HUP TERM; sleep 1000 & echo $!; (exec sleep 1000) & echo $!; set -m; sleep 1000 & echo $!; echo $$; wait"

func TestNothingOfASessionOutlivesItsClient(t *testing.T) {
	s := Start(t)
	for name, test := range map[string]struct {
		terminal bool
		leave    func(*ssh.Client, *dialog)
	}{
		"the connection is gone":                  {false, func(c *ssh.Client, _ *dialog) { _ = c.Close() }},
		"the channel is closed":                   {false, func(_ *ssh.Client, d *dialog) { _ = d.Close() }},
		"the connection is gone, with a terminal": {true, func(c *ssh.Client, _ *dialog) { _ = c.Close() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := connect(t, s)
			d := newDialog(t, client)
			if test.terminal {
				d.pty(80, 24, "")
			}
			d.exec(stubborn)
			pids := pidsIn(t, d, 4)
			test.leave(client, d)
			for _, pid := range pids {
				await(t, fmt.Sprintf("process %d of %v ends", pid, pids), func() bool { return !alive(pid) })
			}
		})
	}
}

func TestCloseLeavesNoProcess(t *testing.T) {
	s := Start(t)
	d := newDialog(t, connect(t, s))
	d.exec(stubborn)
	pids := pidsIn(t, d, 4)
	_ = s.Close()
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d of %v lives", pid, pids)
		}
	}
}

func TestHangupIsToldToTheProcesses(t *testing.T) {
	told := filepath.Join(t.TempDir(), "told")
	s := Start(t)
	client := connect(t, s)
	d := newDialog(t, client)
	d.exec("trap 'echo hangup > " + told + "; exit' HUP; echo up; while :; do sleep 0.02; done")
	d.wait("up")
	_ = client.Close()
	await(t, "the trap", func() bool { text, _ := os.ReadFile(told); return string(text) == "hangup\n" })
}

func TestWhatIsLeftInTheBackgroundOnPurposeStays(t *testing.T) {
	s := Start(t)
	d := newDialog(t, connect(t, s))
	d.exec("sleep 1000 >/dev/null 2>&1 & echo $!")
	if got := d.end(); !strings.HasSuffix(got, "exit 0") {
		t.Fatal(got)
	}
	pid := pidsIn(t, d, 1)[0]
	_ = s.Close()
	if !alive(pid) {
		t.Error("killed")
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	_ = process.Kill()
}

func TestNoFileOfTheUserIsRun(t *testing.T) {
	f := serve(t, accounts(map[string]string{
		configFile: "", "/home/alice/.ssh/rc": "echo rc was run\n", "/etc/ssh/sshrc": "echo sshrc was run\n",
	}), configured()...)
	client, err := f.login("alice", ssh.Password("tulip"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if got := execute("echo only this")(newDialog(t, client)); got != "only this\nexit 0" {
		t.Error(got)
	}
}

func TestAShellThatCannotBeRunIsToldToTheUser(t *testing.T) {
	f := serve(t, map[string]string{
		configFile: "", "/etc/group": "", "/etc/passwd": "alice:x:1000:1000::/nowhere:/bin/only-below-the-root\n",
		"/bin/only-below-the-root": "#!/bin/sh\n",
	}, configured()...)
	client, err := f.login("alice", ssh.Password("tulip"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	want := "stderr: Could not chdir to home directory " + f.root + "/nowhere: no such file or directory\n" +
		"/bin/only-below-the-root: no such file or directory\nexit 1"
	if diff := cmp.Diff(want, execute("x")(newDialog(t, client))); diff != "" {
		t.Error(diff)
	}
}

func TestSessionsLeaveNoFileOpen(t *testing.T) {
	s := Start(t)
	client := connect(t, s)
	one := func() {
		d := newDialog(t, client)
		d.ask("auth-agent-req@openssh.com", nil)
		d.pty(80, 24, "")
		execute("true")(d)
		execute("true")(newDialog(t, client))
	}
	one()
	await(t, "an end of it", func() bool { return openFiles(t) > 0 })
	before := openFiles(t)
	for range 20 {
		one()
	}
	await(t, "as few open files as before", func() bool { return openFiles(t) <= before })
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestASessionOfNoAddressRuns(t *testing.T) {
	s := Start(t)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "ssh"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := make(chan error, 1)
	go func() {
		theirs, err := l.Accept()
		if err == nil {
			err = s.ServeConn(theirs)
		}
		ended <- err
	}()
	ours, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, channels, requests, err := ssh.NewClientConn(ours, "", s.ClientConfig("alice"))
	if err != nil {
		t.Fatal(err)
	}
	client := ssh.NewClient(conn, channels, requests)
	if got := execute("echo $SSH_CONNECTION")(newDialog(t, client)); got != "UNKNOWN 65535 UNKNOWN 65535\nexit 0" {
		t.Error(got)
	}
	_ = client.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Bash takes a terminal that nobody gave to it, so that it cannot show this; /bin/sh may be another shell.
func TestTheTerminalIsTheSessionsFromItsStart(t *testing.T) {
	d := newDialog(t, connect(t, Start(t)))
	d.pty(80, 24, "")
	if got := execute("exec env -i sh -c 'echo from here > /dev/tty'")(d); got != "from here\r\nexit 0" {
		t.Error(got)
	}
}
