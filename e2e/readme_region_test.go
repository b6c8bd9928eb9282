package e2e

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// regionSection is the first block of what README.md says about running a region: a
// script, as it is written.
func regionSection(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(data), "\n## Run a region\n")
	_, block, _ := strings.Cut(section, "\n\n    ")
	var script strings.Builder
	for line := range strings.Lines("    " + block) {
		command, indented := strings.CutPrefix(line, "    ")
		if !indented && strings.TrimSpace(line) != "" {
			break
		}
		script.WriteString(strings.TrimSuffix(command, "\n") + "\n")
	}
	return script.String()
}

// TestTheRegionSectionOfTheReadmeIsTrue: its commands, pasted at once, make a key pair,
// bind it and show it to the instance. They have a network of their own, since they name ports.
func TestTheRegionSectionOfTheReadmeIsTrue(t *testing.T) {
	folder := t.TempDir()
	build := exec.Command("go", "build", "-o", folder+"/bin/", "./cmd/keypaird", "./cmd/latchkey")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	script := "ip link set lo up\ntrap 'kill $!' EXIT\n" + regionSection(t)
	cmd := exec.CommandContext(ctx, "unshare", "--net", "sh", "-ec", script)
	cmd.Dir, cmd.Env = folder, []string{"HOME=" + folder, "PATH=" + os.Getenv("PATH")}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "\nssh-rsa AAAA") || !strings.Contains(string(out), "ops  deleted") {
		t.Errorf("%v\n%s", err, out)
	}
}
