package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// cloudUser is a user that cloud-init makes.
const cloudUser = "ops"

// cloudDropIn is what cloud-init writes for ssh_pwauth.
const cloudDropIn = "/etc/ssh/sshd_config.d/50-cloud-init.conf"

// seed has cloud-init set the instance up at its next boot: a user with a key
// and a password, and password logon on. It returns that user's private key. The
// network is there already, and the host keys are the ones that clients know.
func (i *instance) seed() testmachine.Key {
	i.t.Helper()
	key := testmachine.NewKey(i.t, "ed25519")
	i.Run(i.t, "rm", "/etc/cloud/cloud-init.disabled")
	i.WriteFile("/etc/cloud/cloud.cfg.d/99-network.cfg", "network: {config: disabled}\n", 0o644)
	i.WriteFile("/var/lib/cloud/seed/nocloud/meta-data", "instance-id: "+instanceID+"\n", 0o644)
	i.WriteFile("/var/lib/cloud/seed/nocloud/user-data", fmt.Sprintf(`#cloud-config
ssh_deletekeys: false
ssh_genkeytypes: []
locale: false
ssh_pwauth: true
disable_root: false
users:
- name: %s
  shell: /bin/bash
  lock_passwd: false
  plain_text_passwd: %s
  ssh_authorized_keys:
  - %s
`, cloudUser, secret, key.Line), 0o600)
	return key
}

// wantOrder checks that the boot had no ordering cycle, and that the agent has
// started only when cloud-init had made its accounts.
func (i *instance) wantOrder() {
	i.t.Helper()
	if log := i.run("journalctl", "--boot", "-o", "cat"); strings.Contains(log, "ordering cycle") {
		i.t.Errorf("systemd found an ordering cycle:\n%s", log)
	}
	made := i.stamp("cloud-init.service", "ExecMainExitTimestampMonotonic")
	if began := i.stamp("latchkeyd.service", "ExecMainStartTimestampMonotonic"); began < made {
		i.t.Errorf("the agent has started %v before cloud-init had made its accounts", made-began)
	}
}

// cloudFiles are what cloud-init has written that logons depend on.
func (i *instance) cloudFiles() map[string]string {
	i.t.Helper()
	files := make(map[string]string)
	for _, name := range []string{cloudDropIn, "/etc/ssh/sshd_config", "/home/" + cloudUser + "/.ssh/authorized_keys"} {
		files[name] = i.ReadFile(name)
	}
	return files
}

func TestWhatCloudInitSetUpStaysAndCountsAgainOnceUnbound(t *testing.T) {
	i := newInstance(t)
	own := i.seed()
	i.start()
	i.wantIn(cloudUser, byKey(own), byPassword(secret))
	config, files := i.run("sshd", "-T"), i.cloudFiles()
	wantFiles := func() {
		t.Helper()
		if diff := cmp.Diff(files, i.cloudFiles()); diff != "" {
			t.Errorf("cloud-init's files (-before +after):\n%s", diff)
		}
	}

	key := i.endpoint.bindNew("first")
	i.install(deb(t, currentVersion))
	i.wantBound("root", key)
	wantFiles()
	i.restart()
	i.wantOrder()
	i.wantBound("root", key)
	i.wantIn(cloudUser, byKey(own))
	i.wantOut(cloudUser, byPassword(secret))
	wantFiles()

	i.endpoint.Unbind()
	i.restart()
	i.wantOut("root", byKey(key))
	i.wantIn("root", byPassword(secret))
	i.wantIn(cloudUser, byKey(own), byPassword(secret))
	if diff := cmp.Diff(config, i.run("sshd", "-T")); diff != "" {
		t.Errorf("sshd's configuration (-before +after):\n%s", diff)
	}
	wantFiles()
}

// TestAUserWhomCloudInitMakesInTheSameBootGetsTheKey: an image may have both, and
// the first boot of an instance is the one in which all is made.
func TestAUserWhomCloudInitMakesInTheSameBootGetsTheKey(t *testing.T) {
	var own, key testmachine.Key
	i := boot(t, func(i *instance) {
		own = i.seed()
		i.endpoint.loginAs(cloudUser)
		key = i.endpoint.bindNew("first")
	})
	i.wantOrder()
	i.wantBound(cloudUser, key)
	i.wantIn(cloudUser, byKey(own))
	i.wantOut("root", byKey(key), byPassword(secret))
	if dropIn := i.ReadFile(cloudDropIn); !strings.Contains(dropIn, "PasswordAuthentication yes") {
		t.Errorf("%s, which is to be overruled, is\n%s", cloudDropIn, dropIn)
	}
}
