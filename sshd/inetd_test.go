package sshd

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

func TestASshdOfItsOwnAnswersWithoutAListener(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]*machine{"this release": newMachine(t), "8.4": newDebian(t, "bullseye"), "10.0": newDebian(t, "trixie")} {
		allowed, other := m.allow("ed25519"), testmachine.NewKey(t, "ed25519")
		for _, test := range []struct {
			key  testmachine.Key
			want Verdict
		}{{allowed, Accepted}, {other, Refused}} {
			got, log := m.sshd.QueryInetd(within(t, 20*time.Second), DefaultConfig, testUser, asked(test.key))
			if got.Key != test.want || !got.OffersPassword() {
				t.Errorf("%s: %s (%s), offers %v, want %s and password offered\n%s", name, got.Key, got.Reason, got.Methods, test.want, strings.Join(log, "\n"))
			}
		}
	}
}

// TestWithoutItsRunFolderSshdIsHelpedToStart: early at boot, and under socket
// activation, sshd's unit has not made it yet.
func TestWithoutItsRunFolderSshdIsHelpedToStart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		ask  func(t *testing.T, m *machine, key testmachine.Key) string
	}{
		{"sshd -t", func(t *testing.T, m *machine, _ testmachine.Key) string {
			t.Helper()
			if err := m.sshd.Test(context.Background(), DefaultConfig); err != nil {
				return err.Error()
			}
			return ""
		}},
		{"sshd -T", func(t *testing.T, m *machine, _ testmachine.Key) string {
			t.Helper()
			m.effective()
			return ""
		}},
		{"a query", func(t *testing.T, m *machine, key testmachine.Key) string {
			t.Helper()
			got, _ := m.sshd.QueryInetd(within(t, 20*time.Second), DefaultConfig, testUser, asked(key))
			if got.Key != Accepted {
				return got.Reason
			}
			return ""
		}},
		{"a proof", func(t *testing.T, m *machine, key testmachine.Key) string {
			t.Helper()
			proof := m.prove(Policy{Closed: true, Guard: true}, key)
			if !proof.Closes() {
				return "not proved"
			}
			return ""
		}},
	} {
		for _, suite := range []string{"", "bullseye", "trixie"} {
			t.Run(test.name+" "+suite, func(t *testing.T) {
				t.Parallel()
				m := newMachineOf(t, suite)
				key := m.allow("ed25519")
				if err := os.Remove(m.Path("/run/sshd")); err != nil {
					t.Fatal(err)
				}
				if complaint := test.ask(t, m, key); complaint != "" {
					t.Error(complaint)
				}
				info, err := os.Stat(m.Path("/run/sshd"))
				if err != nil || !info.IsDir() || info.Mode().Perm() != 0o755 {
					t.Errorf("the folder is %v (%v), want root's, 0755", info, err)
				}
			})
		}
	}
}

func TestOnlyAFolderDirectlyBelowRunIsMade(t *testing.T) {
	t.Parallel()
	for said, made := range map[string]string{
		"Missing privilege separation directory: /run/sshd":                       "run/sshd",
		"debug1: x\nMissing privilege separation directory: /run/sshd\r\ndebug1:": "run/sshd",
		"Missing privilege separation directory: /var/empty/sshd":                 "",
		"Missing privilege separation directory: /run/../etc":                     "",
		"Missing privilege separation directory: /run/a/b":                        "",
		"Missing privilege separation directory: /run/..":                         "",
		"Missing privilege separation directory: run/sshd":                        "",
		"Missing privilege separation directory: ":                                "",
		"/run/sshd must be owned by root and not group or world-writable.":        "",
		"": "",
	} {
		root := t.TempDir()
		if err := os.Mkdir(filepath.Join(root, "run"), 0o755); err != nil {
			t.Fatal(err)
		}
		if again := New(Daemon{Root: root}).makeRunFolder(said); again != (made != "") {
			t.Errorf("%q: to be asked again: %v", said, again)
		}
		if _, err := os.Stat(filepath.Join(root, "run/sshd")); (err == nil) != (made != "") {
			t.Errorf("%q: %v", said, err)
		}
		left, err := filepath.Glob(filepath.Join(root, "*"))
		if err != nil || len(left) != 1 {
			t.Errorf("%q: %v is there now", said, left)
		}
	}
}

// TestALinkInPlaceOfRunLeadsNowhere: the folder is made inside the instance.
func TestALinkInPlaceOfRunLeadsNowhere(t *testing.T) {
	t.Parallel()
	root, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(root, "run")); err != nil {
		t.Fatal(err)
	}
	New(Daemon{Root: root}).makeRunFolder("Missing privilege separation directory: /run/sshd")
	if left, err := filepath.Glob(filepath.Join(outside, "*")); err != nil || len(left) > 0 {
		t.Errorf("%v was made outside the instance (%v)", left, err)
	}
}

func TestASshdThatCannotBeAskedIsUnknownAndSaysWhy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, why string
		stage     func(t *testing.T, m *machine)
	}{
		{"no program", ErrMissing.Error(), func(t *testing.T, m *machine) {
			t.Helper()
			m.sshd.Command = []string{"/usr/sbin/no-sshd"}
		}},
		{"no host keys", "no hostkeys available", removeHostKeys},
		{"a bad configuration", "bad configuration option", func(_ *testing.T, m *machine) { m.SSHDConfig("Nonsense yes\n") }},
		{"no configuration", "No such file", func(t *testing.T, m *machine) {
			t.Helper()
			if err := os.Remove(m.Path(DefaultConfig)); err != nil {
				t.Fatal(err)
			}
		}},
		{"a program that says nothing", "no answer in time", func(_ *testing.T, m *machine) {
			m.sshd.Command = []string{"/usr/bin/sleep", "30", "#"}
			m.WriteFile("/usr/bin/sleep", "#!/bin/sh\nread line\nexec cat\n", 0o755)
		}},
		{"a program that ends at once", "closed before an answer", func(_ *testing.T, m *machine) {
			m.sshd.Command = []string{"/bin/false"}
		}},
		{"a program that cannot be run", "permission denied", func(_ *testing.T, m *machine) {
			m.sshd.Command = []string{"/etc/passwd"}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			key := m.allow("ed25519")
			test.stage(t, m)
			ctx := within(t, 2*time.Second)
			got, _ := m.sshd.QueryInetd(ctx, DefaultConfig, testUser, asked(key))
			if got.Key != Unknown || !strings.Contains(got.Reason, test.why) {
				t.Errorf("query: %s (%s), want unknown (%s)", got.Key, got.Reason, test.why)
			}
			oneTime, err := NewOneTimeKey()
			if err != nil {
				t.Fatal(err)
			}
			if verdict, why, _ := m.sshd.LogonInetd(ctx, DefaultConfig, testUser, oneTime); verdict != Unknown || why == "" {
				t.Errorf("logon: %s (%s), want unknown, and why", verdict, why)
			}
		})
	}
}

func removeHostKeys(t *testing.T, m *machine) {
	t.Helper()
	names, err := filepath.Glob(m.Path("/etc/ssh/ssh_host_*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNoSshdIsLeftBehind(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	key := m.allow("ed25519")
	m.prove(Policy{Closed: true, Guard: true}, key)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	m.sshd.QueryInetd(ctx, DefaultConfig, testUser, asked(key))
	waitFor(t, "every sshd of the machine has ended", func() bool { return len(processesIn(t, m.Root)) == 0 })
}

// processesIn are the processes whose root folder is root.
func processesIn(t *testing.T, root string) (found []string) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/root")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == root {
			found = append(found, filepath.Base(filepath.Dir(link)))
		}
	}
	return found
}

func TestTheLogOfAConversationIsBounded(t *testing.T) {
	t.Parallel()
	var log boundedLog
	line := []byte(strings.Repeat("x", 1023) + "\r\n")
	for range 1024 {
		if n, err := log.Write(line); n != len(line) || err != nil {
			t.Fatalf("wrote %d, %v", n, err)
		}
	}
	if got := len(strings.Join(log.lines(), "\n")); got > maxLog {
		t.Errorf("%d bytes are kept, want at most %d", got, maxLog)
	}
}
