package sshdtest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

const (
	program  = "/usr/sbin/latchkey-authorized-keys"
	runsAs   = "latchkey-keys"
	tokens   = "%u %U %h %t %k"
	user     = "alice"
	password = "correct horse"
)

// byCommandAlone is the sshd_config of an instance whose keys are in the index.
const byCommandAlone = `AuthorizedKeysFile none
AuthorizedKeysCommand ` + program + " " + tokens + `
AuthorizedKeysCommandUser ` + runsAs + "\n"

// quickLogons keeps out of a logon what takes time and does not matter here.
const quickLogons = "UsePAM no\nPrintMotd no\nPrintLastLog no\nMaxStartups 1000\n"

// buildDir is where the program is built.
var buildDir string

func TestMain(m *testing.M) { os.Exit(run(m)) }

// atOnce is how many tests run at once unless -parallel says: a logon is mostly
// waiting, whatever the number of processors.
const atOnce = "8"

func run(m *testing.M) int {
	err := flag.Set("test.parallel", atOnce)
	if err != nil {
		panic(err)
	}
	if buildDir, err = os.MkdirTemp("", "latchkey-sshdtest-"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(buildDir)
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// built is the program as `make build` has it, made when it is first needed.
var built = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, filepath.Base(program))
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// rig is a machine on which the program is installed as the packages do it, and
// which has a user alice. Its sshd is not running yet.
type rig struct {
	*testmachine.Machine
	t *testing.T
}

// newRig returns one of a Debian release, "" for the machine that the test runs on.
func newRig(t *testing.T, suite string) *rig {
	t.Helper()
	r := &rig{t: t}
	if suite == "" {
		r.Machine = testmachine.New(t)
	} else {
		r.Machine = testmachine.NewDebian(t, suite)
	}
	path, err := built()
	if err != nil {
		t.Fatalf("build the program: %v", err)
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r.WriteFile(program, string(binary), 0o755)
	r.Mkdir(filepath.Dir(index.Dir), 0o711)
	r.Mkdir(index.Dir, 0o755)
	r.Run(t, "useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", runsAs)
	r.AddUser(user, password)
	return r
}

// start starts sshd with this configuration before the rest.
func (r *rig) start(config string) {
	r.t.Helper()
	r.SSHDConfig(quickLogons + config)
	r.StartSSHD()
}

// restart is start when it may be running.
func (r *rig) restart(config string) {
	r.t.Helper()
	r.StopSSHD()
	r.start(config)
}

// shell runs a script as root of the machine.
func (r *rig) shell(script string) {
	r.t.Helper()
	r.Run(r.t, "sh", "-ec", script)
}

// script puts a program of root's, a shell script, into the machine.
func (r *rig) script(path string, lines ...string) {
	r.t.Helper()
	r.WriteFile(path, "#!/bin/sh\n"+strings.Join(lines, "\n")+"\n", 0o755)
}

// index builds the index of an administrator's keys from authorized_keys text.
func (r *rig) index(name, text string) {
	r.t.Helper()
	source := filepath.Join(r.t.TempDir(), "keys")
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	_, err := indexer.Build(r.t.Context(), indexer.Options{
		Sources: []indexer.Source{{User: name, Path: source}}, Out: r.Path(index.Users), AllowEmpty: true,
	})
	if err != nil {
		r.t.Fatalf("build the index: %v", err)
	}
}

// bind writes the index of the bound key, as the agent does.
func (r *rig) bind(name string, lines ...string) {
	r.t.Helper()
	dir, err := os.OpenRoot(r.Path(index.Dir))
	if err != nil {
		r.t.Fatal(err)
	}
	defer dir.Close()
	if err := indexer.Write(dir, filepath.Base(index.Bound), indexer.User{Name: name, Lines: lines}); err != nil {
		r.t.Fatalf("write the index: %v", err)
	}
}

// dial logs in with the keys, offered one after the other.
func (r *rig) dial(name string, keys ...ssh.Signer) (*ssh.Client, error) {
	return ssh.Dial("tcp", r.Address(), &ssh.ClientConfig{
		User: name, Auth: []ssh.AuthMethod{ssh.PublicKeys(keys...)}, Timeout: 20 * time.Second,
		HostKeyCallback: ssh.FixedHostKey(r.HostKey), HostKeyAlgorithms: []string{r.HostKey.Type()},
	})
}

// admitted tells whether a logon with the keys succeeds. Anything but sshd's yes
// or no ends the test.
func (r *rig) admitted(t *testing.T, name string, keys ...ssh.Signer) bool {
	t.Helper()
	client, err := r.dial(name, keys...)
	if err == nil {
		_ = client.Close()
		return true
	}
	if !isRefusal(err) {
		t.Fatalf("log in as %s: %v", name, err)
	}
	return false
}

// want logs alice in, or not.
func (r *rig) want(t *testing.T, admitted bool, keys ...ssh.Signer) {
	t.Helper()
	if got := r.admitted(t, user, keys...); got != admitted {
		t.Errorf("admitted: %v, want %v; sshd says:\n%s", got, admitted, tail(r.SSHDLog()))
	}
}

func isRefusal(err error) bool {
	return strings.Contains(err.Error(), "unable to authenticate")
}

// tail is the end of a log.
func tail(log string) string { return log[max(0, len(log)-2000):] }

// waitFor polls until something holds.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		<-tick.C
	}
}

// newKeys makes n ed25519 keys.
func newKeys(t *testing.T, n int) []testmachine.Key {
	t.Helper()
	keys := make([]testmachine.Key, n)
	for i := range keys {
		keys[i] = testmachine.NewKey(t, "ed25519")
	}
	return keys
}

func signers(keys ...testmachine.Key) []ssh.Signer {
	all := make([]ssh.Signer, len(keys))
	for i, key := range keys {
		all[i] = key.Signer
	}
	return all
}

// remove takes a file of the machine away.
func (r *rig) remove(path string) {
	r.t.Helper()
	if err := os.Remove(r.Path(path)); err != nil && !errors.Is(err, syscall.ENOENT) {
		r.t.Fatal(err)
	}
}
