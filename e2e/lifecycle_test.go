package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// units are what the package enables and starts.
var units = []string{"latchkeyd.service", "latchkey-network.socket"}

// conffile is the one that dpkg keeps.
const conffile = "/etc/latchkey/latchkey.toml"

// wantUnits checks the units of latchkey for a state in which systemd has them.
func (i *instance) wantUnits(property, want string) {
	i.t.Helper()
	for _, unit := range units {
		if got := i.property(unit, property); got != want {
			i.t.Errorf("%s of %s is %s, want %s", property, unit, got, want)
		}
	}
}

// ownKey gives root a key of their own.
func (i *instance) ownKey() testmachine.Key {
	i.t.Helper()
	own := testmachine.NewKey(i.t, "ed25519")
	i.AuthorizedKeys("root", own.Line)
	return own
}

// stay opens a session of root's. What it returns checks that the session goes on
// and that sshd is still the same process.
func (i *instance) stay(key testmachine.Key) (wantUndisturbed func()) {
	i.t.Helper()
	sshd := i.property("ssh.service", "MainPID")
	begun, end := i.session(key)
	return func() {
		i.t.Helper()
		if said := begun + end(); said != "begun\nheard you\n" {
			i.t.Errorf("the session that was open said %q", said)
		}
		if now := i.property("ssh.service", "MainPID"); now != sshd {
			i.t.Errorf("sshd was restarted: process %s, then %s", sshd, now)
		}
	}
}

func TestInstallOnARunningSystemBindsAndLetsSessionsBe(t *testing.T) {
	i := newInstance(t)
	i.start()
	key := i.endpoint.bindNew("first")
	wantUndisturbed := i.stay(i.ownKey())

	i.install(deb(t, currentVersion))
	i.wantUnits("UnitFileState", "enabled")
	i.wantUnits("ActiveState", "active")
	i.wantBound("root", key)
	wantUndisturbed()
}

func TestInstallInAnImageStartsNothingAndTheFirstBootBinds(t *testing.T) {
	i := newInstance(t)
	key := i.endpoint.bindNew("first")
	i.installInImage(deb(t, currentVersion))
	if states := i.Run(t, "systemctl", "is-enabled", units[0], units[1]); states != "enabled\nenabled\n" {
		t.Errorf("in the image the units are\n%s", states)
	}
	if running := processesIn(i.Root); len(running) > 0 {
		t.Errorf("in the image there runs %q", running)
	}
	if left := i.Run(t, "find", "/run/latchkey", "/var/lib/latchkey", "-mindepth", "1"); left != index.Dir+"\n" {
		t.Errorf("an agent was there, and left\n%s", left)
	}
	i.start()
	i.wantBound("root", key)
}

// processesIn are the command lines of those processes whose root is a folder.
func processesIn(root string) []string {
	found, _ := filepath.Glob("/proc/[0-9]*") // only a bad pattern is an error
	var running []string
	for _, process := range found { // any of them may end meanwhile
		if its, err := os.Readlink(process + "/root"); err == nil && its == root {
			line, _ := os.ReadFile(process + "/cmdline")
			running = append(running, string(line))
		}
	}
	return running
}

// makeInstall runs `make install` towards the instance's disk.
func (i *instance) makeInstall(prefix string) {
	i.t.Helper()
	install := exec.Command("make", "--no-print-directory", "-C", "..", "install", "DESTDIR="+i.Root, "PREFIX="+prefix)
	if out, err := install.CombinedOutput(); err != nil {
		i.t.Fatalf("make install: %v\n%s", err, out)
	}
}

func TestMakeInstallIntoAnImageBindsTheSame(t *testing.T) {
	i := newInstance(t)
	key := i.endpoint.bindNew("first")
	i.makeInstall("/usr")
	i.Run(t, "systemd-sysusers")
	i.Run(t, "systemctl", "enable", units[0], units[1])
	i.start()
	i.wantBound("root", key)
	i.wantUnits("ActiveState", "active")
}

// TestMakeInstallOnARunningSystemBindsTheSame does what README.md says.
func TestMakeInstallOnARunningSystemBindsTheSame(t *testing.T) {
	i := newInstance(t)
	i.start()
	key := i.endpoint.bindNew("first")
	wantUndisturbed := i.stay(i.ownKey())
	i.makeInstall("/usr/local")
	i.run("sh", "-c", "systemd-sysusers && systemd-tmpfiles --create && journalctl --update-catalog && systemctl daemon-reload")
	i.run("systemctl", "enable", "--now", "latchkey-network.socket", "latchkeyd.service")
	i.wantBound("root", key)
	wantUndisturbed()
	i.restart()
	i.wantBound("root", key)
}

func TestAnUpgradeKeepsTheConfigurationAndTheBindingThroughout(t *testing.T) {
	i := newInstance(t)
	i.installInImage(deb(t, olderVersion))
	config := strings.Replace(i.ReadFile(conffile), `user = "root"`, `user = "`+ecsUser+`"`, 1)
	i.WriteFile(conffile, config, 0o644)
	key := i.endpoint.bindNew("first")
	i.start()
	i.wantBound(ecsUser, key)
	wantUndisturbed := i.stay(i.ownKey())
	agent := i.property("latchkeyd.service", "MainPID")
	state := i.ReadFile(stateFile)

	stop := i.keepTrying(ecsUser, key)
	said := i.install(deb(t, currentVersion))
	if rounds, err := stop(); err != nil || rounds == 0 {
		t.Errorf("while the upgrade went on, after %d rounds: %v", rounds, err)
	}
	if strings.Contains(said, "onfiguration file") {
		t.Errorf("the upgrade asked about the configuration:\n%s", said)
	}
	if diff := cmp.Diff([]string{config, state}, []string{i.ReadFile(conffile), i.ReadFile(stateFile)}); diff != "" {
		t.Errorf("configuration and state (-before +after):\n%s", diff)
	}
	i.wantRunning(currentVersion, agent)
	i.wantBound(ecsUser, key)
	wantUndisturbed()
}

// wantRunning checks that the agent is of a version, and another process than
// the one before.
func (i *instance) wantRunning(version, before string) {
	i.t.Helper()
	now := i.property("latchkeyd.service", "MainPID")
	if now == before || now == "0" {
		i.t.Fatalf("the agent was process %s and is %s", before, now)
	}
	if said := i.run("/proc/"+now+"/exe", "--version"); !strings.Contains(said, version) {
		i.t.Errorf("the agent that runs is %s", said)
	}
}

// keepTrying logs a user in over and over, by their key and by nothing, until it
// is stopped or sshd is once not as a bound key has it.
func (i *instance) keepTrying(user string, key testmachine.Key) (stop func() (rounds int, err error)) {
	quit, done := make(chan struct{}), make(chan struct{})
	rounds, failed := 0, error(nil)
	go func() {
		defer close(done)
		for ; failed == nil; rounds++ {
			failed = i.boundNow(user, key)
			select {
			case <-quit:
				return
			default:
			}
		}
	}()
	return func() (int, error) {
		close(quit)
		<-done
		return rounds, failed
	}
}

// boundNow tells whether sshd takes the key and offers nothing else.
func (i *instance) boundNow(user string, key testmachine.Key) error {
	nothing := way{name: "nothing", options: []string{"-o", "PubkeyAuthentication=no"}}
	switch err := i.logOn(user, nothing); {
	case err == nil:
		return errors.New("sshd asks for no key")
	case !strings.Contains(err.Error(), "Permission denied (publickey)."):
		return fmt.Errorf("sshd does not ask for the key alone: %w", err)
	}
	return i.logOn(user, byKey(key))
}

func TestAnUpgradeLeavesAnAgentThatDoesNotRunAlone(t *testing.T) {
	for _, test := range []struct{ name, verb, state string }{
		{"disabled", "disable", "disabled"},
		{"masked", "mask", "masked"},
		{"stopped", "stop", "enabled"},
	} {
		t.Run(test.name, func(t *testing.T) {
			i := newInstance(t)
			i.installInImage(deb(t, olderVersion))
			i.start()
			i.run("systemctl", "stop", "latchkeyd.service")
			i.run("systemctl", test.verb, "latchkeyd.service")
			i.install(deb(t, currentVersion))
			state, active := i.property("latchkeyd.service", "UnitFileState"), i.property("latchkeyd.service", "ActiveState")
			if state != test.state || active != "inactive" {
				t.Errorf("after the upgrade it is %s and %s, want %s and inactive", state, active, test.state)
			}
		})
	}
}

// bindRunning returns an instance that was booted without latchkey, which was
// then installed and has bound a key, and what sshd's configuration was before.
func bindRunning(t *testing.T) (i *instance, key testmachine.Key, sshd string) {
	t.Helper()
	i = newInstance(t)
	i.AuthorizedKeys("root", "# mine")
	i.start()
	sshd = i.run("sshd", "-T")
	key = i.endpoint.bindNew("first")
	i.install(deb(t, currentVersion))
	i.wantBound("root", key)
	return i, key, sshd
}

// wantGivenBack checks that an instance is as it was before latchkey, but for
// the bound key, which is a line of the user's by now.
func (i *instance) wantGivenBack(key testmachine.Key, sshd string) {
	i.t.Helper()
	if got := i.run("sshd", "-T"); got != sshd {
		i.t.Errorf("sshd's configuration was\n%s\nand is\n%s", sshd, got)
	}
	if got, want := i.ReadFile("/root/.ssh/authorized_keys"), key.Line+"\n# mine\n"; got != want {
		i.t.Errorf("authorized_keys holds\n%s\nwant\n%s", got, want)
	}
	i.wantIn("root", byKey(key), byPassword(secret))
	i.wantIn(ecsUser, byPassword(secret))
	i.wantNoAgent()
}

// wantNoAgent checks that no process of latchkey's runs.
func (i *instance) wantNoAgent() {
	i.t.Helper()
	if got := i.run("sh", "-c", "cat /proc/[0-9]*/comm 2>/dev/null | grep ^latchkey || true"); got != "" {
		i.t.Errorf("of latchkey there runs\n%s", got)
	}
}

// wantSaid checks what a person was told.
func wantSaid(t *testing.T, said string, want ...string) {
	t.Helper()
	for _, part := range want {
		if !strings.Contains(said, part) {
			t.Errorf("nothing said %q, but\n%s", part, said)
		}
	}
}

func TestRemovalGivesTheInstanceBackAndTheKeyStays(t *testing.T) {
	i, key, sshd := bindRunning(t)
	config := i.ReadFile(conffile)
	wantUndisturbed := i.stay(key)
	fingerprint := ssh.FingerprintSHA256(key.Signer.PublicKey())
	wantSaid(t, i.run("apt-get", "remove", "-y", "latchkey"),
		"sshd's configuration is as it was before latchkey, and sshd has loaded it: password logon is on",
		"/root/.ssh/authorized_keys: "+fingerprint+" stays, as a plain line: it still logs in as root")
	i.wantGivenBack(key, sshd)
	wantUndisturbed()
	if got := i.ReadFile(conffile); got != config {
		t.Errorf("the configuration is now\n%s", got)
	}
	i.restart()
	i.wantGivenBack(key, sshd)

	i.install(deb(t, currentVersion))
	i.wantUnits("UnitFileState", "enabled")
	i.wantBound("root", key)
}

// TestRemovalSucceedsWhereSSHDCannotBeAsked: what is latchkey's goes all the same,
// and whoever has removed it is told what is left to do.
func TestRemovalSucceedsWhereSSHDCannotBeAsked(t *testing.T) {
	for _, test := range []struct{ name, spoil, mend string }{
		{
			"its configuration is refused", "echo Nonsense yes >/etc/ssh/sshd_config.d/90-bad.conf",
			"rm /etc/ssh/sshd_config.d/90-bad.conf",
		},
		{"its program is gone", "mv /usr/sbin/sshd /root/", "mv /root/sshd /usr/sbin/"},
		{"its configuration is gone", "mv /etc/ssh/sshd_config /root/", "mv /root/sshd_config /etc/ssh/"},
	} {
		t.Run(test.name, func(t *testing.T) {
			i, key, sshd := bindRunning(t)
			i.run("sh", "-c", test.spoil)
			said := i.run("apt-get", "remove", "-y", "latchkey")
			wantSaid(t, said, "stays, as a plain line: sshd could not be asked whether it logs in as root", "sshd -t && systemctl reload ssh")
			if strings.Contains(said, "nothing of latchkey was in sshd's configuration") {
				t.Errorf("there was something, but removal said\n%s", said)
			}
			if state := i.run("dpkg-query", "--show", "--showformat=${db:Status-Status}", "latchkey"); state != "config-files" {
				t.Errorf("to dpkg the package is %s", state)
			}
			i.run("sh", "-c", test.mend+" && sshd -t && systemctl reload ssh")
			i.await("sshd has read its configuration", func() bool { return i.logOn("root", byPassword(secret)) == nil })
			i.wantGivenBack(key, sshd)
		})
	}
}

// TestRemovingSSHDTakesLatchkeyAlong: one depends on the other.
func TestRemovingSSHDTakesLatchkeyAlong(t *testing.T) {
	i, _, _ := bindRunning(t)
	i.run("apt-get", "remove", "-y", "openssh-server")
	if left := i.run("find", "/etc/ssh", "-name", "*latchkey*"); left != "" {
		t.Errorf("sshd's configuration has\n%s", left)
	}
	if keys := i.ReadFile("/root/.ssh/authorized_keys"); strings.Contains(keys, "latchkey") {
		t.Errorf("authorized_keys holds\n%s", keys)
	}
	i.wantNoAgent()
}

func TestPurgeLeavesNothingOfLatchkey(t *testing.T) {
	for name, commands := range map[string][]string{
		"at once":        {"keypaird init >/dev/null && systemctl enable --now keypaird", "apt-get purge -y latchkey", regionStays},
		"after removal":  {"apt-get remove -y latchkey", "dpkg --purge latchkey"},
		"while disabled": {"systemctl disable --now latchkeyd", "apt-get purge -y latchkey"},
	} {
		t.Run(name, func(t *testing.T) {
			i, key, sshd := bindRunning(t)
			for _, command := range commands {
				i.run("sh", "-c", command)
			}
			i.wantGivenBack(key, sshd)
			i.wantNoTrace()
		})
	}
}

// regionStays fails where a region's service is left, or its data are not; and takes them
// away as README says.
const regionStays = `! grep -x keypaird /proc/[0-9]*/comm && ! find /etc/systemd -name 'keypaird*' | grep . &&
test -s /var/lib/private/keypaird/region.db && rm -r /var/lib/keypaird /var/lib/private/keypaird`

// wantNoTrace checks that no file, account, unit or catalog entry has latchkey in
// its name or text. Logs have, and so have what apt and dpkg know of packages and
// what the shadow suite keeps of accounts as they were before its last change. The
// name of the container, latchkey-PID, is the test's own.
func (i *instance) wantNoTrace() {
	i.t.Helper()
	const pattern = "latchkey([^-]|-[^0-9]|$)"
	const others = "^/(var|run)/log/|^/var/cache/apt/|^/var/lib/(apt/|dpkg/status-old$)|^/etc/[a-z]+-$|^/root/[^/]*[.]deb$"
	for _, command := range []string{
		"find /etc /usr /var /run /root /home /opt -name '*latchkey*' | grep -vE '" + others + "'",
		"grep -rlE --devices=skip '" + pattern + "' /etc /usr /var /run /root /home | grep -vE '" + others + "'",
		"systemctl list-units --plain --no-legend 'latchkey*'; systemctl list-unit-files --no-legend 'latchkey*'",
		"journalctl --list-catalog 2>/dev/null | grep -i latchkey",
		"getent passwd latchkey; getent group latchkey",
		"dpkg-query --show latchkey 2>/dev/null",
	} {
		if found := i.run("sh", "-c", "("+command+") || true"); found != "" {
			i.t.Errorf("%s\nfinds\n%s", command, found)
		}
	}
}

func TestReleaseByHandTakesTheKeyAwayIfAsked(t *testing.T) {
	i, key, sshd := bindRunning(t)
	i.run("systemctl", "disable", "--now", "latchkeyd.service")
	i.run("latchkey", "release", "--remove-key")
	for range 2 {
		if got := i.run("sshd", "-T"); got != sshd {
			t.Errorf("sshd's configuration was\n%s\nand is\n%s", sshd, got)
		}
		if got := i.ReadFile("/root/.ssh/authorized_keys"); got != "# mine\n" {
			t.Errorf("authorized_keys holds\n%s", got)
		}
		i.wantOut("root", byKey(key))
		i.wantIn("root", byPassword(secret))
		i.restart()
	}
}
