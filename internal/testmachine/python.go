package testmachine

import (
	"os/exec"
	"testing"
)

// RequirePython skips the test unless the system's Python has the module, and returns the path of that
// Python. Another one that is first in PATH does not see what Debian's packages install.
func RequirePython(t testing.TB, module string) string {
	t.Helper()
	python := RequireProgram(t, "/usr/bin/python3")
	if err := exec.Command(python, "-W", "ignore", "-c", "import "+module).Run(); err != nil {
		skip(t, "needs the Debian package python3-"+module+": install it, or let `sudo make test` do it")
	}
	return python
}
