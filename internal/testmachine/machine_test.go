package testmachine

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFreshMachineTakesPasswordAndKey(t *testing.T) {
	t.Parallel()
	m := New(t)
	m.AddUser("alice", "correct horse")
	key := NewKey(t, "ed25519")
	m.AuthorizedKeys("alice", key.Line)
	m.StartSSHD()
	checkLogins(t, m, key)
	if err := m.LoginInteractive(t, "alice", "correct horse"); !isRefusal(err) {
		t.Errorf("keyboard-interactive, which Debian turns off: %v", err)
	}
}

func checkLogins(t *testing.T, m *Machine, key Key) {
	t.Helper()
	if diff := cmp.Diff([]string{"password", "publickey"}, m.Methods(t, "alice")); diff != "" {
		t.Errorf("methods (-want +got):\n%s", diff)
	}
	if err := m.LoginPassword(t, "alice", "correct horse"); err != nil {
		t.Errorf("right password: %v", err)
	}
	if err := m.LoginPassword(t, "alice", "wrong"); !isRefusal(err) {
		t.Errorf("wrong password: %v", err)
	}
	if err := m.Login(t, "alice", key.Signer); err != nil {
		t.Errorf("authorized key: %v", err)
	}
	if err := m.Login(t, "alice", NewKey(t, "ed25519").Signer); !isRefusal(err) {
		t.Errorf("unknown key: %v", err)
	}
}

func isRefusal(err error) bool {
	var refused *AuthError
	return errors.As(err, &refused)
}

func TestOtherReleasesTakePasswordAndKey(t *testing.T) {
	for _, suite := range []string{"bullseye", "trixie"} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			m := NewDebian(t, suite)
			m.AddUser("alice", "correct horse")
			key := NewKey(t, "ed25519")
			m.AuthorizedKeys("alice", key.Line)
			m.SSHDConfig(strings.Replace(DefaultSSHDConfig, "Kbd", "ChallengeResponseAuthentication no\nKbd", 1))
			m.StartSSHD()
			checkLogins(t, m, key)
		})
	}
}

func TestRootLogsInWithPasswordAndInteractively(t *testing.T) {
	t.Parallel()
	m := New(t)
	m.AddUser("root", "open sesame")
	m.SSHDConfig("PermitRootLogin yes\nKbdInteractiveAuthentication yes\n" + DefaultSSHDConfig)
	m.StartSSHD()
	if err := m.LoginPassword(t, "root", "open sesame"); err != nil {
		t.Errorf("password: %v", err)
	}
	if err := m.LoginInteractive(t, "root", "open sesame"); err != nil {
		t.Errorf("keyboard-interactive: %v", err)
	}
}

func TestEveryKindOfKeyIsRealToOpenSSH(t *testing.T) {
	t.Parallel()
	m := New(t)
	m.AddUser("alice", "")
	m.StartSSHD()
	for _, kind := range []string{"ed25519", "rsa-2048", "ecdsa-256", "ecdsa-384", "ecdsa-521"} {
		key := NewKey(t, kind)
		m.AuthorizedKeys("alice", key.Line)
		out, err := m.OpenSSH(t, "alice", []string{"-i", key.PEM}, "id", "-un").CombinedOutput()
		if err != nil || string(out) != "alice\n" {
			t.Errorf("%s: %v\n%s", kind, err, out)
		}
	}
	key := NewKey(t, "dss")
	m.AuthorizedKeys("alice", key.Line)
	if err := m.Login(t, "alice", key.Signer); !isRefusal(err) {
		t.Errorf("dss: %v", err)
	}
}

func TestAccountThatCannotWorkIsNotARefusal(t *testing.T) {
	t.Parallel()
	m := New(t)
	m.AddUser("alice", "")
	m.Run(t, "usermod", "--shell", "/usr/sbin/nologin", "alice")
	key := NewKey(t, "ed25519")
	m.AuthorizedKeys("alice", key.Line)
	m.StartSSHD()
	if err := m.Login(t, "alice", key.Signer); err == nil || isRefusal(err) {
		t.Errorf("nologin shell: %v", err)
	}
}

func TestHangupToThePidFileReloads(t *testing.T) {
	t.Parallel()
	m := New(t)
	m.AddUser("alice", "correct horse")
	m.StartSSHD()
	m.SSHDConfig("PasswordAuthentication no\n" + DefaultSSHDConfig)
	pid, err := strconv.Atoi(strings.TrimSpace(m.ReadFile("/run/sshd.pid")))
	if err != nil || pid != m.SSHDPid() {
		t.Fatalf("pid file says %d (%v), sshd is %d", pid, err, m.SSHDPid())
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	awaitMethods(t, m, []string{"publickey"})
}

// awaitMethods logs in with a password until that is refused: Methods would
// fail the test in the moment in which the port is closed.
func awaitMethods(t *testing.T, m *Machine, want []string) {
	t.Helper()
	deadline := time.Now().Add(startTimeout)
	for err := error(nil); !isRefusalOfMethod(err); err = m.LoginPassword(t, "alice", "correct horse") {
		if time.Now().After(deadline) {
			t.Fatalf("not reloaded: %v", err)
		}
	}
	if diff := cmp.Diff(want, m.Methods(t, "alice")); diff != "" {
		t.Errorf("methods (-want +got):\n%s", diff)
	}
}

func isRefusalOfMethod(err error) bool {
	return err != nil && strings.Contains(err.Error(), "no supported methods remain")
}

func TestTwoMachinesDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	a, b := New(t), New(t)
	a.AddUser("alice", "of a")
	b.AddUser("alice", "of b")
	a.StartSSHD()
	b.StartSSHD()
	for m, password := range map[*Machine]string{a: "of a", b: "of b"} {
		if err := m.LoginPassword(t, "alice", password); err != nil {
			t.Errorf("own password: %v", err)
		}
	}
	if err := a.LoginPassword(t, "alice", "of b"); !isRefusal(err) {
		t.Errorf("the other's password: %v", err)
	}
}

func TestRealMachineIsUntouched(t *testing.T) {
	t.Parallel()
	const watched = "/etc/passwd"
	before, err := os.ReadFile(watched)
	if err != nil {
		t.Fatal(err)
	}
	m := New(t)
	m.AddUser("canary-of-a-test", "x")
	m.WriteFile("/root/canary-of-a-test", "x", 0o600)
	m.Run(t, "rm", "-rf", "/dev/null", "/etc", "/usr/share/doc")
	if after, err := os.ReadFile(watched); err != nil || string(after) != string(before) {
		t.Errorf("%s changed (%v)", watched, err)
	}
	for _, path := range []string{"/root/canary-of-a-test", "/home/canary-of-a-test"} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is on the real machine", path)
		}
	}
	if _, err := os.Stat("/dev/null"); err != nil {
		t.Error(err)
	}
}

func TestNothingIsLeftMountedOrRunning(t *testing.T) {
	t.Parallel()
	var root string
	var sleeper *os.Process
	t.Run("machine", func(t *testing.T) {
		m := New(t)
		root = m.Root
		m.StartSSHD()
		cmd := m.Chroot("sleep", "20")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		sleeper = cmd.Process
	})
	if root == "" {
		RequireRoot(t)
	}
	if state, err := sleeper.Wait(); err != nil || state.Success() {
		t.Errorf("sleep ended with %v, %v", state, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), root) {
		t.Errorf("%s is still mounted:\n%s", root, mounts)
	}
	if _, err := os.Lstat(root); err == nil {
		t.Errorf("%s is left", root)
	}
}

func TestOwnFoldersStartEmpty(t *testing.T) {
	t.Parallel()
	m := New(t)
	for _, path := range []string{"/root", "/home", "/tmp", "/var/lib/latchkey"} {
		entries, err := os.ReadDir(m.Path(path))
		if err != nil || len(entries) > 0 {
			t.Errorf("%s holds %d entries (%v)", path, len(entries), err)
		}
	}
}

// TestLinksDoNotLeadOutOfTheMachine: /var/run is an absolute link on Debian,
// and to follow it from the test would write to the real /run.
func TestLinksDoNotLeadOutOfTheMachine(t *testing.T) {
	t.Parallel()
	m := New(t)
	m.Run(t, "ln", "-s", m.Root+"/../outside", "/tmp/link")
	if err := m.files.WriteFile("tmp/link", nil, 0o600); err == nil {
		t.Error("a file was written through a link out of the machine")
	}
}

func TestUmaskDoesNotReachTheMachine(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	m := New(t)
	m.WriteFile("/opt/a/b", "", 0o644)
	for path, want := range map[string]os.FileMode{
		".": 0o755, "etc": 0o755, "var": 0o755, "var/lib": 0o755, "home": 0o755, "root": 0o700, "opt/a": 0o755, "opt/a/b": 0o644,
		"tmp": 0o777 | os.ModeSticky, "dev": 0o755, "dev/null": 0o666 | os.ModeDevice | os.ModeCharDevice,
	} {
		info, err := m.files.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode() &^ os.ModeDir; got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
}

// TestMountsAreInvisibleOutside is what makes a killed test harmless: process
// 1 does not have the mounts, so nobody has them once the test is gone.
func TestMountsAreInvisibleOutside(t *testing.T) {
	t.Parallel()
	m := New(t)
	mounts, err := os.ReadFile("/proc/1/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), m.Root) {
		t.Errorf("process 1 sees %s", m.Root)
	}
}
