package agent

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// TestNoLinkLeadsAPassOutOfATree: an image may be mounted with links in it that would
// lead to this machine's own files.
func TestNoLinkLeadsAPassOutOfATree(t *testing.T) {
	t.Parallel()
	for name, link := range map[string]string{
		"sshd's folder": path.Dir(sshd.DropIn), "sshd's configuration": path.Dir(mainFile), "the run folder": RunDir, "the state": StateDir,
		"our configuration": path.Dir(DefaultConfigPath),
	} {
		r := newRig(t)
		r.StartSSHD()
		out := t.TempDir()
		for file, content := range map[string]string{
			path.Base(mainFile):          r.ReadFile(mainFile),
			path.Base(sshd.DropIn):       "# the host's\nPasswordAuthentication no\n",
			path.Base(DefaultConfigPath): "[login]\nuser = \"the-hosts\"\n",
			socketName:                   "", stateFile: "{}", "lock": "", "agent": "",
		} {
			if err := os.WriteFile(filepath.Join(out, file), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(os.RemoveAll(r.Path(link)), os.MkdirAll(filepath.Dir(r.Path(link)), 0o755), os.Symlink(out, r.Path(link))); err != nil {
			t.Fatal(err)
		}
		before := listing(t, out)
		wantNamed := func(what string, err error) {
			t.Helper()
			if err == nil || !strings.Contains(err.Error(), "the symbolic link "+r.Path(link)+" points to "+out) {
				t.Errorf("%s: %s: %v, want the link named", name, what, err)
			}
		}
		if link == path.Dir(DefaultConfigPath) {
			_, err := LoadConfig(r.Root, DefaultConfigPath)
			wantNamed("the configuration", err)
			continue
		}
		_, err := r.agent().Pass(context.Background(), bound(t, testmachine.NewKey(t, "ed25519")), How{})
		wantNamed("a pass", err)
		_, err = r.agent().Release(context.Background(), ReleaseHow{})
		if link != StateDir { // what cannot be read is not in the way of a release
			wantNamed("a release", err)
		}
		_, err = r.agent().Release(context.Background(), ReleaseHow{Force: true, RemoveKeys: true})
		wantNamed("a forced release", err)
		if diff := cmp.Diff(before, listing(t, out)); diff != "" {
			t.Errorf("%s: outside (-before +after):\n%s", name, diff)
		}
		if r.exists(keysFile) {
			t.Errorf("%s: a key was written", name)
		}
	}
}

// TestADropInOutsideOfATreeStays: also where sshd's main file is gone, and nothing is read.
func TestADropInOutsideOfATreeStays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	out := t.TempDir()
	theirs := filepath.Join(out, path.Base(sshd.DropIn))
	folder := r.Path(path.Dir(sshd.DropIn))
	err := errors.Join(os.Remove(r.Path(mainFile)), os.RemoveAll(folder), os.Symlink(out, folder), os.WriteFile(theirs, nil, 0o644))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.agent().Release(context.Background(), ReleaseHow{}); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("%v, want the link named", err)
	}
	if _, err := os.Stat(theirs); err != nil {
		t.Error(err)
	}
}
