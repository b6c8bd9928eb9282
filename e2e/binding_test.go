package e2e

import (
	"strings"
	"testing"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// bootBound returns an instance that has been booted with a key bound.
func bootBound(t *testing.T) (*instance, testmachine.Key) {
	t.Helper()
	var key testmachine.Key
	i := boot(t, func(i *instance) { key = i.endpoint.bindNew("first") })
	return i, key
}

// wantBound checks that the key lets its user in and that no password lets
// anybody in.
func (i *instance) wantBound(user string, key testmachine.Key) {
	i.t.Helper()
	i.wantIn(user, byKey(key))
	i.wantOut(user, byPassword(secret))
	i.wantMethods(user, "publickey")
	if got := i.status(); got.Password != "off" || got.Pending != nil || len(got.Faults) > 0 {
		i.t.Errorf("status: password %s, pending %+v, faults %+v", got.Password, got.Pending, got.Faults)
	}
}

func TestTheFirstBootLetsInTheBoundKeyAlone(t *testing.T) {
	i, key := bootBound(t)
	i.wantBound("root", key)
	i.wantOut(ecsUser, byKey(key), byPassword(secret))
	if line := i.property("latchkeyd.service", "StatusText"); !strings.HasPrefix(line, "bound SHA256:") || !strings.Contains(line, ", user root, passwords off") {
		t.Errorf("systemctl status says %q", line)
	}
	if log := i.run("journalctl", "-x", "-u", "latchkeyd", "MESSAGE_ID=55352f7c64a548429e244b73c2be180c"); !strings.Contains(log, "░░") {
		t.Errorf("the journal does not explain the entry:\n%s", log)
	}
}

func TestAKeyBoundLaterIsPendingUntilTheRestart(t *testing.T) {
	i := boot(t, nil)
	key := i.endpoint.bindNew("later")
	if pending := i.status().Pending; pending == nil || len(pending.Keys) != 1 || pending.Keys[0].Name != "later" {
		t.Errorf("status shows as pending: %+v", pending)
	}
	i.wantOut("root", byKey(key))
	i.wantIn("root", byPassword(secret))

	before := i.bootID()
	i.restart()
	if i.bootID() == before {
		t.Fatal("the restart was none: the boot id is the same")
	}
	i.wantBound("root", key)
}

func TestAnotherPairTakesOverAtTheRestart(t *testing.T) {
	i, old := bootBound(t)
	key := i.endpoint.bindNew("second")
	i.wantIn("root", byKey(old))
	i.wantOut("root", byKey(key))

	i.restart()
	i.wantBound("root", key)
	i.wantOut("root", byKey(old))
}

func TestOnceUnboundTheKeyIsGoneAtTheRestartAndPasswordsAreBack(t *testing.T) {
	i := newInstance(t)
	const own = "# mine\n"
	i.WriteFile("/root/.ssh/authorized_keys", own, 0o600)
	i.start()
	before := i.run("sshd", "-T")
	i.shutDown()

	i.installInImage(deb(t, currentVersion))
	key := i.endpoint.bindNew("first")
	i.start()
	i.wantBound("root", key)

	i.endpoint.Unbind()
	i.wantIn("root", byKey(key))
	i.restart()
	i.wantOut("root", byKey(key))
	i.wantIn("root", byPassword(secret))
	i.wantIn(ecsUser, byPassword(secret))
	if after := i.run("sshd", "-T"); after != before {
		t.Errorf("sshd's configuration was\n%s\nand is\n%s", before, after)
	}
	if keys := i.ReadFile("/root/.ssh/authorized_keys"); keys != own {
		t.Errorf("authorized_keys holds\n%s", keys)
	}
}

func TestTheKeyIsForTheInitialLogonUser(t *testing.T) {
	for _, test := range []struct {
		name, user string
		before     func(*instance)
	}{
		{"root, when nobody names one", "root", func(*instance) {}},
		{"the one that the endpoint names", ecsUser, func(i *instance) { i.endpoint.loginAs(ecsUser) }},
		{"the one that the configuration names", ecsUser, func(i *instance) {
			i.WriteFile("/etc/latchkey/latchkey.toml.d/50-user.toml", "[login]\nuser = \""+ecsUser+"\"\n", 0o644)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var key testmachine.Key
			i := boot(t, func(i *instance) {
				test.before(i)
				key = i.endpoint.bindNew("first")
			})
			i.wantBound(test.user, key)
			for _, user := range []string{"root", ecsUser} {
				i.wantOut(user, byPassword(secret))
				if user != test.user {
					i.wantOut(user, byKey(key))
				}
			}
		})
	}
}

// TestPasswordLogonGoesWithTheKeyAndComesBackWithoutIt: PAM takes the same
// password over another method, where sshd is set up so.
func TestPasswordLogonGoesWithTheKeyAndComesBackWithoutIt(t *testing.T) {
	i := boot(t, func(i *instance) {
		i.WriteFile("/etc/ssh/sshd_config.d/50-keyboard.conf", "KbdInteractiveAuthentication yes\n", 0o644)
	})
	for _, user := range []string{"root", ecsUser} {
		i.wantIn(user, byPassword(secret), byKeyboard(secret))
	}
	key := i.endpoint.bindNew("first")
	i.restart()
	i.wantBound("root", key)
	for _, user := range []string{"root", ecsUser} {
		i.wantOut(user, byPassword(secret), byKeyboard(secret))
	}
	i.endpoint.Unbind()
	i.restart()
	for _, user := range []string{"root", ecsUser} {
		i.wantIn(user, byPassword(secret), byKeyboard(secret))
	}
}
