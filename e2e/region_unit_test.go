package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// regionUnit is keypaird's.
const regionUnit = "keypaird.service"

// asDesk runs a command where the environment says whom to call, and as whom.
const asDesk = `. /root/region.env
cd /root
exec "$@"`

// desk runs a command of a desk on the instance itself.
func (i *instance) desk(args ...string) string {
	i.t.Helper()
	return i.run(append([]string{"sh", "-c", asDesk, "desk"}, args...)...)
}

// serveRegion starts keypaird by its unit, with the metadata endpoint at port 80, as
// its manual says.
func (i *instance) serveRegion() {
	i.t.Helper()
	i.wantUnit(regionUnit, "disabled", "inactive")
	i.run("sh", "-c", "umask 077; keypaird init >/root/region.env")
	i.WriteFile("/etc/systemd/system/"+regionUnit+".d/50-imds.conf",
		"[Service]\nExecStart=\nExecStart=/usr/sbin/keypaird --imds 127.0.0.1:80\n", 0o644)
	i.run("systemctl", "daemon-reload")
	i.run("systemctl", "enable", "--now", regionUnit)
	i.wantUnit(regionUnit, "enabled", "active")
}

// wantUnit checks whether a unit is enabled and whether it runs.
func (i *instance) wantUnit(unit, file, active string) {
	i.t.Helper()
	if is, runs := i.property(unit, "UnitFileState"), i.property(unit, "ActiveState"); is != file || runs != active {
		i.t.Errorf("%s is %s and %s, want %s and %s", unit, is, runs, file, active)
	}
}

func TestTheUnitServesARegionThatOutlivesRestartAndCrash(t *testing.T) {
	i := boot(t, nil)
	i.serveRegion()
	i.run("keypaird", "instance", "add", "i-web1", "--address", "127.0.0.1")
	i.desk("latchkey", "keypair", "create", "ops")
	i.desk("latchkey", "keypair", "attach", "ops", "i-web1")
	wantKept := func() {
		t.Helper()
		if bound := i.desk("latchkey", "instance", "list", "--keypair", "ops", "--output", "name"); bound != "i-web1\n" {
			t.Errorf("the pair is bound to %q", bound)
		}
		if key := i.desk("sh", "-c", askForKey); !strings.Contains(key, "\r\n\r\nssh-rsa ") {
			t.Errorf("the endpoint says\n%s", key)
		}
	}
	wantKept()
	i.run("systemctl", "restart", regionUnit)
	wantKept()
	i.run("systemctl", "kill", "--signal=KILL", regionUnit)
	i.await("systemd has started it again", func() bool {
		return i.property(regionUnit, "NRestarts") == "1" && i.property(regionUnit, "ActiveState") == "active"
	})
	wantKept()
	i.wantOperatorOnly()
	i.run("systemctl", "stop", regionUnit)
	if result := i.property(regionUnit, "Result"); result != "success" {
		t.Errorf("it ended with %s", result)
	}
	exposed, report := i.exposure(regionUnit)
	fmt.Printf("exposure: %s %.1f\n", regionUnit, exposed)
	if exposed > exposureLimit {
		t.Errorf("%s is exposed to more than %.1f:\n%s", regionUnit, exposureLimit, report)
	}
}

// askForKey reads the key from the endpoint, with nothing but a shell.
const askForKey = `exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/80
printf "GET /latest/meta-data/public-keys/0/openssh-key HTTP/1.0\r\n\r\n" >&3
cat <&3'`

// exitNotPermitted is with what a program ends that may not do what it was told.
const exitNotPermitted = 77

// wantOperatorOnly checks that another user than root is told no, and why.
func (i *instance) wantOperatorOnly() {
	i.t.Helper()
	for _, args := range [][]string{{"instance", "list"}, {"access-key", "create"}} {
		out, err := i.inside(append([]string{"runuser", "-u", ecsUser, "--", "keypaird"}, args...)...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != exitNotPermitted || !strings.Contains(string(out), "permission denied") {
			i.t.Errorf("%s says to another user: %v\n%s", args, err, out)
		}
	}
}
