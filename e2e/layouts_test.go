package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/agent"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// layout is how a distribution, or an admin, has set sshd up.
type layout struct {
	name  string
	stage func(*instance)
	open  []way // what lets ecs-user in without a key
	// policy is where latchkey is to put its own.
	policy sshd.Layout
}

var (
	passwordOnly = []way{byPassword(secret)}
	bothMethods  = []way{byPassword(secret), byKeyboard(secret)}
)

var layouts = []layout{
	{"Ubuntu", stageUbuntu, passwordOnly, sshd.LayoutDropIn},
	{"RHEL 9", stageRHEL, passwordOnly, sshd.LayoutDropIn},
	{"a main file without Include", stageNoInclude, bothMethods, sshd.LayoutMainFile},
	{"an admin's Match blocks in the main file", stageMatch, bothMethods, sshd.LayoutDropIn},
	{"an admin's Match block in a drop-in", stageMatchInDropIn, bothMethods, sshd.LayoutDropIn},
}

// stageUbuntu: since 22.10 systemd listens and starts ssh.service at the first
// connection; cloud-init turns passwords on.
func stageUbuntu(i *instance) {
	i.WriteFile("/etc/ssh/sshd_config", testmachine.DefaultSSHDConfig, 0o644)
	i.WriteFile("/etc/ssh/sshd_config.d/50-cloud-init.conf", "PasswordAuthentication yes\n", 0o600)
	i.WriteFile("/usr/lib/systemd/system/ssh.socket", `[Unit]
Description=OpenBSD Secure Shell server socket
Before=sockets.target ssh.service
ConditionPathExists=!/etc/ssh/sshd_not_to_be_run

[Socket]
ListenStream=0.0.0.0:22
ListenStream=[::]:22
BindIPv6Only=ipv6-only
Accept=no
FreeBind=yes

[Install]
WantedBy=sockets.target
RequiredBy=ssh.service
`, 0o644)
	i.Run(i.t, "systemctl", "disable", "ssh.service")
	i.Run(i.t, "systemctl", "enable", "ssh.socket")
	i.WriteFile("/etc/tmpfiles.d/sshd.conf", "d /run/sshd 0755 root root\n", 0o644) // sshd -T is asked before it has started
}

// stageRHEL: the unit has another name, and its reload asks no sshd -t. The
// folder that Debian's sshd needs is no part of it.
func stageRHEL(i *instance) {
	i.WriteFile("/etc/ssh/sshd_config", `Include /etc/ssh/sshd_config.d/*.conf
AuthorizedKeysFile	.ssh/authorized_keys
Subsystem	sftp	/usr/lib/openssh/sftp-server
`, 0o600)
	i.WriteFile("/etc/ssh/sshd_config.d/01-permitrootlogin.conf", "PermitRootLogin yes\n", 0o600)
	i.WriteFile("/etc/ssh/sshd_config.d/50-redhat.conf", `Include /etc/crypto-policies/back-ends/opensshserver.config

SyslogFacility AUTHPRIV

ChallengeResponseAuthentication no

GSSAPIAuthentication yes
GSSAPICleanupCredentials no

UsePAM yes

X11Forwarding yes

PrintMotd no
`, 0o600)
	i.WriteFile("/etc/crypto-policies/back-ends/opensshserver.config", `Ciphers aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr,aes128-gcm@openssh.com,aes128-ctr
MACs hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256
GSSAPIKeyExchange no
KexAlgorithms curve25519-sha256,ecdh-sha2-nistp256,diffie-hellman-group14-sha256
HostKeyAlgorithms ecdsa-sha2-nistp256,ssh-ed25519,rsa-sha2-256,rsa-sha2-512
PubkeyAcceptedAlgorithms ecdsa-sha2-nistp256,ssh-ed25519,rsa-sha2-256,rsa-sha2-512
RequiredRSASize 2048
`, 0o644)
	i.Run(i.t, "systemctl", "disable", "ssh.service")
	i.Run(i.t, "rm", "/usr/lib/systemd/system/ssh.service", "/usr/lib/systemd/system/ssh.socket")
	i.WriteFile("/usr/lib/systemd/system/sshd.service", `[Unit]
Description=OpenSSH server daemon
After=network.target sshd-keygen.target
Wants=sshd-keygen.target

[Service]
Type=notify
EnvironmentFile=-/etc/sysconfig/sshd
ExecStart=/usr/sbin/sshd -D $OPTIONS
ExecReload=/bin/kill -HUP $MAINPID
KillMode=process
Restart=on-failure
RestartSec=42s

[Install]
WantedBy=multi-user.target
`, 0o644)
	i.Run(i.t, "systemctl", "enable", "sshd.service")
	i.WriteFile("/etc/tmpfiles.d/sshd.conf", "d /run/sshd 0755 root root\n", 0o644)
}

// withoutInclude is a main file as it was before OpenSSH 8.2.
var withoutInclude = "PasswordAuthentication yes\nKbdInteractiveAuthentication yes\n" +
	strings.ReplaceAll(testmachine.DefaultSSHDConfig, "Include", "# no include")

func stageNoInclude(i *instance) {
	i.WriteFile("/etc/ssh/sshd_config", withoutInclude, 0o644)
}

// reopening are blocks that turn passwords on for whom they match, whatever
// holds for others.
const reopening = `
Match User ` + ecsUser + `
	PasswordAuthentication yes
	KbdInteractiveAuthentication yes
Match Address 192.168.77.0/24
	PasswordAuthentication yes
`

func stageMatch(i *instance) {
	i.WriteFile("/etc/ssh/sshd_config", "PermitRootLogin yes\n"+testmachine.DefaultSSHDConfig+reopening, 0o644)
}

func stageMatchInDropIn(i *instance) {
	i.WriteFile("/etc/ssh/sshd_config.d/10-admin.conf", reopening, 0o644)
}

func TestEachLayoutIsBoundAtBootAndIsAsBeforeOnceUnbound(t *testing.T) {
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			i := newInstance(t)
			l.stage(i)
			i.endpoint.loginAs(ecsUser)
			before := i.sshdFiles()
			effective := i.effective(func(args ...string) string { return i.Run(t, args[0], args[1:]...) })
			i.installInImage(deb(t, currentVersion))
			key := i.endpoint.bindNew("first")

			i.switchOn()
			i.wantNeverIn(ecsUser, byPassword(secret))
			i.awaitStarted()
			i.wantNoOrderingCycle()
			i.wantKeyAlone(ecsUser, key)
			i.wantOut("root", bothMethods...)
			if got := i.status().Layout; got != l.policy {
				t.Errorf("the policy is in the layout %s, want %s", got, l.policy)
			}

			i.endpoint.Unbind()
			i.restart()
			i.wantIn(ecsUser, l.open...)
			i.wantOut(ecsUser, byKey(key))
			if diff := cmp.Diff(before, i.sshdFiles()); diff != "" {
				t.Errorf("/etc/ssh (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff(effective, i.effective(i.run)); diff != "" {
				t.Errorf("effective configuration (-before +after):\n%s", diff)
			}
		})
	}
}

// wantKeyAlone is wantBound for an sshd that may offer more than publickey, such
// as GSSAPI, as long as it is no password.
func (i *instance) wantKeyAlone(user string, key testmachine.Key) {
	i.t.Helper()
	i.wantIn(user, byKey(key))
	i.wantOut(user, bothMethods...)
	if offered := i.methods(user); strings.Contains(offered, "password") || strings.Contains(offered, "keyboard") {
		i.t.Errorf("sshd offers %s", offered)
	}
	if got := i.status(); got.Password != "off" || len(got.Faults) > 0 {
		i.t.Errorf("status: password %s, faults %+v", got.Password, got.Faults)
	}
}

// effective is sshd's configuration, for nobody in particular and for ecs-user
// from the cloud, as it answers that is run in some way.
func (i *instance) effective(run func(args ...string) string) string {
	i.t.Helper()
	connection := "user=" + ecsUser + ",host=cloud,addr=" + cloudAddress
	return run("sshd", "-T") + run("sshd", "-T", "-C", connection)
}

// sshdFiles are the files below /etc/ssh with their modes.
func (i *instance) sshdFiles() map[string]string {
	i.t.Helper()
	files := make(map[string]string)
	root := i.Path("/etc/ssh")
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, root)] = info.Mode().String() + "\n" + string(content)
		return err
	})
	if err != nil {
		i.t.Fatal(err)
	}
	return files
}

// wantNeverIn tries to log in from the first moment of a boot until sshd answers,
// and that with a refusal.
func (i *instance) wantNeverIn(user string, w way) {
	i.t.Helper()
	i.await("sshd answers", func() bool {
		err := i.logOn(user, w)
		if err == nil {
			i.t.Errorf("%s was let in by %s during the boot", user, w.name)
		}
		return err == nil || strings.Contains(err.Error(), "Permission denied")
	})
}

func (i *instance) wantNoOrderingCycle() {
	i.t.Helper()
	log := i.run("journalctl", "-b", "-o", "cat")
	if strings.Contains(strings.ToLower(log), "ordering cycle") {
		i.t.Errorf("systemd has found an ordering cycle:\n%s", log)
	}
}

// TestAMatchBlockThatIsLeftToTheAdminIsNamed: with match_guard = false what it
// turns on is on, and an operator is told.
func TestAMatchBlockThatIsLeftToTheAdminIsNamed(t *testing.T) {
	const reopener = "match-reopens-password"
	var key testmachine.Key
	i := boot(t, func(i *instance) {
		stageMatch(i)
		i.WriteFile("/etc/latchkey/latchkey.toml.d/50-guard.toml", "[sshd]\nmatch_guard = false\n", 0o644)
		i.endpoint.loginAs(ecsUser)
		key = i.endpoint.bindNew("first")
	})
	i.wantIn(ecsUser, byKey(key))
	i.wantIn(ecsUser, bothMethods...)
	status := i.status()
	at := slices.IndexFunc(status.Faults, func(c sshd.Cause) bool { return c.ID == reopener })
	if at < 0 {
		t.Fatalf("status does not name it: %+v", status.Faults)
	}
	check := i.diagnose()[reopener]
	for _, detail := range []string{status.Faults[at].Detail, check.Detail} {
		if !strings.Contains(detail, "/etc/ssh/sshd_config:") || !strings.Contains(detail, ecsUser) {
			t.Errorf("it is not said which block: %q", detail)
		}
	}
	if status.Password == "off" || check.Result != agent.Fail {
		t.Errorf("password logon is said to be %s, by doctor %+v", status.Password, check)
	}
}

// TestAStrictUmaskKeepsNobodyOut: what is made on the way has to be reachable for
// the logon user, and for sshd on that user's behalf.
func TestAStrictUmaskKeepsNobodyOut(t *testing.T) {
	for _, test := range []struct {
		name   string
		before func(*instance)
	}{
		{"the agent runs", func(*instance) {}},
		{"it never has", func(i *instance) {
			i.run("systemctl", "stop", agentUnit, "latchkey-network.socket")
			i.run("rm", "-rf", "/run/latchkey", agent.StateDir, "/etc/ssh/sshd_config.d")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			i := boot(t, func(i *instance) { i.endpoint.loginAs(ecsUser) })
			test.before(i)
			key := i.endpoint.bindNew("first")
			i.run("sh", "-c", "umask 077; latchkey apply")
			i.wantBound(ecsUser, key)
		})
	}
}
