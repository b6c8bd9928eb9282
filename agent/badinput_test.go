package agent

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/metadata"
)

// userFolders are the folders that bad input must not change.
var userFolders = []string{"/etc", "/home", "/root"}

// spoiled are worlds that a pass cannot work in, and what it says of them.
var spoiled = []struct {
	name  string
	stage func(r *rig)
	want  []string
}{
	{"the logon user does not exist", func(r *rig) { r.config.Login.User = "nobody-here" }, []string{"nobody-here", "no such user"}},
	{"the user has no home", func(r *rig) { r.remove("/home/" + testUser) }, []string{"home folder does not exist", "create it"}},
	{
		"the home is on a read-only file system",
		func(r *rig) { r.mountOver("/home/"+testUser, "bind-ro") },
		[]string{".ssh", "read-only file system"},
	},
	{
		"the home's disk is full",
		func(r *rig) { r.mountOver("/home/"+testUser, "full"); r.asUser("mkdir -m 700 .ssh") },
		[]string{".ssh", "no space left on device"},
	},
	{
		"the disk of the state is full",
		func(r *rig) { r.mountOver(StateDir, "full") },
		[]string{"state", "no space left on device"},
	},
	{
		"authorized_keys has 100 MB",
		func(r *rig) {
			r.AuthorizedKeys(testUser, "# mine")
			if err := os.Truncate(r.Path(keysFile), 100<<20); err != nil {
				r.t.Fatal(err)
			}
		},
		[]string{keysFile, "larger than 4194304 bytes"},
	},
	{
		"authorized_keys is binary",
		func(r *rig) { r.AuthorizedKeys(testUser, "# mine", "\x7fELF\x00\x01") },
		[]string{"line 2", "NUL", "move it away"},
	},
	{
		"authorized_keys is a FIFO",
		func(r *rig) {
			r.AuthorizedKeys(testUser)
			r.remove(keysFile)
			r.asUser("mkfifo .ssh/authorized_keys")
		},
		[]string{keysFile, "not a regular file"},
	},
	{"authorized_keys is a folder", func(r *rig) { r.Mkdir(keysFile, 0o700) }, []string{keysFile, "not a regular file"}},
	{
		"authorized_keys is a link out of the home",
		func(r *rig) {
			r.AuthorizedKeys(testUser)
			r.remove(keysFile)
			r.asUser("ln -s /etc/shadow .ssh/authorized_keys")
		},
		[]string{keysFile, "leads out of the home"},
	},
	{
		"the keys folder is not the user's to enter",
		func(r *rig) { r.Mkdir("/home/"+testUser+"/.ssh", 0) },
		[]string{"permission denied", testUser, "chown"},
	},
	{"sshd_config has an error", func(r *rig) { r.SSHDConfig("NoSuchKeyword 1\n") }, []string{"sshd_config", "NoSuchKeyword"}},
	{"sshd_config is missing", func(r *rig) { r.remove(mainFile) }, []string{"sshd_config", "no such file"}},
	{"sshd is missing", func(r *rig) { r.remove("/usr/sbin/sshd") }, []string{"no sshd program", "/usr/sbin/sshd"}},
	{
		"the state cannot be read",
		func(r *rig) { r.Mkdir(StateDir+"/"+stateFile, 0o700) },
		[]string{"read state"},
	},
}

func TestBadInputGetsAClearErrorAndChangesNothing(t *testing.T) {
	t.Parallel()
	for _, test := range spoiled {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.StartSSHD()
			loaded := r.pidFile()
			test.stage(r)
			before := r.traces(userFolders...)
			for _, seen := range []metadata.Binding{bound(t, testmachine.NewKey(t, "ed25519")), unknown()} {
				_, err := r.agent().Pass(context.Background(), seen, How{Now: true})
				if err == nil && seen.State == metadata.Bound {
					t.Fatal("the pass was made")
				}
				for _, want := range test.want {
					if err != nil && !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(want)) {
						t.Errorf("error %q does not say %q", err, want)
					}
				}
			}
			if !strings.Contains(test.name, "full") { // where a temporary file came and went
				r.wantUntouched(before, userFolders...)
			}
			if r.exists(keysFile) != (before[keysFile] != trace{}) || r.exists(dropIn) {
				t.Error("a keys file or a drop-in came, or went")
			}
			if r.pidFile() != loaded {
				t.Error("sshd was reloaded")
			}
			if r.exists("/usr/sbin/sshd") && !r.offersPassword() {
				t.Error("sshd offers no password")
			}
		})
	}
}

// mountOver puts another file system over a folder of the machine: the same
// folder read-only, or one that is full.
func (r *rig) mountOver(folder, kind string) {
	r.t.Helper()
	path := r.Path(folder)
	info, err := os.Stat(path)
	if err != nil {
		r.t.Fatal(err)
	}
	switch kind {
	case "bind-ro":
		err = unix.Mount(path, path, "", unix.MS_BIND, "")
		if err == nil {
			err = unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}
	case "full":
		// The one page is taken, and a few empty files may be made.
		err = unix.Mount("tmpfs", path, "tmpfs", 0, "size=4k,nr_inodes=4,mode=755")
		if err == nil {
			err = os.WriteFile(path+"/ballast", make([]byte, 4096), 0o600)
		}
	}
	if err != nil {
		r.t.Fatalf("mount over %s: %v", folder, err)
	}
	if kind == "full" {
		if err := os.Chown(path, int(ownerOf(info)), -1); err != nil {
			r.t.Fatal(err)
		}
	}
}

// TestAnUnbindOpensPasswordsThoughTheKeyCannotBeReached: whoever spoils the
// keys file must not thereby keep the door closed.
func TestAnUnbindOpensPasswordsThoughTheKeyCannotBeReached(t *testing.T) {
	t.Parallel()
	stages := map[string]func(r *rig){
		"the file is a FIFO":    func(r *rig) { r.asUser("rm .ssh/authorized_keys; mkfifo .ssh/authorized_keys") },
		"the file is binary":    func(r *rig) { r.asUser("printf '\\0' >>.ssh/authorized_keys") },
		"the user is gone":      func(r *rig) { r.Run(r.t, "userdel", testUser) },
		"the home is gone":      func(r *rig) { r.remove("/home/" + testUser) },
		"the home is read-only": func(r *rig) { r.mountOver("/home/"+testUser, "bind-ro") },
		"the state's disk is full": func(r *rig) {
			text := r.ReadFile(StateDir + "/" + stateFile)
			if err := unix.Mount("tmpfs", r.Path(StateDir), "tmpfs", 0, "size=8k,mode=700"); err != nil {
				r.t.Fatal(err)
			}
			r.WriteFile(StateDir+"/"+stateFile, text, 0o600)
			_ = os.WriteFile(r.Path(StateDir+"/ballast"), make([]byte, 4096), 0o600)
		},
	}
	for name, stage := range stages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.StartSSHD()
			r.pass(bound(t, testmachine.NewKey(t, "ed25519")), How{})
			r.wantPassword(false)
			stage(r)
			var errs []error
			for range 2 {
				_, err := r.agent().Pass(context.Background(), unbound(), How{Now: true})
				errs = append(errs, err)
			}
			if r.exists(dropIn) || !r.offersPassword() {
				t.Errorf("passes: %v; drop-in there: %v, want passwords open", errs, r.exists(dropIn))
			}
			if name != "the home is gone" && errs[0] == nil {
				t.Error("the pass says nothing of what it could not do")
			}
		})
	}
}

func TestAnEndpointThatMisbehavesIsUnknownAndSaysWhy(t *testing.T) {
	t.Parallel()
	key := testmachine.NewKey(t, "ed25519")
	tests := []struct {
		name  string
		lie   func(e *endpoint)
		wants string
	}{
		{"another instance", func(e *endpoint) { e.instance = "i-other" }, "i-other"},
		{"no instance", func(e *endpoint) { e.instance = "OK" }, "instance id"},
		{"a web page", func(e *endpoint) { e.instance = "<html>log in</html>" }, "web page"},
		{"a key with options", func(e *endpoint) { e.lines = []string{`command="id" ` + key.Line} }, "openssh-key"},
		{"two keys in one", func(e *endpoint) { e.lines = []string{key.Line + "\n" + key.Line} }, "openssh-key"},
		{"a private key", func(e *endpoint) { e.lines = []string{"-----BEGIN OPENSSH PRIVATE KEY-----"} }, "openssh-key"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.StartSSHD()
			r.pass(bound(t, key), How{})
			before := r.traces(userFolders...)
			e := newEndpoint(t)
			e.set(test.lie)
			r.config.Metadata.Endpoint = e.URL
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			seen, err := r.agent().Fetch(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if seen.State != metadata.Unknown || !strings.Contains(seen.Reason, test.wants) {
				t.Errorf("%s, %q; want unknown, and %q said", seen.State, seen.Reason, test.wants)
			}
			if strings.Contains(seen.Reason, strings.Fields(key.Line)[1]) {
				t.Errorf("the reason holds a key's body: %s", seen.Reason)
			}
			r.reboot()
			r.pass(seen, How{})
			r.wantUntouched(before, userFolders...)
			r.wantPassword(false)
		})
	}
}
