package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// currentVersion is the one that most tests install; olderVersion is for those
// that upgrade to it.
const (
	olderVersion   = "0.1.0"
	currentVersion = "0.1.1"
)

// TestMain takes away what the tests have made for all of them: the packages,
// and the control group of the systems.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := built.remove(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		removeControlGroup()
		os.Exit(code)
	}))
}

// built are the packages of this run of the tests.
var built packages

// packages builds each version once.
type packages struct {
	mu   sync.Mutex
	dir  string
	made map[string]string // the path of a version's package
}

// deb returns the path of the .deb of a version, which `make package` builds.
func deb(t *testing.T, version string) string {
	t.Helper()
	testmachine.RequireRoot(t) // before a package is built for nothing
	file, err := built.of(version)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func (p *packages) of(version string) (file string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if file := p.made[version]; file != "" {
		return file, nil
	}
	if p.dir == "" {
		if p.dir, err = os.MkdirTemp("", "latchkey-packages-"); err != nil {
			return "", err
		}
		p.made = make(map[string]string)
	}
	folder := filepath.Join(p.dir, version)
	build := exec.Command("make", "--no-print-directory", "-C", "..", "package",
		"VERSION="+version, "DIST="+folder, "FORMATS=deb", "ARCHES="+runtime.GOARCH)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the package of %s: %w\n%s", version, err, out)
	}
	found, err := filepath.Glob(filepath.Join(folder, "*.deb"))
	if err != nil || len(found) != 1 {
		return "", errors.Join(fmt.Errorf("make package made %q, want one .deb", found), err)
	}
	p.made[version] = found[0]
	return found[0], nil
}

func (p *packages) remove() error {
	if p.dir == "" {
		return nil
	}
	return os.RemoveAll(p.dir)
}

// put copies a package into root's home and returns its name there.
func (i *instance) put(deb string) string {
	i.t.Helper()
	content, err := os.ReadFile(deb)
	if err != nil {
		i.t.Fatal(err)
	}
	name := filepath.Base(deb)
	i.WriteFile("/root/"+name, string(content), 0o644)
	return name
}

// install installs a package in the running system as the README says, and
// returns what was said meanwhile.
func (i *instance) install(deb string) string {
	i.t.Helper()
	return i.run("sh", "-c", "cd /root && apt-get install -y ./"+i.put(deb))
}

// installInImage installs a package while the instance is off, as those do who
// build images.
func (i *instance) installInImage(deb string) {
	i.t.Helper()
	i.Run(i.t, "dpkg", "--install", "/root/"+i.put(deb))
}
