package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/latchkey-ssh/latchkey/keypair/imds"
)

// askOften has the agent ask the endpoint once a second.
func askOften(i *instance) {
	i.WriteFile("/etc/latchkey/latchkey.toml.d/50-often.toml", "[apply]\nwhen = \"live\"\npoll = \"1s\"\n", 0o644)
}

// asking waits until a network process waits for the endpoint's answer, which
// does not come any more, and returns it.
func (i *instance) asking() process {
	i.t.Helper()
	i.endpoint.Misbehave(imds.Timeout)
	var asking process
	i.await("the network process waits for an answer", func() bool {
		for _, p := range i.processes(networkSide) {
			if count, err := p.internetSockets(); err == nil && count > 0 {
				asking = p
			}
		}
		return asking != ""
	})
	return asking
}

func TestTheProcessWithPrivilegeHasNoInternetSocket(t *testing.T) {
	i := boot(t, func(i *instance) {
		askOften(i)
		i.endpoint.bindNew("first")
	})
	privileged := i.privileged()
	none := func() bool {
		count, err := privileged.internetSockets()
		if err != nil || count > 0 {
			t.Fatalf("it has %d, %v", count, err)
		}
		return true
	}
	enough := i.endpoint.asked.Load() + 20
	i.await("the endpoint was polled a few times", func() bool { return none() && i.endpoint.asked.Load() > enough })
	i.asking()
	none()
}

func TestTheProcessOnTheNetworkHasNoPrivilege(t *testing.T) {
	i := boot(t, askOften)
	p := i.asking()
	uid := strings.TrimSpace(i.run("id", "-u", "latchkey"))
	gid := strings.TrimSpace(i.run("id", "-g", "latchkey"))
	const none = "0000000000000000"
	for field, want := range map[string]string{
		"Uid": strings.Join([]string{uid, uid, uid, uid}, "\t"), "Gid": strings.Join([]string{gid, gid, gid, gid}, "\t"),
		"CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none,
		"NoNewPrivs": "1", "Seccomp": "2",
	} {
		if got, err := p.status(field); err != nil || got != want {
			t.Errorf("%s is %q, want %q (%v)", field, got, want, err)
		}
	}
	if uid == "0" {
		t.Error("the user latchkey is root")
	}
	if group, err := os.ReadFile(p.path("cgroup")); err != nil || !strings.Contains(string(group), "/latchkey-network@") {
		t.Errorf("it was not started by its unit but is in\n%s(%v)", group, err)
	}
	// systemd-nspawn has a filter of its own, which every process here has.
	everybody, err1 := process(i.leader).filters()
	own, err2 := p.filters()
	if own <= everybody {
		t.Errorf("it has %d seccomp filters, PID 1 has %d (%v, %v)", own, everybody, err1, err2)
	}
}

// filters is the number of seccomp filters on a process.
func (p process) filters() (int, error) {
	text, err := p.status("Seccomp_filters")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

// TestTheProcessOnTheNetworkSeesNoFileThatItDoesNotNeed walks over all that is
// below its root folder.
func TestTheProcessOnTheNetworkSeesNoFileThatItDoesNotNeed(t *testing.T) {
	i := boot(t, askOften)
	i.WriteFile("/root/secret", "x", 0o644)
	i.WriteFile("/home/"+ecsUser+"/secret", "x", 0o644)
	root := i.asking().path("root") + "/"
	needed := []string{
		"etc/resolv.conf", "etc/hosts", "etc/ssl/certs", "usr/share/ca-certificates", "usr/local/share/ca-certificates",
		"usr/sbin/latchkeyd", "run/systemd/resolve", "dev", "proc", "sys",
	}
	var seen []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, root)
		switch {
		case slices.Contains(needed, name) && entry != nil && entry.IsDir():
			return fs.SkipDir
		case err == nil && !entry.IsDir():
			seen = append(seen, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(seen, "usr/sbin/latchkeyd") {
		t.Errorf("not even its program is among what it sees: %q", seen)
	}
	seen = slices.DeleteFunc(seen, func(name string) bool { return slices.Contains(needed, name) })
	if len(seen) > 0 {
		t.Errorf("it sees %d more, such as %q", len(seen), seen[:min(len(seen), 10)])
	}
}

// exposureLimit is the most that `systemd-analyze security` may find in the unit
// that reads what strangers send.
const exposureLimit = 1.5

func TestExposureOfTheUnits(t *testing.T) {
	i := boot(t, nil)
	network, report := i.exposure("latchkey-network@test.service")
	if network > exposureLimit {
		t.Errorf("latchkey-network@.service is exposed to %.1f, more than %.1f:\n%s", network, exposureLimit, report)
	}
	privileged, report := i.exposure("latchkeyd.service")
	t.Logf("latchkeyd.service:\n%s", report)
	fmt.Printf("exposure: latchkeyd.service %.1f, latchkey-network@.service %.1f\n", privileged, network)
}

var overallExposure = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)

// exposure is what systemd thinks of a unit's confinement, from 0 (best) to 10.
func (i *instance) exposure(unit string) (overall float64, report string) {
	i.t.Helper()
	report = i.run("systemd-analyze", "security", "--no-pager", unit)
	match := overallExposure.FindStringSubmatch(report)
	if match == nil {
		i.t.Fatalf("systemd-analyze says of %s:\n%s", unit, report)
	}
	overall, err := strconv.ParseFloat(match[1], 64)
	if err != nil {
		i.t.Fatal(err)
	}
	return overall, report
}
