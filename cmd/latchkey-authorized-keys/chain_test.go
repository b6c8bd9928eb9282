package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
)

// chained is a rig whose index has a line with options for a key, so that the
// administrator's command is asked too.
type chained struct {
	*rig
	key  publicKey
	line string
}

func newChained(t *testing.T) *chained {
	t.Helper()
	c := &chained{rig: newRig(t), key: newPublicKey(t)}
	c.line = "restrict " + c.key.line
	c.write("users.index", indexer.User{Name: "git", Lines: []string{c.line}})
	return c
}

// script is a command of the administrator's.
func (c *chained) script(lines ...string) string {
	c.t.Helper()
	return c.file("bin/command", "#!/bin/sh\n"+strings.Join(lines, "\n")+"\n", 0o755)
}

// question is what sshd asks about the key, with a command to ask after.
func (c *chained) question(command ...string) []string {
	return append(append(c.key.question("git"), "--"), command...)
}

// noChildren fails the test when it has a child left, running or not.
func noChildren(t *testing.T) {
	t.Helper()
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("there is a child left: wait4 says %d, %v", pid, err)
	}
}

// await polls until something holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func TestTheCommandsLinesComeAfterOurs(t *testing.T) {
	c := newChained(t)
	c.want(t, c.line+"\nits line\nand another", exitDone, c.question(c.script(`echo its line; printf 'and another'`))...)
	c.want(t, c.line+"\n", exitDone, c.question(c.script(`true`))...)
	noChildren(t)
	if messages := c.messages(); messages != nil {
		t.Errorf("the journal has %q", messages)
	}
}

func TestTheCommandGetsItsArgumentsAsSSHDGaveThem(t *testing.T) {
	c := newChained(t)
	arguments := []string{"plain", "with blanks", `with "quotes" and \`, "", "*", "$HOME", "a\nnewline", "--", "--help", "ключ"}
	command := c.script(`printf '<%s>\n' "$@"`)
	want := c.line + "\n"
	for _, argument := range arguments {
		want += "<" + argument + ">\n"
	}
	c.want(t, want, exitDone, c.question(append([]string{command}, arguments...)...)...)
}

func TestTheCommandRunsAsSSHDWouldRunIt(t *testing.T) {
	c := newChained(t)
	t.Setenv("LATCHKEY_TEST", "of the environment")
	command := c.script(
		`echo "environment: $LATCHKEY_TEST"`,
		`echo "folder: $(pwd)"`,
		`echo "input: $(readlink /proc/self/fd/0)"`,
		`echo "output: $(readlink /proc/$$/fd/1 | sed 's/:.*//')"`,
		`echo "group: $(($$ - $(cut -d ' ' -f 5 /proc/$$/stat)))"`,
		`sed -n 's/^SigIgn:/ignored:/p' /proc/$$/status`)
	printed, _ := c.ask(c.question(command)...)
	want := c.line + `
environment: of the environment
folder: /
input: /dev/null
output: pipe
group: 0
ignored:` + ignored(t) + "\n"
	if diff := cmp.Diff(want, printed); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// ignored are the signals that this process ignores, since whoever started it did: as
// in /proc/PID/status.
func ignored(t *testing.T) string {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "SigIgn:")
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

// TestACommandThatFailsIsNotOurFailure: our lines count, none of its does, and the
// journal says why.
func TestACommandThatFailsIsNotOurFailure(t *testing.T) {
	for _, test := range []struct {
		why     string
		command func(c *chained) []string
		logged  string
	}{
		{"exit status", func(c *chained) []string { return []string{c.script(`echo its line; exit 3`)} }, "exit status 3"},
		{"signal", func(c *chained) []string { return []string{c.script(`echo its line; kill -9 $$`)} }, "killed by signal 9"},
		{"too much", func(c *chained) []string {
			return []string{c.script(`echo its line; exec head -c 100000000 /dev/zero`)}
		}, "it prints more than 16777216 bytes"},
		{"far too much, for ever", func(c *chained) []string { return []string{c.script(`exec yes`)} }, "it prints more than 16777216 bytes"},
		{"late", func(c *chained) []string {
			c.patience = 100
			return []string{c.script(`echo its line; exec sleep 1000`)}
		}, "it did not end in 100 ms"},
		{"late, its output closed", func(c *chained) []string {
			c.patience = 100
			return []string{c.script(`echo its line; exec sleep 1000 >/dev/null`)}
		}, "it did not end in 100 ms"},
		{"not executable", func(c *chained) []string { return []string{c.file("bin/command", "#!/bin/sh\n", 0o644)} }, "permission denied"},
		{"not there", func(c *chained) []string { return []string{c.path("bin/command")} }, "no such file"},
		{"no program", func(c *chained) []string { return []string{c.file("bin/command", "echo its line\n", 0o755)} }, "exec format error"},
		{"interpreter not there", func(c *chained) []string { return []string{c.file("bin/command", "#!/no/such/shell\n", 0o755)} }, "no such file"},
		{"relative", func(*chained) []string { return []string{"bin/sh"} }, "absolute"},
		{"name alone", func(*chained) []string { return []string{"sh", "-c", "echo its line"} }, "absolute"},
		{"empty", func(*chained) []string { return []string{""} }, "absolute"},
		{"folder", func(c *chained) []string { return []string{c.dir} }, "not a regular file"},
		{"written by its group", func(c *chained) []string { return []string{c.file("bin/command", "#!/bin/sh\necho its line\n", 0o775)} }, "can be written by others"},
		{"written by all", func(c *chained) []string { return []string{c.file("bin/command", "#!/bin/sh\necho its line\n", 0o757)} }, "can be written by others"},
		{"in a folder written by all", func(c *chained) []string {
			command := c.script(`echo its line`)
			if err := os.Chmod(filepath.Dir(command), 0o777); err != nil {
				c.t.Fatal(err)
			}
			return []string{command}
		}, "can be written by others"},
		{"linked into a folder written by all", func(c *chained) []string {
			command := c.script(`echo its line`)
			link := c.path("link")
			if err := os.Symlink(command, link); err != nil {
				c.t.Fatal(err)
			}
			if err := os.Chmod(filepath.Dir(command), 0o777); err != nil {
				c.t.Fatal(err)
			}
			return []string{link}
		}, "can be written by others"},
		{"somebody else's", func(*chained) []string { return []string{"/bin/echo", "its line"} }, ""},
	} {
		t.Run(test.why, func(t *testing.T) {
			c := newChained(t)
			words := test.command(c)
			c.want(t, c.line+"\n", exitDone, c.question(words...)...)
			messages := c.messages()
			if len(messages) != 1 || !strings.HasPrefix(messages[0], "4 AuthorizedKeysCommand "+words[0]+" does not count: ") || !strings.Contains(messages[0], test.logged) {
				t.Errorf("the journal has %q, want %q", messages, test.logged)
			}
			noChildren(t)
		})
	}
}

func TestALinkToASoundCommandIsFollowed(t *testing.T) {
	c := newChained(t)
	link := c.path("link")
	if err := os.Symlink(c.script(`echo its line`), link); err != nil {
		t.Fatal(err)
	}
	c.want(t, c.line+"\nits line\n", exitDone, c.question(link)...)
}

// TestALateCommandIsKilledWithItsChildren: but for those that have left its group.
func TestALateCommandIsKilledWithItsChildren(t *testing.T) {
	c := newChained(t)
	c.patience = 300
	pids := c.path("pids")
	command := c.script("sleep 1000 & echo $! >"+pids, "(sleep 1001 & echo $! >>"+pids+")", "wait", "exec sleep 1002")
	c.want(t, c.line+"\n", exitDone, c.question(command)...)
	text, err := os.ReadFile(pids)
	if err != nil || len(strings.Fields(string(text))) != 2 {
		t.Fatalf("its children are %q (%v)", text, err)
	}
	for _, pid := range strings.Fields(string(text)) {
		await(t, pid+" has ended", func() bool { return hasEnded(pid) })
	}
	noChildren(t)
}

// hasEnded tells whether a process is gone, or a zombie that init has yet to see.
func hasEnded(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err != nil || bytes.Contains(stat, []byte(") Z "))
}

// TestWhatACommandLeavesBehindIsNotWaitedFor: it holds the pipe as sshd's own
// child could, and sshd would wait for it.
func TestWhatACommandLeavesBehindIsNotWaitedFor(t *testing.T) {
	c := newChained(t)
	pid := c.path("pid")
	command := c.script("sleep 1000 & echo $! >"+pid, "echo its line")
	began := time.Now()
	c.want(t, c.line+"\nits line\n", exitDone, c.question(command)...)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	text, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	left, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || syscall.Kill(left, 0) != nil {
		t.Errorf("what it left behind (%q) has ended: nothing here is to end it", text)
	}
	_ = syscall.Kill(left, syscall.SIGKILL)
	if messages := c.messages(); messages != nil {
		t.Errorf("the journal has %q", messages)
	}
}

// TestAllThatACommandPrintsIsRead: more than a pipe holds, in many pieces, up to
// the limit.
func TestAllThatACommandPrintsIsRead(t *testing.T) {
	c := newChained(t)
	for _, size := range []int{1, 65536, 65537, 1 << 20} {
		c.most = size
		printed, status := c.ask(c.question(c.script(fmt.Sprintf("head -c %d /dev/zero", size)))...)
		if len(printed) != len(c.line)+1+size || status != exitDone {
			t.Errorf("%d bytes: printed %d, exit status %d", size, len(printed), status)
		}
	}
	c.want(t, c.line+"\na\nb\nc\n", exitDone, c.question(c.script("echo a; sleep 0.02; echo b; sleep 0.02; echo c"))...)
}

// TestACommandIsNotAskedWhenTheIndexDecides: a directory server that hangs does not
// hold up the key that is bound.
func TestACommandIsNotAskedWhenTheIndexDecides(t *testing.T) {
	for _, test := range []struct {
		why   string
		lines func(key, other publicKey) []string
		words func(key, other publicKey) []string
		asked bool
	}{
		{"a plain line", func(k, _ publicKey) []string { return []string{k.line} }, sshdAsks, false},
		{"a plain line with blanks and a comment", func(k, _ publicKey) []string { return []string{"\t " + k.keyType + " \t" + k.blob + "\tmy key"} }, sshdAsks, false},
		{"a plain line after one with options", func(k, _ publicKey) []string { return []string{"restrict " + k.line, k.line} }, sshdAsks, false},
		{"options", func(k, _ publicKey) []string { return []string{`from="192.0.2.1" ` + k.line} }, sshdAsks, true},
		{"options that look like a key", func(k, _ publicKey) []string { return []string{`command="x ` + k.blob + ` y" ` + k.line} }, sshdAsks, true},
		{"a plain line of another key", func(_, o publicKey) []string { return []string{o.line} }, sshdAsks, true},
		{"no line", func(k, _ publicKey) []string { return nil }, sshdAsks, true},
		{"no key is said", func(k, _ publicKey) []string { return []string{k.line} }, func(publicKey, publicKey) []string { return []string{"git"} }, true},
		{
			"a certificate", func(k, o publicKey) []string { return []string{"cert-authority " + o.line} },
			func(k, o publicKey) []string {
				return []string{"git", "1000", "/", "ssh-ed25519-cert-v01@openssh.com", "AAAA"}
			}, true,
		},
	} {
		t.Run(test.why, func(t *testing.T) {
			r, key, other := newRig(t), newPublicKey(t), newPublicKey(t)
			r.write("bound.index", indexer.User{Name: "git", Lines: test.lines(key, other)})
			command := r.file("command", "#!/bin/sh\necho asked\n", 0o755)
			printed, status := r.ask(append(test.words(key, other), "--", command)...)
			if strings.HasSuffix(printed, "asked\n") != test.asked || status != exitDone {
				t.Errorf("prints %q, exit status %d", printed, status)
			}
		})
	}
}

func sshdAsks(key, _ publicKey) []string { return key.question("git") }
