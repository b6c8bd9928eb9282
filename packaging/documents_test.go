package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// read is a file of the tree.
func read(t *testing.T, path string) string {
	t.Helper()
	return string(readFile(t, filepath.Join(top, path)))
}

// messageIDs are those of the events that the agent logs.
func messageIDs(t *testing.T) []string {
	t.Helper()
	var ids []string
	for _, match := range regexp.MustCompile(`event\{"([0-9a-f]{32})"`).FindAllStringSubmatch(read(t, "agent/record.go"), -1) {
		ids = append(ids, match[1])
	}
	if len(ids) < 5 {
		t.Fatalf("found %d events in agent/record.go, want 5 or more", len(ids))
	}
	slices.Sort(ids)
	return ids
}

func TestEveryMessageIDIsDocumented(t *testing.T) {
	for _, document := range []string{"packaging/latchkey.catalog", "packaging/man/latchkeyd.8", "README.md"} {
		text := read(t, document)
		for _, id := range messageIDs(t) {
			if !strings.Contains(text, id) {
				t.Errorf("%s does not explain MESSAGE_ID %s", document, id)
			}
		}
	}
}

// TestJournaldTakesTheCatalog: and it has the events that there are, no others.
func TestJournaldTakesTheCatalog(t *testing.T) {
	journalctl := testmachine.RequireProgram(t, "journalctl")
	root := t.TempDir()
	for _, folder := range []string{"usr/lib/systemd/catalog", "var/lib/systemd/catalog"} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	catalog := []byte(read(t, "packaging/latchkey.catalog"))
	if err := os.WriteFile(filepath.Join(root, "usr/lib/systemd/catalog/latchkey.catalog"), catalog, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(journalctl, "--root="+root, "--update-catalog").CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("journalctl: %v\n%s", err, out)
	}
	var ids []string
	for line := range strings.Lines(string(output(t, "journalctl", "--root="+root, "--list-catalog"))) {
		ids = append(ids, strings.Fields(line)[0])
	}
	slices.Sort(ids)
	if diff := cmp.Diff(messageIDs(t), ids); diff != "" {
		t.Errorf("entries (-events +catalog):\n%s", diff)
	}
}

func TestManPagesAreFreeOfWarnings(t *testing.T) {
	mandoc := testmachine.RequireProgram(t, "mandoc")
	pages, err := filepath.Glob("man/*.[1-8]")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no man pages (%v)", err)
	}
	for _, page := range pages {
		if out, err := exec.Command(mandoc, "-T", "lint", "-W", "warning", page).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", page, err, out)
		}
	}
}

// TestTheConfigurationAsShippedIsTheDefault: so that it says what holds without
// it.
func TestTheConfigurationAsShippedIsTheDefault(t *testing.T) {
	config, err := agent.LoadConfig(".", "latchkey.toml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(agent.DefaultConfig(), config); diff != "" {
		t.Errorf("-default +shipped:\n%s", diff)
	}
}

func TestEveryConfigurationKeyIsInTheManPage(t *testing.T) {
	page := read(t, "packaging/man/latchkey.toml.5")
	keys := regexp.MustCompile(`(?m)^(?:# )?([a-z_]+) = `).FindAllStringSubmatch(read(t, "packaging/latchkey.toml"), -1)
	if len(keys) < 10 {
		t.Fatalf("found only %d keys", len(keys))
	}
	for _, key := range keys {
		if !strings.Contains(page, "\n.It Cm "+key[1]+" ") {
			t.Errorf("latchkey.toml(5) does not explain %s", key[1])
		}
	}
}

// TestTheChangelogNameThePackagedVersion: the Makefile's, unless it is told
// another.
func TestTheChangelogNamesThePackagedVersion(t *testing.T) {
	version := regexp.MustCompile(`(?m)^VERSION +\?= (\S+)$`).FindStringSubmatch(read(t, "Makefile"))
	newest := regexp.MustCompile(`(?m)^- semver: (\S+)$`).FindStringSubmatch(read(t, "packaging/changelog.yaml"))
	if version == nil || newest == nil || newest[1] != version[1]+"-1" {
		t.Errorf("the Makefile packages %q, the changelog begins with %q", version, newest)
	}
}
