package e2e

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// bastionSection is what README.md says about bastions: its blocks of commands, each a script.
func bastionSection(t *testing.T) (blocks []string) {
	t.Helper()
	data, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(data), "\n## Bastions and Git hosts\n")
	section, _, _ = strings.Cut(section, "\n## ")
	within := false
	for line := range strings.Lines(section) {
		command, indented := strings.CutPrefix(line, "    ")
		if indented && !within {
			blocks = append(blocks, "")
		}
		if within = indented; indented {
			blocks[len(blocks)-1] += command
		}
	}
	return blocks
}

// TestTheBastionSectionOfTheReadmeIsTrue: its commands, pasted block by block, let a user in by an index,
// take up a change by what cron runs, and keep the user out at the next attempt after the revocation.
func TestTheBastionSectionOfTheReadmeIsTrue(t *testing.T) {
	blocks := bastionSection(t)
	if len(blocks) != 3 {
		t.Fatalf("the section has %d blocks of commands, want 3", len(blocks))
	}
	i := boot(t, nil)
	for _, user := range []string{"ada", "bob"} {
		i.run("useradd", "--create-home", user)
	}
	ada, bob := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ecdsa-256")
	i.Mkdir("/root/keys", 0o755)
	i.WriteFile("/root/keys/ada.pub", ada.Line+"\n", 0o644)
	i.wantOut("ada", byKey(ada))

	i.paste(blocks[0])
	i.await("sshd listens again and lets ada in", func() bool { return i.logOn("ada", byKey(ada)) == nil })
	i.wantOut("bob", byKey(ada), byKey(bob))

	i.paste(blocks[1])
	i.WriteFile("/etc/ssh/users/bob", bob.Line+"\n", 0o644)
	i.run("env", "-i", "PATH=/usr/bin:/bin", "sh", "-c", cronCommand(t, i.ReadFile("/etc/cron.d/latchkey-keys")))
	i.wantIn("bob", byKey(bob))

	said, leave := i.sessionOf("ada", ada)
	revoke, last, _ := strings.Cut(strings.TrimSuffix(blocks[2], "\n"), "keys build /etc/ssh/users\n")
	found := i.paste(revoke + "keys build /etc/ssh/users\n")
	i.wantOut("ada", byKey(ada))
	i.wantIn("bob", byKey(bob))
	out, err := i.inside("sh", "-c", "cd /root/keys\n"+last).CombinedOutput()
	var exit *exec.ExitError
	if !strings.HasPrefix(found, "ada\n") || !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("before the revocation the key was found at %q, after it: %v\n%s", found, err, out)
	}
	if rest := leave(); said != "begun\n" || rest != "heard you\n" {
		t.Errorf("the open session said %q and at the end %q", said, rest)
	}
}

// paste runs commands as root's shell does that is in the folder with the keys.
func (i *instance) paste(commands string) string {
	i.t.Helper()
	return i.run("sh", "-ec", "cd /root/keys\n"+commands)
}

// cronCommand is the command of a line of cron.d: after the times and the user.
func cronCommand(t *testing.T, line string) string {
	t.Helper()
	fields := strings.SplitN(strings.TrimSpace(line), " ", 7)
	if len(fields) != 7 || fields[0] != "*/5" || fields[5] != "root" {
		t.Fatalf("no line of cron: %q", line)
	}
	return fields[6]
}
