package testmachine

import (
	"os"
	"os/exec"
	"testing"
)

// noSkipEnv, set to anything, makes a test that would be skipped fail instead.
// Continuous integration sets it, so that what was never run is never green.
const noSkipEnv = "LATCHKEY_NO_SKIP"

// RequireRoot skips the test unless it runs as root.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "needs root: run it with `sudo make test`")
	}
}

// RequireProgram skips the test unless the program is installed, and returns
// its path. The folders for administrators, which a user's PATH often lacks,
// are looked in too.
func RequireProgram(t testing.TB, name string) string {
	t.Helper()
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	skip(t, "needs the program "+name+": install it, or let `sudo make test` do it")
	return ""
}

func skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv(noSkipEnv) != "" {
		t.Fatalf("%s (%s is set: no test may be skipped)", reason, noSkipEnv)
	}
	t.Skip(reason)
}
