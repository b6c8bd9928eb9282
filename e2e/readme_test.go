package e2e

import (
	"os"
	"runtime"
	"strings"
	"testing"
)

// installSection is what README.md says about installing, command by command:
// the indented lines.
func installSection(t *testing.T) (commands []string) {
	t.Helper()
	data, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(data), "\n## Install\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		if command, indented := strings.CutPrefix(line, "    "); indented {
			commands = append(commands, strings.TrimSpace(command))
		}
	}
	return commands
}

// TestTheInstallSectionOfTheReadmeIsTrue: its commands, as they are written,
// install, bind and give the instance back.
func TestTheInstallSectionOfTheReadmeIsTrue(t *testing.T) {
	i := newInstance(t)
	name := i.put(deb(t, olderVersion)) // the version that `make package` makes by itself
	i.Mkdir("/root/dist", 0o755)
	i.Run(t, "mv", "/root/"+name, "/root/dist/")
	i.start()
	key := i.endpoint.bindNew("pair")
	var installed, removed bool
	for _, command := range installSection(t) {
		command = strings.ReplaceAll(command, "_amd64", "_"+runtime.GOARCH)
		if removed || !strings.HasPrefix(command, "apt-get ") && !strings.HasPrefix(command, "latchkey ") {
			continue // for those without the package
		}
		t.Logf("# %s\n%s", command, i.run("sh", "-c", "cd /root && "+command))
		switch {
		case strings.HasPrefix(command, "apt-get install "):
			installed = true
			i.wantBound("root", key)
		case strings.HasPrefix(command, "apt-get remove "):
			removed = true
			i.wantIn("root", byKey(key), byPassword(secret))
		}
	}
	if !installed || !removed {
		t.Errorf("the section installs: %v, removes: %v", installed, removed)
	}
}
