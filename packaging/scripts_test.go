package packaging

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

func TestShellcheckFindsNothing(t *testing.T) {
	shellcheck := testmachine.RequireProgram(t, "shellcheck")
	scripts := []string{"install.sh", "licences.sh", "package.sh", "openrc/latchkeyd"}
	found, err := filepath.Glob("scripts/*/*")
	if err != nil || len(found) < 11 {
		t.Fatalf("found the scripts %q (%v)", found, err)
	}
	if out, err := exec.Command(shellcheck, append(scripts, found...)...).CombinedOutput(); err != nil {
		t.Errorf("shellcheck: %v\n%s", err, out)
	}
}

// image is a Debian that does not run, as those have it who build images.
type image struct {
	*testmachine.Machine
	t *testing.T
}

func newImage(t *testing.T) *image {
	t.Helper()
	i := &image{testmachine.NewDebian(t, "bookworm"), t}
	i.run("rmdir", "/etc/latchkey", "/var/lib/latchkey") // a machine has them, an image has not
	return i
}

func (i *image) run(name string, args ...string) string {
	i.t.Helper()
	return i.Run(i.t, name, args...)
}

// install installs the package; another version does as well as this.
func (i *image) install() {
	i.t.Helper()
	i.WriteFile("/root/latchkey.deb", string(readFile(i.t, packageFor(i.t, "*.deb", []string{runtime.GOARCH}))), 0o644)
	i.run("dpkg", "--install", "/root/latchkey.deb")
}

// enabled is what systemctl says about the units, which needs no systemd.
func (i *image) enabled() string {
	i.t.Helper()
	out, _ := i.Chroot("systemctl", "is-enabled", "latchkeyd.service", "latchkey-network.socket").Output() // fails if one is not
	return strings.Join(strings.Fields(string(out)), " ")
}

func TestInAnImageThePackageIsEnabledAndHasItsAccountsAndFolders(t *testing.T) {
	t.Parallel()
	i := newImage(t)
	i.install()
	if got := i.enabled(); got != "enabled enabled" {
		t.Errorf("the units are %s", got)
	}
	for _, name := range []string{"latchkey", "latchkey-keys"} {
		want := name + ":*:/:/usr/sbin/nologin"
		field := strings.Split(strings.TrimSpace(i.run("getent", "passwd", name)), ":")
		if got := strings.Join([]string{field[0], "*", field[5], field[6]}, ":"); got != want {
			t.Errorf("the account is %s, want %s", got, want)
		}
		if group := i.run("id", "-Gn", name); group != name+"\n" {
			t.Errorf("%s is in the groups %q, want its own alone", name, group)
		}
	}
	for folder, want := range map[string]string{
		"/var/lib/latchkey": "711 root root\n", "/var/lib/latchkey/keys": "755 root root\n", "/run/latchkey": "755 root root\n",
	} {
		if got := i.run("stat", "-c", "%a %U %G", folder); got != want {
			t.Errorf("%s is %q, want %q", folder, got, want)
		}
	}
}

// TestAnUpgradeKeepsWhatAnAdminHasDone: to the units, the configuration, the
// state.
func TestAnUpgradeKeepsWhatAnAdminHasDone(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ verb, want string }{
		{"disable", "disabled enabled"},
		{"mask", "masked enabled"},
	} {
		t.Run(test.verb, func(t *testing.T) {
			i := newImage(t)
			i.install()
			i.run("systemctl", test.verb, "latchkeyd.service")
			const config, state = "[login]\nuser = \"ecs-user\"\n", "{\"boot_id\":\"x\"}"
			i.WriteFile("/etc/latchkey/latchkey.toml", config, 0o640)
			i.WriteFile("/var/lib/latchkey/state.json", state, 0o600)
			i.install()
			if got := i.enabled(); got != test.want {
				t.Errorf("the units are %s, want %s", got, test.want)
			}
			if got := i.ReadFile("/etc/latchkey/latchkey.toml"); got != config {
				t.Errorf("the configuration is now %q", got)
			}
			if got := i.ReadFile("/var/lib/latchkey/state.json"); got != state {
				t.Errorf("the state is now %q", got)
			}
		})
	}
}

// TestRemovedAndInstalledAgainItIsEnabledUnlessDisabled also sees that a removed
// package starts nothing.
func TestRemovedAndInstalledAgainItIsEnabledUnlessDisabled(t *testing.T) {
	t.Parallel()
	for _, disabled := range []bool{false, true} {
		i := newImage(t)
		i.install()
		want := "enabled enabled"
		if disabled {
			i.run("systemctl", "disable", "latchkeyd.service")
			want = "disabled enabled"
		}
		i.run("dpkg", "--remove", "latchkey")
		if got := i.enabled(); got != "masked masked" {
			t.Errorf("removed, the units are %s", got)
		}
		i.install()
		if got := i.enabled(); got != want {
			t.Errorf("installed again, the units are %s, want %s", got, want)
		}
	}
}

// TestPurgeLeavesNothing compares all files and accounts with those from before.
func TestPurgeLeavesNothing(t *testing.T) {
	t.Parallel()
	i := newImage(t)
	before, accounts := i.everything(), i.ReadFile("/etc/passwd")+i.ReadFile("/etc/group")
	i.install()
	i.WriteFile("/etc/latchkey/latchkey.toml.d/mine.toml", "[login]\nuser = \"root\"\n", 0o644)
	i.run("systemctl", "enable", "keypaird.service")
	i.run("dpkg", "--purge", "latchkey")
	i.run("rm", "/root/latchkey.deb")
	if diff := cmp.Diff(before, i.everything()); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(accounts, i.ReadFile("/etc/passwd")+i.ReadFile("/etc/group")); diff != "" {
		t.Errorf("accounts (-before +after):\n%s", diff)
	}
}

// othersRecords are what other programs keep about what they have done.
var othersRecords = regexp.MustCompile(`^/var/(lib/dpkg|log|cache)/|^/etc/(passwd|group|shadow|gshadow|subuid|subgid)-$|^/var/lib/systemd/catalog|^/proc/|^/dev/`)

// everything are the paths of all files.
func (i *image) everything() []string {
	i.t.Helper()
	paths := strings.Fields(i.run("find", "/", "-path", "/proc", "-prune", "-o", "-path", "/dev", "-prune", "-o", "-print"))
	return slices.DeleteFunc(paths, othersRecords.MatchString)
}

// TestAPurgeTakesNobodysOwnAccount: one of that name that people log in to was
// there before.
func TestAPurgeTakesNobodysOwnAccount(t *testing.T) {
	t.Parallel()
	i := newImage(t)
	i.AddUser("latchkey", "correct horse")
	i.install()
	i.run("dpkg", "--purge", "latchkey")
	i.run("id", "latchkey")
}

// TestARemovalThatCannotGiveBackSaysWhatToDo, and is carried out.
func TestARemovalThatCannotGiveBackSaysWhatToDo(t *testing.T) {
	t.Parallel()
	i := newImage(t)
	i.install()
	i.Mkdir("/etc/ssh/sshd_config.d/00-latchkey.conf", 0o755) // in the drop-in's place
	said := i.run("dpkg", "--remove", "latchkey")
	if !strings.Contains(said, "rm /etc/ssh/sshd_config.d/00-latchkey.conf") {
		t.Errorf("the removal said:\n%s", said)
	}
	if status := i.run("dpkg-query", "--show", "--showformat=${db:Status-Status}", "latchkey"); status != "config-files" {
		t.Errorf("the package is %q, want it removed", status)
	}
}

// TestARemovalTakesTheCommandAwayThoughTheKeyCannotBeKept, since its program goes, and
// says so.
func TestARemovalTakesTheCommandAwayThoughTheKeyCannotBeKept(t *testing.T) {
	t.Parallel()
	i := newImage(t)
	i.install()
	const dropIn, index = "/etc/ssh/sshd_config.d/00-latchkey.conf", "/var/lib/latchkey/keys/bound.index"
	i.WriteFile("/etc/ssh/sshd_config", "AuthorizedKeysFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"+
		"AuthorizedKeysCommand /usr/sbin/latchkey-authorized-keys %u\nAuthorizedKeysCommandUser latchkey-keys\nInclude /etc/ssh/sshd_config.d/*.conf\n", 0o644)
	i.WriteFile(dropIn, "Match User root\n\tAuthorizedKeysCommand /usr/sbin/latchkey-authorized-keys %u %U %h %t %k\n\tAuthorizedKeysCommandUser latchkey-keys\n", 0o644)
	i.WriteFile("/root/key", testmachine.NewKey(t, "ed25519").Line+"\n", 0o600)
	i.run("latchkey", "keys", "build", "--quiet", "--out", index, "root=/root/key")
	said := i.run("dpkg", "--remove", "latchkey")
	for _, want := range []string{"the bound key is not proved to log in without latchkey: SHA256:", "NOBODY", "warning: /etc/ssh/sshd_config:4 ", "By hand:", "where sshd looks for its user's keys"} {
		if !strings.Contains(said, want) {
			t.Errorf("the removal does not say %q:\n%s", want, said)
		}
	}
	if left := i.run("find", "/etc/ssh/sshd_config.d", "/var/lib/latchkey", "-name", "00-latchkey.conf", "-o", "-name", "bound.index"); left != "" {
		t.Errorf("there is still\n%s", left)
	}
}

// TestTheScriptsOfTheRPM runs them with the arguments that rpm gives them, in a
// Debian that has the files but not the package.
func TestTheScriptsOfTheRPM(t *testing.T) {
	t.Parallel()
	i := newImage(t)
	i.WriteFile("/root/latchkey.deb", string(readFile(t, packageFor(t, "*.deb", []string{runtime.GOARCH}))), 0o644)
	i.run("dpkg-deb", "--extract", "/root/latchkey.deb", "/")
	script := func(name, argument string) string {
		i.WriteFile("/root/"+name, string(readFile(t, filepath.Join("scripts/rpm", name))), 0o755)
		return i.run("/root/"+name, argument)
	}
	want := func(state string) {
		t.Helper()
		if got := i.enabled(); got != state {
			t.Errorf("the units are %q, want %q", got, state)
		}
	}
	script("post", "1") // a first install
	i.run("systemctl", "enable", "keypaird.service")
	want("enabled enabled")
	i.run("id", "latchkey")
	i.run("systemctl", "disable", "latchkeyd.service")
	script("post", "2") // an upgrade: the new one's comes first
	script("preun", "1")
	script("postun", "1")
	want("disabled enabled")
	if said := script("preun", "0"); !strings.Contains(said, "nothing of latchkey was in sshd's configuration") { // the last goes
		t.Errorf("the removal said:\n%s", said)
	}
	script("postun", "0")
	want("disabled disabled")
	if link := i.run("find", "/etc/systemd/system", "-name", "keypaird.service"); link != "" {
		t.Errorf("still enabled:\n%s", link)
	}
	if left := i.run("find", "/run", "-name", "latchkey*"); left != "" {
		t.Errorf("there is still\n%s", left)
	}
}
