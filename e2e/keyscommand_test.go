package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// helperPath is where the package has the helper.
const helperPath = "/usr/sbin/latchkey-authorized-keys"

var deliveryLine = regexp.MustCompile(`(?m)^delivery = .*$`)

// deliverBy edits the configuration, of an instance that runs or is off.
func (i *instance) deliverBy(delivery agent.Delivery) {
	i.t.Helper()
	config := deliveryLine.ReplaceAllString(i.ReadFile(conffile), fmt.Sprintf("delivery = %q", delivery))
	i.WriteFile(conffile, config, 0o644)
}

// bootByCommand returns an instance that has been booted with a key bound for
// ecs-user and delivered by command, and what was in that user's home before.
func bootByCommand(t *testing.T, before func(*instance)) (i *instance, key testmachine.Key, home string) {
	t.Helper()
	i = boot(t, func(i *instance) {
		i.deliverBy(agent.ByCommand)
		i.endpoint.loginAs(ecsUser)
		before(i)
		home = i.Run(t, homeListing[0], homeListing[1:]...)
		key = i.endpoint.bindNew("first")
	})
	return i, key, home
}

// homeListing lists all of ecs-user's home, with when it was changed.
var homeListing = []string{"sh", "-c", "find /home/" + ecsUser + " -printf '%p %y %m %u %g %s %T@ %C@\\n' | sort"}

// wantByCommand checks that the bound key is delivered by command alone.
func (i *instance) wantByCommand() {
	i.t.Helper()
	if got := i.status(); got.Index != index.Bound || got.KeysFile != "" {
		i.t.Errorf("status says that the key is in index %q and file %q", got.Index, got.KeysFile)
	}
}

func TestByCommandTheFirstBootLetsInTheKeyAndLeavesTheHomeAlone(t *testing.T) {
	own := testmachine.NewKey(t, "ed25519")
	i, key, home := bootByCommand(t, func(i *instance) { i.AuthorizedKeys(ecsUser, own.Line) })
	i.wantBound(ecsUser, key)
	i.wantByCommand()
	i.wantIn(ecsUser, byKey(own))
	i.wantOut("root", byKey(key))
	if diff := cmp.Diff(home, i.run(homeListing...)); diff != "" {
		t.Errorf("the home (-before +after):\n%s", diff)
	}
	i.wantHelperAsPackaged()
	if got := i.stat(index.Bound); got != "644 root root" {
		t.Errorf("%s is %s", index.Bound, got)
	}
}

// wantHelperAsPackaged checks owners and modes of all that the helper needs.
func (i *instance) wantHelperAsPackaged() {
	i.t.Helper()
	for path, want := range map[string]string{
		helperPath: "755 root root", agent.StateDir: "711 root root", index.Dir: "755 root root", stateFile: "600 root root",
	} {
		if got := i.stat(path); got != want {
			i.t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	account := strings.Split(i.run("getent", "passwd", agent.HelperUser), ":")
	if home, shell := account[5], account[6]; home != "/" || shell != "/usr/sbin/nologin\n" {
		i.t.Errorf("the helper's account is %q", account)
	}
	if groups := i.run("id", "-Gn", agent.HelperUser); groups != agent.HelperUser+"\n" {
		i.t.Errorf("the helper's account is in the groups %q, want its own alone", groups)
	}
}

// stat is mode, owner and group of a file.
func (i *instance) stat(path string) string {
	i.t.Helper()
	return strings.TrimSpace(i.run("stat", "-c", "%a %U %G", path))
}

// tellingHelper is the helper, which tells the journal as whom it runs, in which
// unit, and what its processes may ever become.
const tellingHelper = `#!/bin/sh
unit=$(sed -n 's|.*/\(.*[.]service\)$|\1|p' /proc/self/cgroup | sort -u)
bounds=$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/self/status)
logger -t asked "$(id -un) $unit $bounds"
exec /usr/lib/latchkey-helper "$@"
`

// TestTheHelperRunsAsItsOwnAccountForTheProofAndForLogons: the sandbox of
// latchkeyd.service does not keep it from answering.
func TestTheHelperRunsAsItsOwnAccountForTheProofAndForLogons(t *testing.T) {
	i, key, _ := bootByCommand(t, func(i *instance) {
		i.Run(t, "mv", helperPath, "/usr/lib/latchkey-helper")
		i.WriteFile(helperPath, tellingHelper, 0o755)
	})
	i.wantBound(ecsUser, key)
	log := i.run("journalctl", "-t", "asked", "-o", "cat")
	for _, unit := range []string{agentUnit, sshUnit} {
		bounds := i.run("sed", "-n", "s/^CapBnd:[[:space:]]*//p", "/proc/"+i.property(unit, "MainPID")+"/status")
		wantSaid(t, log, agent.HelperUser+" "+unit+" "+bounds)
	}
	for line := range strings.Lines(log) {
		if !strings.HasPrefix(line, agent.HelperUser+" ") {
			t.Errorf("the helper ran as somebody else: %s", line)
		}
	}
}

// keepSessionMounts keeps what is mounted at a logon: an unmount ten seconds after it
// would wake the agent, whatever the test is about.
func keepSessionMounts(i *instance) {
	i.WriteFile("/etc/systemd/logind.conf.d/50-keep.conf", "[Login]\nUserStopDelaySec=infinity\n", 0o644)
}

// TestASpoiltIndexIsRefusedAndNamedAndTheAgentMendsIt: without an agent there is time to
// see what others see of it; one that runs hears of it.
func TestASpoiltIndexIsRefusedAndNamedAndTheAgentMendsIt(t *testing.T) {
	i, key, _ := bootByCommand(t, keepSessionMounts)
	i.wantBound(ecsUser, key)
	i.run("systemctl", "stop", agentUnit)
	i.run("chmod", "0666", index.Bound)
	i.wantOut(ecsUser, byKey(key), byPassword(secret))
	i.wantRefusalNamed(index.Bound, "key-index")

	i.run("systemctl", "start", agentUnit)
	i.wantBound(ecsUser, key)
	i.run("chmod", "0666", index.Bound)
	spoilt := time.Now()
	i.await("the agent has mended the index", func() bool { return i.stat(index.Bound) == "644 root root" })
	fmt.Printf("from an index that all may write to, to a sound one: %v\n", time.Since(spoilt).Round(time.Millisecond))
	i.await("status names no fault", func() bool { return len(i.status().Faults) == 0 })
	i.wantBound(ecsUser, key)
}

// TestAnAdministratorsSpoiltIndexIsNamed: latchkey does not own that one, but where it
// is spoilt the bound key does not log in either.
func TestAnAdministratorsSpoiltIndexIsNamed(t *testing.T) {
	other := testmachine.NewKey(t, "ed25519")
	i, key, _ := bootByCommand(t, keepSessionMounts)
	i.WriteFile("/root/keys", other.Line+"\n", 0o600)
	i.run("latchkey", "keys", "build", ecsUser+"=/root/keys")
	i.wantIn(ecsUser, byKey(key), byKey(other))
	i.run("chmod", "0666", index.Users)
	i.wantOut(ecsUser, byKey(key), byKey(other))
	i.wantRefusalNamed(index.Users, "keys-command-failed")
	i.run("chmod", "0644", index.Users)
	i.wantBound(ecsUser, key)
	i.wantIn(ecsUser, byKey(other))
}

// wantRefusalNamed checks that the journal and a finding of doctor's name an index
// that the helper refuses.
func (i *instance) wantRefusalNamed(path, finding string) {
	i.t.Helper()
	wantSaid(i.t, i.run("journalctl", "-t", "latchkey-authorized-keys", "-p", "err", "-o", "cat"), path+": ", "all keys are refused")
	if check := i.diagnose()[finding]; check.Result != agent.Fail || !strings.Contains(check.Detail, path) {
		i.t.Errorf("doctor does not name %s as %s, but says %+v", path, finding, i.diagnose())
	}
}

// TestInLiveModeAKeyThatIsUnboundIsRefusedAtTheNextLogon, by command; whoever is logged
// in stays.
func TestInLiveModeAKeyThatIsUnboundIsRefusedAtTheNextLogon(t *testing.T) {
	i, key, home := bootByCommand(t, func(i *instance) {
		i.WriteFile("/etc/latchkey/latchkey.toml.d/50-live.toml", "[apply]\nwhen = \"live\"\npoll = \"1h\"\n", 0o644)
	})
	i.wantBound(ecsUser, key)
	said, leave := i.sessionOf(ecsUser, key)
	i.await("the agent hears of changes at once", func() bool { return i.status().Follows == "watch" })

	i.endpoint.Unbind()
	unbound, letIn := time.Now(), 0
	i.await("the key is refused", func() bool {
		err := i.logOn(ecsUser, byKey(key))
		if err == nil {
			letIn++
		}
		return err != nil && strings.Contains(err.Error(), "Permission denied")
	})
	fmt.Printf("from unbound to the first logon refused: %v, %d let in before\n", time.Since(unbound).Round(time.Millisecond), letIn)
	i.wantOut(ecsUser, byKey(key))
	i.wantIn(ecsUser, byPassword(secret))
	i.await("the binding is gone from the status", func() bool { return i.status().Password == "on" })
	if left := i.run("find", index.Dir, "-mindepth", "1"); left != "" {
		t.Errorf("the indexes are still there: %s", left)
	}
	if rest := leave(); said != "begun\n" || rest != "heard you\n" {
		t.Errorf("the open session said %q and at the end %q", said, rest)
	}
	if diff := cmp.Diff(home, i.run(homeListing...)); diff != "" {
		t.Errorf("the home (-before +after):\n%s", diff)
	}
}

// adminCommand is how an administrator has sshd ask for keys.
const adminCommand = "AuthorizedKeysCommand /usr/local/bin/keys %u \"two words\" %f\nAuthorizedKeysCommandUser nobody\n"

// startWithAdmin starts an instance with no latchkey yet, but with a key bound to it and
// delivery by command configured. An administrator's command knows a key for everybody.
func startWithAdmin(t *testing.T) (i *instance, key, admins testmachine.Key) {
	t.Helper()
	i = newInstance(t)
	admins = testmachine.NewKey(t, "ed25519")
	i.AuthorizedKeys("root", "# mine")
	i.WriteFile("/etc/ssh/sshd_config", i.ReadFile("/etc/ssh/sshd_config")+adminCommand, 0o644)
	i.WriteFile("/usr/local/bin/keys", "#!/bin/sh\n{ printf '<%s>' \"$@\"; id -un; } >>/var/asked\necho '"+admins.Line+"'\n", 0o755)
	i.WriteFile("/etc/latchkey/latchkey.toml.d/50-command.toml", "[apply]\ndelivery = \"command\"\n", 0o644)
	key = i.endpoint.bindNew("first")
	i.start()
	return i, key, admins
}

// asked is what the administrator's command is asked when its key logs root in.
func (i *instance) asked(admins testmachine.Key) string {
	i.t.Helper()
	i.WriteFile("/var/asked", "", 0o666)
	i.wantIn("root", byKey(admins))
	return i.run("sort", "-u", "/var/asked")
}

// commandOf is what sshd asks for a user's keys.
func (i *instance) commandOf(user string) string {
	i.t.Helper()
	return i.run("sh", "-c", "sshd -T -C host=h,addr=192.0.2.1,user="+user+" | grep ^authorizedkeyscommand")
}

func TestAnAdministratorsCommandIsAskedAfterOursAndAsBeforeOnceLatchkeyIsGone(t *testing.T) {
	i, key, admins := startWithAdmin(t)
	sshd, files := i.run("sshd", "-T"), i.run("sh", "-c", "find /etc/ssh -type f | sort | xargs sha256sum")
	asked, others := i.asked(admins), i.commandOf(ecsUser)
	fingerprint := ssh.FingerprintSHA256(admins.Signer.PublicKey())
	if want := "<root><two words><" + fingerprint + ">nobody\n"; asked != want {
		t.Fatalf("the administrator's command is asked %q, want %q", asked, want)
	}

	i.install(deb(t, currentVersion))
	i.wantBound("root", key)
	i.wantByCommand()
	wantSaid(t, i.commandOf("root"), "authorizedkeyscommand "+helperPath+" %u %U %h %t %k -- /usr/local/bin/keys")
	if now := i.asked(admins); now != asked {
		t.Errorf("the administrator's command was asked %q and is asked %q", asked, now)
	}
	if now := i.commandOf(ecsUser); now != others {
		t.Errorf("of others, sshd asked\n%s\nand asks\n%s", others, now)
	}
	i.wantIn(ecsUser, byKey(admins))
	if got := i.ReadFile("/root/.ssh/authorized_keys"); got != "# mine\n" {
		t.Errorf("authorized_keys holds\n%s", got)
	}

	stop := i.keepLoggingIn("root", key)
	wantSaid(t, i.run("apt-get", "remove", "-y", "latchkey"),
		"/root/.ssh/authorized_keys: "+ssh.FingerprintSHA256(key.Signer.PublicKey())+" stays, as a plain line: it still logs in as root")
	stop()
	i.wantGivenBack(key, sshd)
	if now := i.run("sh", "-c", "find /etc/ssh -type f | sort | xargs sha256sum"); now != files {
		t.Errorf("sshd's files were\n%s\nand are\n%s", files, now)
	}
	if now := i.asked(admins); now != asked {
		t.Errorf("the administrator's command was asked %q and is asked %q", asked, now)
	}
	i.run("dpkg", "--purge", "latchkey")
	i.wantNoTrace()
	i.wantIn("root", byKey(key), byKey(admins))
}
