package sshd

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/tree"
)

// TestNoLinkLeadsSshdsFilesOutOfTheInstance: an absolute link in an image is this
// machine's, for whoever looks at the image from outside.
func TestNoLinkLeadsSshdsFilesOutOfTheInstance(t *testing.T) {
	t.Parallel()
	const left = ".latchkey-tmp-1000000000-X-1" // by a write that was cut off
	for name, link := range map[string]string{
		"the drop-in's folder": path.Dir(DropIn),
		"the main file":        DefaultConfig,
		"the folder of both":   path.Dir(DefaultConfig),
		"a folder included":    "/etc/ssh/more.d",
		"the run folder":       "/run/latchkey",
	} {
		root, outside := t.TempDir(), t.TempDir()
		put := func(name, content string) {
			if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		put(filepath.Join(root, DefaultConfig), "Include sshd_config.d/*.conf more.d/*.conf\n")
		for _, file := range []string{"sshd_config", "00-latchkey.conf", "sshd_config.d/00-latchkey.conf", "candidate/sshd_config", left} {
			put(filepath.Join(outside, file), string(guarded.dropIn()))
		}
		at, target := filepath.Join(root, link), outside
		if link == DefaultConfig {
			target = filepath.Join(outside, "sshd_config")
		}
		// the folder, and its content, as they were before somebody made a link of it
		daemon := New(Daemon{Root: root})
		files, err := daemon.ReadFiles()
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(at), 0o755), os.RemoveAll(at), os.Symlink(target, at)); err != nil {
			t.Fatal(err)
		}
		before := content(t, outside)

		var out *tree.LinkError
		if _, err := daemon.ReadFiles(); link != "/run/latchkey" && !errors.As(err, &out) {
			t.Errorf("%s: read: %v, want the link named", name, err)
		}
		_, err = daemon.Prepare(files, guarded)
		if link == "/run/latchkey" && !errors.As(err, &out) {
			t.Errorf("%s: the candidate: %v, want the link named", name, err)
		}
		closed := files.With(guarded)
		_ = daemon.Write(files, closed)
		_ = daemon.Write(closed, files)
		_ = daemon.Discard()
		daemon.Sweep()
		if diff := cmp.Diff(before, content(t, outside)); diff != "" {
			t.Errorf("%s: outside (-before +after):\n%s", name, diff)
		}
	}
}

// content is what the files of a folder hold, by their names.
func content(t *testing.T, folder string) map[string]string {
	t.Helper()
	held := map[string]string{}
	err := filepath.WalkDir(folder, func(name string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		held[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return held
}

// TestALinkWithinTheInstanceStays: one that sshd itself finds the same file by.
func TestALinkWithinTheInstanceStays(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.Mkdir("/etc/kept", 0o755)
	folder := path.Dir(DropIn)
	if err := errors.Join(os.RemoveAll(m.Path(folder)), os.Symlink("../kept", m.Path(folder))); err != nil {
		t.Fatal(err)
	}
	m.SSHDConfig("Include /etc/ssh/sshd_config.d/*.conf\n")
	m.write(guarded)
	if m.ReadFile("/etc/kept/00-latchkey.conf") != string(guarded.dropIn()) || m.effective().AllowsPassword() {
		t.Error("the drop-in is not where the link leads")
	}
	m.write(Policy{})
	if diff := cmp.Diff(map[string]string{}, content(t, m.Path("/etc/kept"))); diff != "" {
		t.Errorf("the folder (-want +got):\n%s", diff)
	}
}

// TestAPidFileOutOfTheInstanceIsNoneOfItsSshd: /var/run is an absolute link in Debian, and
// leads to the pid file of this machine's own sshd, which must not be signalled.
func TestAPidFileOutOfTheInstanceIsNoneOfItsSshd(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.StartSSHD()
	config := m.effective()
	pid, err := m.sshd.watchPIDFile(config).listener(config.Ports())
	if err != nil || pid == 0 {
		t.Fatalf("its own: pid %d, %v", pid, err)
	}
	config["pidfile"] = []string{path.Join("/var/run", path.Base(config["pidfile"][0]))}
	root := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(root, "var"), 0o755), os.Symlink(m.Path("/run"), filepath.Join(root, "var/run"))); err != nil {
		t.Fatal(err)
	}
	pid, err = New(Daemon{Root: root}).watchPIDFile(config).listener(config.Ports())
	if err != nil || pid != 0 {
		t.Errorf("another's: pid %d, %v, want none", pid, err)
	}
}
