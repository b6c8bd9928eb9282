package agent

import (
	"context"
	"os"
	"testing"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

type causeRow struct {
	name  string
	user string
	key string
	stage func(*rig)
}

func (r *rig) conf(lines string) { r.SSHDConfig(lines + testmachine.DefaultSSHDConfig) }
func (r *rig) confEnd(lines string) { r.SSHDConfig(testmachine.DefaultSSHDConfig+lines) }
func (r *rig) pamFirst(line string) { r.WriteFile("/etc/pam.d/sshd", line+"\n"+r.ReadFile("/etc/pam.d/sshd"), 0o644) }
func (r *rig) home(name string) string { return "/home/ecs-user/"+name }
func (r *rig) chmod(name string, mode os.FileMode) { must(r.t, os.Chmod(r.Path(name), mode)) }
func (r *rig) chown(name string, uid,gid int) { must(r.t, os.Lchown(r.Path(name), uid, gid)) }
func must(t *testing.T, err error) { t.Helper(); if err != nil { t.Fatal(err) } }
const file = "/home/ecs-user/.ssh/authorized_keys"

var rows = []causeRow{
	{"akf-elsewhere", "", "", func(r *rig) { r.conf("AuthorizedKeysFile /etc/ssh/authorized_keys/%u\n") }},
	{"akf-none", "", "", func(r *rig) { r.conf("AuthorizedKeysFile none\n") }},
	{"pubkey-no", "", "", func(r *rig) { r.conf("PubkeyAuthentication no\n") }},
	{"key-type", "", "rsa-2048", func(r *rig) { r.conf("PubkeyAcceptedKeyTypes ssh-ed25519\n") }},
	{"only-rsa256", "", "rsa-2048", func(r *rig) { r.conf("PubkeyAcceptedKeyTypes rsa-sha2-256,ssh-ed25519\n") }},
	{"only-rsa512-logonkey-refused", "", "rsa-2048", func(r *rig) { r.conf("PubkeyAcceptedKeyTypes rsa-sha2-512\n") }},
	{"rsa-size", "", "rsa-2048", func(r *rig) { r.conf("RequiredRSASize 3072\n") }},
	{"dss", "", "dss", func(r *rig) { }},
	{"home-other-writable", "", "", func(r *rig) { r.chmod("/home/ecs-user", 0o757) }},
	{"ssh-group-writable-shared", "", "", func(r *rig) { r.AuthorizedKeys(testUser); r.Run(r.t, "usermod", "-aG", testUser, "daemon"); r.chmod(r.home(".ssh"), 0o770) }},
	{"ssh-group-writable-private", "", "", func(r *rig) { r.AuthorizedKeys(testUser); r.chmod(r.home(".ssh"), 0o770) }},
	{"file-other-writable", "", "", func(r *rig) { r.AuthorizedKeys(testUser, "# x"); r.chmod(file, 0o666) }},
	{"home-other-owner", "", "", func(r *rig) { r.AuthorizedKeys(testUser); r.chown("/home/ecs-user", 2, 2); r.chmod("/home/ecs-user", 0o755) }},
	{"ssh-other-owner", "", "", func(r *rig) { r.AuthorizedKeys(testUser); r.chown(r.home(".ssh"), 2, 2); r.chmod(r.home(".ssh"), 0o755) }},
	{"file-other-owner", "", "", func(r *rig) { r.AuthorizedKeys(testUser, "# x"); r.chown(file, 2, 2); r.chmod(file, 0o644)}},
	{"file-root-0600", "", "", func(r *rig) { r.AuthorizedKeys(testUser, "# x"); r.chown(file, 0, 0) }},
	{"file-0000", "", "", func(r *rig) { r.AuthorizedKeys(testUser, "# x"); r.chmod(file, 0) }},
	{"fifo", "", "", func(r *rig) { r.AuthorizedKeys(testUser); must(r.t, os.Remove(r.Path(file))); must(r.t, unix.Mkfifo(r.Path(file), 0o600)) }},
	{"dir", "", "", func(r *rig) { r.AuthorizedKeys(testUser); must(r.t, os.Remove(r.Path(file))); r.Mkdir(file, 0o700) }},
	{"device", "", "", func(r *rig) { r.AuthorizedKeys(testUser); must(r.t, os.Remove(r.Path(file))); must(r.t, unix.Mknod(r.Path(file), unix.S_IFCHR|0o666, int(unix.Mkdev(1,3)))) }},
	{"symlink", "", "", func(r *rig) { r.AuthorizedKeys(testUser, "# x"); must(r.t, os.Rename(r.Path(file), r.Path(r.home(".ssh/real")))); must(r.t, os.Symlink("real", r.Path(file))) }},
	{"symlink-out", "", "", func(r *rig) { r.AuthorizedKeys(testUser, "# x"); must(r.t, os.Remove(r.Path(file))); must(r.t, os.Symlink("/etc/passwd", r.Path(file))) }},
	{"allow-users", "", "", func(r *rig) { r.conf("AllowUsers alice bob\n") }},
	{"allow-users-host", "", "", func(r *rig) { r.conf("AllowUsers ecs-user@10.9.8.7\n") }},
	{"allow-users-loopback", "", "", func(r *rig) { r.conf("AllowUsers ecs-user@127.0.0.1\n") }},
	{"deny-users", "", "", func(r *rig) { r.conf("DenyUsers ecs-*\n") }},
	{"allow-groups", "", "", func(r *rig) { r.conf("AllowGroups wheel\n") }},
	{"deny-groups", "", "", func(r *rig) { r.conf("DenyGroups ecs-user\n") }},
	{"shell-missing", "", "", func(r *rig) { r.Run(r.t, "usermod", "-s", "/bin/gone", testUser) }},
	{"shell-nox", "", "", func(r *rig) { r.WriteFile("/bin/nox", "", 0o644); r.Run(r.t, "usermod", "-s", "/bin/nox", testUser) }},
	{"locked-nopam", "", "", func(r *rig) { r.conf("UsePAM no\n"); r.Run(r.t, "usermod", "-L", testUser) }},
	{"locked-pam", "", "", func(r *rig) { r.Run(r.t, "usermod", "-L", testUser) }},
	{"star-nopam", "", "", func(r *rig) { r.conf("UsePAM no\n"); r.Run(r.t, "usermod", "-p", "*", testUser) }},
	{"expired-nopam", "", "", func(r *rig) { r.conf("UsePAM no\n"); r.Run(r.t, "chage", "-E", "2020-01-01", testUser) }},
	{"expired-pam", "", "", func(r *rig) { r.Run(r.t, "chage", "-E", "2020-01-01", testUser) }},
	{"revoked-unreadable", "", "", func(r *rig) { r.conf("RevokedKeys /etc/ssh/gone\n") }},
	{"root-no", "root", "", func(r *rig) { r.conf("PermitRootLogin no\n") }},
	{"root-forced", "root", "", func(r *rig) { r.conf("PermitRootLogin forced-commands-only\n") }},
	{"root-ok", "root", "", func(r *rig) { r.conf("PermitRootLogin yes\n") }},
	{"methods", "", "", func(r *rig) { r.conf("AuthenticationMethods publickey,password\n") }},
	{"nologin-file", "", "", func(r *rig) { r.WriteFile("/etc/nologin", "down\n", 0o644) }},
	{"nologin-file-nopam", "", "", func(r *rig) { r.conf("UsePAM no\n"); r.WriteFile("/etc/nologin", "down\n", 0o644) }},
	{"nologin-shell", "", "", func(r *rig) { r.Run(r.t, "usermod", "-s", "/usr/sbin/nologin", testUser) }},
	{"must-change", "", "", func(r *rig) { r.Run(r.t, "chage", "-d", "0", testUser) }},
	{"force-command", "", "", func(r *rig) { r.conf("ForceCommand /usr/sbin/nologin\n") }},
	{"force-sftp", "", "", func(r *rig) { r.conf("ForceCommand internal-sftp\n") }},
	{"chroot-bad", "", "", func(r *rig) { r.conf("ChrootDirectory %h\n") }},
	{"chroot-missing", "", "", func(r *rig) { r.conf("ChrootDirectory /srv/nowhere\n") }},
	{"pam-deny", "", "", func(r *rig) { r.pamFirst("account required pam_deny.so") }},
	{"pam-access", "", "", func(r *rig) { r.pamFirst("account required pam_access.so"); r.WriteFile("/etc/security/access.conf", "-:ecs-user:ALL\n", 0o644) }},
	{"pam-time", "", "", func(r *rig) { r.pamFirst("account required pam_time.so"); r.WriteFile("/etc/security/time.conf", "*;*;ecs-user;!Al0000-2400\n", 0o644) }},
	{"match-outside-nopubkey", "", "", func(r *rig) { r.confEnd("Match Address *,!127.0.0.1\n\tPubkeyAuthentication no\n") }},
	{"match-outside-methods", "", "", func(r *rig) { r.confEnd("Match Address *,!127.0.0.0/8\n\tAuthenticationMethods publickey,password\n") }},
	{"match-outside-akf", "", "", func(r *rig) { r.confEnd("Match Address *,!127.0.0.0/8\n\tAuthorizedKeysFile /etc/other\n") }},
	{"match-outside-allow", "", "", func(r *rig) { r.confEnd("Match Address *,!127.0.0.0/8\n\tAllowUsers alice\n") }},
	{"cloud-init", "", "", func(r *rig) { r.WriteFile("/etc/ssh/sshd_config.d/50-cloud-init.conf", "PasswordAuthentication yes\n", 0o644) }},
	{"kbd", "", "", func(r *rig) { r.SSHDConfig("KbdInteractiveAuthentication yes\n"+testmachine.DefaultSSHDConfig) }},
	{"no-include", "", "", func(r *rig) { r.SSHDConfig("UsePAM yes\n") }},
	{"match-reopens-guard", "", "", func(r *rig) { r.confEnd("Match User ecs-user\n\tPasswordAuthentication yes\n") }},
	{"match-reopens-noguard", "", "", func(r *rig) { r.config.SSHD.MatchGuard = false; r.confEnd("Match User ecs-user\n\tPasswordAuthentication yes\n") }},
	{"match-reopens-noguard-other", "", "", func(r *rig) { r.config.SSHD.MatchGuard = false; r.confEnd("Match Address 10.0.0.0/8\n\tPasswordAuthentication yes\n") }},
	{"home-missing", "", "", func(r *rig) { must(r.t, os.RemoveAll(r.Path("/home/ecs-user"))) }},
	{"no-user", "", "", func(r *rig) { r.config.Login.User="nobody-here" }},
	{"bad-config", "", "", func(r *rig) { r.conf("NoSuchKeyword yes\n") }},
	{"no-sshd", "", "", func(r *rig) { must(r.t, os.Remove(r.Path("/usr/sbin/sshd"))) }},
}

func TestExplore(t *testing.T) {
	for _, suite := range []string{"", "bullseye", "trixie"} {
	if os.Getenv("SUITE") != suite { continue }
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var r *rig
			if suite == "" { r = newRig(t) } else { r = rigOn(t, testmachine.NewDebian(t, suite)) }
			if row.user != "" { r.config.Login.User = row.user; r.AddUser("root", testPassword) }
			if row.key == "" { row.key = "ed25519" }
			key := testmachine.NewKey(t, row.key)
			row.stage(r)
			running := false
			if row.name != "no-sshd" && row.name != "bad-config" { r.StartSSHD(); running=true}
			out := "=== "+suite+" "+row.name+"\n"
			seen := bound(t, key)
			o, err := r.agent().Pass(context.Background(), seen, How{})
			out += fmt.Sprintf("pass err: %v\n", err)
			if o != nil && o.Applied != nil { out += fmt.Sprintf("closed %v\n", o.Applied.PasswordClosed) }
			rep, err := r.agent().Report(seen)
			if err != nil { t.Fatal(err) }
			out += "report password "+rep.Password+"\n"
			for _, f := range rep.Faults { out += fmt.Sprintf("  F %s | %s | %s\n", f.ID, f.Detail, f.Remedy) }
			d, err := r.agent().Doctor(context.Background(), seen)
			if err != nil { out += err.Error()}
			for _, c := range d { out += fmt.Sprintf("  D %-5s %s | %s | %s\n", c.Result, c.Name, c.Detail, c.Remedy) }
			if running { out += fmt.Sprintf("key login: %v\n", r.Login(t, r.config.Login.User, key.Signer)) }
			fmt.Print(out)
		})
	}
	}
}
