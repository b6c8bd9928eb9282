package operator

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// keyScripts runs scripts about key indexes: $ROOT is a machine of a few files, $INDEX where its
// index is to be. In a script, "keys FILE COUNT" makes a file of as many lines with a key each,
// "locks INDEX [PID]" is another build of it until the script ends, "awaits PATTERN" waits until there is a file, "exitcode CODE COMMAND" runs a command that has to end so.
func keyScripts(folder, work string) testscript.Params {
	return testscript.Params{
		Dir: "../../../testdata/script/" + folder, Setup: newBastion, WorkdirRoot: work,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"keys":     keysCommand,
			"awaits":   awaitsCommand,
			"locks":    locksCommand,
			"exitcode": testmachine.ExitCode,
		},
	}
}

func TestKeysCommandsDoAsTheySay(t *testing.T) {
	testscript.Run(t, keyScripts("keys", ""))
}

// TestKeysCommandsMindOwners runs those that give files to others, and those that run the
// machine's own latchkey-authorized-keys, as which others have a stand-in. In these, "nobody COMMAND"
// runs a command without any rights.
func TestKeysCommandsMindOwners(t *testing.T) {
	testmachine.RequireRoot(t)
	helper := buildHelper(t)
	work := t.TempDir()
	if err := os.Chmod(filepath.Dir(work), 0o755); err != nil { // nobody has to get there
		t.Fatal(err)
	}
	params := keyScripts("keys/root", work)
	params.Setup = func(env *testscript.Env) error {
		if err := newBastion(env); err != nil {
			return err
		}
		if err := copyProgram(helper, filepath.Join(env.Getenv("ROOT"), "usr/sbin", helperName)); err != nil {
			return err
		}
		return addNobody(env)
	}
	testscript.Run(t, params)
}

// buildHelper builds the program that sshd asks, to be run in a root folder without any library.
func buildHelper(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), helperName)
	cmd := exec.Command("go", "build", "-o", program, "../../"+helperName)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", helperName, err, out)
	}
	return program
}

func newBastion(env *testscript.Env) error {
	root := filepath.Join(env.WorkDir, "machine")
	config := filepath.Join(root, "etc/ssh/sshd_config") // its own sshd is this machine's
	hostKey := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(env.WorkDir, "hostkey"))
	if out, err := hostKey.CombinedOutput(); err != nil {
		return fmt.Errorf("ssh-keygen: %w: %s", err, out)
	}
	for name, text := range map[string]string{
		"etc/passwd":                        "root:x:0:0::/root:/bin/sh\nlatchkey-keys:x:990:990::/:/usr/sbin/nologin\n",
		"etc/group":                         "root:x:0:\nlatchkey-keys:x:990:\n",
		"usr/sbin/latchkey-authorized-keys": "#!/bin/sh\n",
		"var/lib/.keep":                     "",
		"etc/latchkey/latchkey.toml":        fmt.Sprintf("[sshd]\ncommand = [\"/usr/sbin/sshd\"]\nconfig = %q\n", config),
		"etc/ssh/sshd_config": "HostKey " + filepath.Join(env.WorkDir, "hostkey") + "\n" +
			"AuthorizedKeysCommand /usr/sbin/latchkey-authorized-keys %u %U %h %t %k\nAuthorizedKeysCommandUser latchkey-keys\n",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			return err
		}
	}
	env.Setenv("ROOT", root)
	env.Setenv("INDEX", filepath.Join(root, "var/lib/latchkey/keys/users.index"))
	return nil
}

// addNobody puts a latchkey where everybody gets at it, and "nobody".
func addNobody(env *testscript.Env) error {
	bin := filepath.Join(env.WorkDir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	if err := copyProgram(program, filepath.Join(bin, "latchkey")); err != nil { // TestMain goes by the name
		return err
	}
	env.Setenv("PATH", bin+":"+env.Getenv("PATH"))
	nobody := "#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all \"$@\"\n"
	return os.WriteFile(filepath.Join(bin, "nobody"), []byte(nobody), 0o755)
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}

// keysCommand writes lines whose keys and comments are those of the file's name, so that the same are the same again.
func keysCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: keys FILE COUNT")
	}
	count, err := strconv.Atoi(args[1])
	ts.Check(err)
	file, name := ts.MkAbs(args[0]), strings.TrimSuffix(filepath.Base(args[0]), ".pub")
	var text strings.Builder
	for i := range count {
		comment := fmt.Sprintf("%s-%d", name, i+1)
		point := sha256.Sum256([]byte(comment))
		blob := append([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), point[:]...)
		fmt.Fprintf(&text, "ssh-ed25519 %s %s\n", base64.StdEncoding.EncodeToString(blob), comment)
	}
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o755))
	ts.Check(os.WriteFile(file, []byte(text.String()), 0o644))
}

func locksCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: locks INDEX [PID]")
	}
	dir, name := filepath.Split(ts.MkAbs(args[0]))
	lock, err := os.Create(filepath.Join(dir, "."+name+".lock"))
	ts.Check(err)
	ts.Defer(func() { lock.Close() })
	_, err = lock.WriteString(strings.Join(args[1:], ""))
	ts.Check(err)
	ts.Check(syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
}

func awaitsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: awaits PATTERN")
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		found, err := filepath.Glob(ts.MkAbs(args[0]))
		ts.Check(err)
		if len(found) > 0 {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no %s", args[0])
		}
	}
}
