package agent

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

const (
	keysFile = "/home/" + testUser + "/.ssh/authorized_keys"
	dropIn   = "/etc/ssh/sshd_config.d/00-latchkey.conf"
	mainFile = "/etc/ssh/sshd_config"
)

// poll waits until done holds, which must come to pass within ten seconds.
func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		<-tick.C
	}
}

// trace is what a file below folders looks like from outside. Any write, even
// one of the same bytes, shows in its inode or its times.
type trace struct {
	Mode         fs.FileMode
	UID          uint32
	Inode        uint64
	MTime, CTime time.Time
	Sum          string
}

// traces takes the traces of all that is below the machine's folders.
func (r *rig) traces(folders ...string) map[string]trace {
	r.t.Helper()
	found := map[string]trace{}
	for _, folder := range folders {
		err := filepath.WalkDir(r.Path(folder), func(name string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			found[strings.TrimPrefix(name, r.Root)], err = traceOf(name)
			return err
		})
		if err != nil {
			r.t.Fatal(err)
		}
	}
	return found
}

func traceOf(name string) (trace, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return trace{}, err
	}
	stat := info.Sys().(*syscall.Stat_t)
	tr := trace{
		Mode: info.Mode(), UID: stat.Uid, Inode: stat.Ino,
		MTime: time.Unix(stat.Mtim.Unix()), CTime: time.Unix(stat.Ctim.Unix()),
	}
	if info.Mode().IsRegular() && info.Size() < 1<<20 {
		data, err := os.ReadFile(name)
		if err != nil {
			return trace{}, err
		}
		tr.Sum = fmt.Sprintf("%x", sha256.Sum256(data))
	}
	return tr, nil
}

// instance are the folders in which a pass may ever write, and those in which
// it never may.
var instance = []string{"/etc", "/home", "/root", "/var/lib/latchkey", "/run"}

// wantUntouched fails when anything is not as in the traces taken before.
func (r *rig) wantUntouched(before map[string]trace, folders ...string) {
	r.t.Helper()
	if diff := cmp.Diff(before, r.traces(folders...)); diff != "" {
		r.t.Errorf("files were touched (-before +after):\n%s", diff)
	}
}

// realSSHD is where wrapSSHD puts the program that it wraps. Its name tells the
// agent that a process is an sshd.
const realSSHD = "/usr/lib/real/sshd"

// wrapSSHD puts a shell script before sshd: each call is noted, then script is
// run, then sshd. Calls made so far are in what the returned function returns.
func (r *rig) wrapSSHD(script string) (calls func() []string) {
	r.t.Helper()
	if !r.exists(realSSHD) {
		program, err := os.ReadFile(r.Path("/usr/sbin/sshd"))
		if err != nil {
			r.t.Fatal(err)
		}
		r.WriteFile(realSSHD, string(program), 0o755)
		r.WriteFile("/tmp/sshd-calls", "", 0o666)
	}
	r.remove("/usr/sbin/sshd")
	r.WriteFile("/usr/sbin/sshd", "#!/bin/sh\necho \"$*\" >>/tmp/sshd-calls\n"+script+"\nexec "+realSSHD+" \"$@\"\n", 0o755)
	return func() []string {
		return slices.Collect(strings.Lines(r.ReadFile("/tmp/sshd-calls")))
	}
}

// pidFile tells one load of the listener's configuration from the next: sshd
// writes its pid file anew after each.
func (r *rig) pidFile() trace {
	r.t.Helper()
	file, err := traceOf(r.Path("/run/sshd.pid"))
	if err != nil {
		r.t.Fatal(err)
	}
	return file
}

// hangUp makes the running sshd load its configuration, as an administrator
// would, and waits until it has.
func (r *rig) hangUp() {
	r.t.Helper()
	before := r.pidFile()
	if err := unix.Kill(r.SSHDPid(), unix.SIGHUP); err != nil {
		r.t.Fatal(err)
	}
	poll(r.t, "sshd has read its configuration again", func() bool {
		now, err := traceOf(r.Path("/run/sshd.pid"))
		return err == nil && now != before
	})
}

// foreign is the keys file without our block.
func (r *rig) foreign() string {
	r.t.Helper()
	return withoutBlock(r.t, []byte(r.ReadFile(keysFile)))
}

func withoutBlock(t *testing.T, data []byte) string {
	t.Helper()
	rest, err := authkeys.Parse(data).WithManaged(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(rest)
}

// blockHolds tells whether the block has the key, and how many it has.
func (r *rig) blockHolds(key testmachine.Key) (holds bool, keys int) {
	r.t.Helper()
	data, err := os.ReadFile(r.Path(keysFile))
	if err != nil {
		return false, 0
	}
	managed := authkeys.Parse(data).Managed()
	for _, entry := range managed {
		holds = holds || bytes.Equal(entry.Blob, key.Signer.PublicKey().Marshal())
	}
	return holds, len(managed)
}

// logsIn tells whether the key lets the user in now.
func (r *rig) logsIn(key testmachine.Key) bool {
	return r.Login(r.t, testUser, key.Signer) == nil
}

// offersPassword tells whether the running sshd offers a password method.
func (r *rig) offersPassword() bool {
	methods := r.Methods(r.t, testUser)
	return slices.Contains(methods, "password") || slices.Contains(methods, "keyboard-interactive")
}

// state is what the agent remembers.
func (r *rig) state() State {
	r.t.Helper()
	state, err := loadState(r.Root, hardwareID(r.Root))
	if err != nil {
		r.t.Fatal(err)
	}
	return state
}

func (r *rig) exists(name string) bool {
	_, err := os.Lstat(r.Path(name))
	return err == nil
}

// remove removes a file of the machine.
func (r *rig) remove(name string) {
	r.t.Helper()
	if err := os.RemoveAll(r.Path(name)); err != nil {
		r.t.Fatal(err)
	}
}

// watchFor tells, when asked, whether a file has been there at any time since.
func (r *rig) watchFor(name string) (wasThere func() bool) {
	r.t.Helper()
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = notify.Close() })
	if err := notify.Add(r.Path(filepath.Dir(name))); err != nil {
		r.t.Fatal(err)
	}
	return func() bool {
		// An event of our own comes after all that have been.
		last := filepath.Join(filepath.Dir(name), ".last")
		r.WriteFile(last, "", 0o600)
		defer r.remove(last)
		seen := false
		for event := range notify.Events {
			seen = seen || event.Name == r.Path(name)
			if event.Name == r.Path(last) {
				break
			}
		}
		return seen
	}
}

func ownerOf(info fs.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }
