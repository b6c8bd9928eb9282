package sdktest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestNode runs the SDK for Node, as npm has it, through the same life. What it installs goes
// with the test.
func TestNode(t *testing.T) {
	k := start(t)
	folder := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "life.test.mjs"} {
		content, err := os.ReadFile(filepath.Join("node", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, folder, nil, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	run(t, folder, []string{
		"ECS_ENDPOINT=" + k.host(t), "ECS_REGION=" + region, "ECS_LINUX=" + first + "," + second, "ECS_WINDOWS=" + windows,
		"ALIBABA_CLOUD_ACCESS_KEY_ID=" + k.AccessKey.ID, "ALIBABA_CLOUD_ACCESS_KEY_SECRET=" + k.AccessKey.Secret,
	}, "node", "--test", "life.test.mjs")
}

func run(t *testing.T, folder string, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = folder, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}
