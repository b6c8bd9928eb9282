package agent

import (
	"os"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// configCauses lie in sshd's configuration.
var configCauses = []causeCase{
	{
		name:  "keys read from no file",
		stage: configured("AuthorizedKeysFile none"), cure: untouched, fails: true,
		causes: []string{"authorized-keys-file"}, says: []string{"AuthorizedKeysFile is none"},
	},
	{
		name:  "keys read elsewhere for logons from outside",
		stage: matched("Match Address *,!127.0.0.0/8\n\tAuthorizedKeysFile /etc/other"), cure: untouched,
		causes: []string{"authorized-keys-file"}, says: []string{"/etc/other", keyFile, "/etc/ssh/sshd_config:11", "from outside"},
	},
	{
		name:  "keys turned off",
		stage: configured("PubkeyAuthentication no"), cure: untouched,
		causes: []string{"pubkey-authentication"}, says: []string{"PubkeyAuthentication is no", "/etc/ssh/sshd_config:3"},
	},
	{
		name:  "keys turned off for logons from outside",
		stage: matched("Match Address *,!127.0.0.0/8\n\tPubkeyAuthentication no"), cure: untouched,
		causes: []string{"pubkey-authentication"}, says: []string{"/etc/ssh/sshd_config:11", "from outside"},
	},
	{
		name: "key type not accepted", everyKind: true, key: "rsa-2048",
		stage: configured("PubkeyAcceptedKeyTypes ssh-ed25519"), cure: untouched,
		causes: []string{"key-type-not-accepted"}, says: []string{"rsa-sha2-512", "/etc/ssh/sshd_config:3"},
	},
	{
		name: "only rsa-sha2-256 accepted", key: "rsa-2048",
		stage: configured("PubkeyAcceptedKeyTypes rsa-sha2-256,ssh-ed25519"), cure: untouched,
		causes: []string{"key-type-not-accepted"}, says: []string{"rsa-sha2-512"},
	},
	{
		name: "neither type of the proof's own keys accepted", key: "rsa-2048",
		stage:  configured("PubkeyAcceptedKeyTypes rsa-sha2-256,rsa-sha2-512"),
		cure:   configured("PubkeyAcceptedKeyTypes rsa-sha2-256,rsa-sha2-512,ecdsa-sha2-nistp256"),
		causes: []string{"proof-key-type"}, says: []string{"ssh-ed25519", "ecdsa-sha2-nistp256"},
	},
	{
		name: "DSA key", key: "dss",
		stage:  untouched,
		causes: []string{"key-type-not-accepted"}, says: []string{"ssh-dss"},
	},
	{
		name: "RSA key too short", key: "rsa-2048",
		stage: configured("RequiredRSASize 3072"), cure: untouched,
		causes: []string{"required-rsa-size"}, says: []string{"3072", "2048", "/etc/ssh/sshd_config:3"},
	},
	{
		name: "not in AllowUsers", everyKind: true,
		stage: configured("AllowUsers alice bob"), cure: configured("AllowUsers alice " + testUser),
		lockedOut: true, causes: []string{"allow-users"}, says: []string{"AllowUsers alice bob", testUser, "/etc/ssh/sshd_config:3"},
	},
	{
		name:  "in AllowUsers from another host alone",
		stage: configured("AllowUsers " + testUser + "@10.9.8.7"), cure: configured("AllowUsers " + testUser + "@10.9.8.7 " + testUser + "@127.0.0.1"),
		lockedOut: true, causes: []string{"allow-users"}, says: []string{testUser + "@10.9.8.7"},
	},
	{
		name:  "in AllowUsers from loopback alone",
		stage: configured("AllowUsers " + testUser + "@127.0.0.1"), cure: configured("AllowUsers ecs-*"),
		causes: []string{"allow-users"}, says: []string{testUser + "@127.0.0.1"},
	},
	{
		name:  "not in AllowUsers for logons from outside",
		stage: matched("Match Address *,!127.0.0.0/8\n\tAllowUsers alice"), cure: untouched,
		causes: []string{"allow-users"}, says: []string{"AllowUsers alice", "/etc/ssh/sshd_config:11", "from outside"},
	},
	{
		name:  "in DenyUsers",
		stage: configured("DenyUsers ecs-*"), cure: untouched,
		lockedOut: true, causes: []string{"deny-users"}, says: []string{"DenyUsers ecs-*", testUser, "/etc/ssh/sshd_config:3"},
	},
	{
		name:  "not in AllowGroups",
		stage: configured("AllowGroups wheel"), cure: configured("AllowGroups wheel " + testUser),
		lockedOut: true, causes: []string{"allow-groups"}, says: []string{"AllowGroups wheel", testUser, "/etc/ssh/sshd_config:3"},
	},
	{
		name:  "in DenyGroups",
		stage: configured("DenyGroups " + testUser), cure: untouched,
		lockedOut: true, causes: []string{"deny-groups"}, says: []string{"DenyGroups " + testUser, "/etc/ssh/sshd_config:3"},
	},
	{
		name:  "RevokedKeys that sshd cannot read",
		stage: configured("RevokedKeys /etc/ssh/gone"), cure: written("/etc/ssh/gone", ""),
		causes: []string{"revoked-keys-unreadable"}, says: []string{"/etc/ssh/gone,", "/etc/ssh/sshd_config:3"},
	},
	{
		name: "root not permitted", everyKind: true, user: "root",
		stage: configured("PermitRootLogin no"), cure: configured("PermitRootLogin prohibit-password"),
		lockedOut: true, causes: []string{"permit-root-login"}, says: []string{"PermitRootLogin is no", "/etc/ssh/sshd_config:3"},
	},
	{
		name: "root permitted forced commands alone", user: "root",
		stage: configured("PermitRootLogin forced-commands-only"), cure: configured("PermitRootLogin without-password"),
		lockedOut: true, causes: []string{"permit-root-login"}, says: []string{"PermitRootLogin is forced-commands-only"},
	},
	{
		name: "second factor", everyKind: true,
		stage: configured("AuthenticationMethods publickey,password"), cure: configured("AuthenticationMethods publickey"),
		lockedOut: true, causes: []string{"authentication-methods"}, says: []string{"publickey,password", "/etc/ssh/sshd_config:3"},
	},
	{
		name:  "second factor for logons from outside",
		stage: matched("Match Address *,!127.0.0.0/8\n\tAuthenticationMethods publickey,password"), cure: untouched,
		causes: []string{"authentication-methods"}, says: []string{"/etc/ssh/sshd_config:11", "from outside"},
	},
	{
		name:  "Match block that reopens passwords, no guard",
		stage: all(withoutGuard, matched("Match User "+testUser+"\n\tPasswordAuthentication yes")),
		cure:  untouched, causes: []string{"match-reopens-password"},
		says: []string{"/etc/ssh/sshd_config:11", "Match user " + testUser},
	},
}

func withoutGuard(r *rig) { r.config.SSHD.MatchGuard = false }

// keysFileCauses lie in the keys file and the folders above it.
var keysFileCauses = []causeCase{
	{
		name: "home others may write to", everyKind: true,
		stage: command("chmod", "o+w", "/home/"+testUser), cure: command("chmod", "go-w", "/home/"+testUser),
		causes: []string{"strict-modes"}, says: []string{"directory /home/" + testUser},
	},
	{
		name:  "home of somebody else",
		stage: all(withKeysFile, command("chown", "daemon:", "/home/"+testUser), command("chmod", "755", "/home/"+testUser)),
		cure:  command("chown", testUser+":", "/home/"+testUser), causes: []string{"strict-modes"},
		says: []string{"directory /home/" + testUser},
	},
	{
		name:  "folder a group with other members may write to",
		stage: all(withKeysFile, command("usermod", "-aG", testUser, "daemon"), command("chmod", "770", "/home/"+testUser+"/.ssh")),
		cure:  command("chmod", "700", "/home/"+testUser+"/.ssh"), causes: []string{"strict-modes"},
		says: []string{"directory /home/" + testUser + "/.ssh"},
	},
	{
		name:  "folder of somebody else",
		stage: all(withKeysFile, command("chown", "daemon:", "/home/"+testUser+"/.ssh"), command("chmod", "755", "/home/"+testUser+"/.ssh")),
		cure:  command("chown", testUser+":", "/home/"+testUser+"/.ssh"), fails: true,
		causes: []string{"authorized-keys-no-access"}, doctor: []string{"strict-modes"},
		says: []string{keyFile, testUser},
	},
	{
		name:  "file of root",
		stage: all(withKeysFile, command("chown", "root:", keyFile)), cure: command("chown", testUser+":", keyFile),
		fails: true, causes: []string{"authorized-keys-no-access"}, says: []string{keyFile, testUser},
	},
	{
		name:  "file nobody may read",
		stage: all(withKeysFile, command("chmod", "0", keyFile)), cure: command("chmod", "600", keyFile),
		fails: true, causes: []string{"authorized-keys-no-access"}, says: []string{keyFile, testUser},
	},
	{
		name:  "FIFO",
		stage: insteadOfKeysFile(makeFIFO), cure: command("rm", keyFile), fails: true,
		causes: []string{"authorized-keys-not-a-file"}, says: []string{keyFile, "FIFO"},
	},
	{
		name:  "folder in the file's place",
		stage: insteadOfKeysFile(makeFolder), cure: command("rmdir", keyFile), fails: true,
		causes: []string{"authorized-keys-not-a-file"}, says: []string{keyFile, "directory"},
	},
	{
		name:  "device",
		stage: insteadOfKeysFile(makeDevice), cure: command("rm", keyFile), fails: true,
		causes: []string{"authorized-keys-not-a-file"}, says: []string{keyFile, "device"},
	},
	{
		name:  "link that leads out of the home",
		stage: insteadOfKeysFile(func(path string) error { return os.Symlink("/etc/passwd", path) }),
		cure:  command("rm", keyFile), fails: true,
		causes: []string{"authorized-keys-link"}, says: []string{keyFile},
	},
}

// accountCauses lie in the account.
var accountCauses = []causeCase{
	{
		name: "no such user", user: "root",
		stage:     func(r *rig) { r.config.Login.User = "nobody-here" },
		cure:      func(r *rig) { r.config.Login.User = testUser },
		fails:     true,
		lockedOut: true, causes: []string{"user-unknown"}, says: []string{"nobody-here"},
	},
	{
		name:  "no home",
		stage: command("rm", "-r", "/home/"+testUser),
		cure:  command("install", "-d", "-m", "700", "-o", testUser, "-g", testUser, "/home/"+testUser),
		fails: true, causes: []string{"home-missing"}, says: []string{"/home/" + testUser},
	},
	{
		name:  "shell missing",
		stage: command("usermod", "--shell", "/bin/gone", testUser), cure: command("usermod", "--shell", "/bin/sh", testUser),
		lockedOut: true, causes: []string{"shell-missing"}, says: []string{"/bin/gone", testUser},
	},
	{
		name:  "shell not executable",
		stage: all(written("/bin/plain", ""), command("usermod", "--shell", "/bin/plain", testUser)),
		cure:  command("usermod", "--shell", "/bin/sh", testUser), lockedOut: true, causes: []string{"shell-not-executable"},
		says: []string{"/bin/plain", testUser},
	},
	{
		name:  "nologin shell",
		stage: command("usermod", "--shell", "/usr/sbin/nologin", testUser), cure: command("usermod", "--shell", "/bin/sh", testUser),
		causes: []string{"shell-refuses"}, says: []string{"/usr/sbin/nologin", testUser},
	},
	{
		name: "locked, without PAM", everyKind: true,
		stage: all(configured("UsePAM no"), command("usermod", "--lock", testUser)), cure: command("usermod", "--unlock", testUser),
		lockedOut: true, causes: []string{"account-locked"}, says: []string{testUser, "UsePAM is no", "/etc/ssh/sshd_config:3"},
	},
	{
		name: "expired, without PAM", everyKind: true,
		stage:     all(configured("UsePAM no"), command("chage", "-E", "2020-01-01", testUser)),
		cure:      command("chage", "-E", "-1", testUser),
		lockedOut: true, causes: []string{"account-expired"}, says: []string{testUser, "2020-01-01"},
	},
	{
		name: "expired, with PAM", everyKind: true,
		stage: command("chage", "-E", "2020-01-01", testUser), cure: command("chage", "-E", "-1", testUser),
		lockedOut: true, causes: []string{"account-expired"}, says: []string{testUser, "2020-01-01"},
	},
	{
		name:  "password must be changed",
		stage: command("chage", "-d", "0", testUser), cure: command("chage", "-d", "2020-01-01", testUser),
		lockedOut: true, causes: []string{"password-must-change"}, says: []string{testUser},
	},
	{
		name:  "nologin file",
		stage: written("/etc/nologin", "down\n"), cure: command("rm", "/etc/nologin"),
		lockedOut: true, causes: []string{"nologin-file"}, says: []string{"/etc/nologin"},
	},
	{
		name:  "nologin file, without PAM",
		stage: all(configured("UsePAM no"), written("/etc/nologin", "down\n")), cure: command("rm", "/etc/nologin"),
		causes: []string{"nologin-file"}, says: []string{"/etc/nologin"},
	},
	{
		name: "PAM lets nobody in", everyKind: true,
		stage: pamAccount("pam_deny.so"), cure: command("sed", "-i", "1d", "/etc/pam.d/sshd"),
		lockedOut: true, causes: []string{"pam-account"}, says: []string{testUser},
	},
	{
		name:  "pam_access",
		stage: all(pamAccount("pam_access.so"), written("/etc/security/access.conf", "-:"+testUser+":ALL\n")),
		cure:  written("/etc/security/access.conf", ""), lockedOut: true, causes: []string{"pam-account"}, says: []string{testUser},
	},
	{
		name:  "pam_time",
		stage: all(pamAccount("pam_time.so"), written("/etc/security/time.conf", "*;*;"+testUser+";!Al0000-2400\n")),
		cure:  written("/etc/security/time.conf", ""), lockedOut: true, causes: []string{"pam-account"}, says: []string{testUser},
	},
}

// pamAccount makes PAM ask one module more whether an account may log in.
func pamAccount(module string) func(*rig) {
	return func(r *rig) {
		r.WriteFile("/etc/pam.d/sshd", "account required "+module+"\n"+r.ReadFile("/etc/pam.d/sshd"), 0o644)
	}
}

// sessionCauses let the key in, but no person to work.
var sessionCauses = []causeCase{
	{
		name:  "command forced in place of the shell",
		stage: configured("ForceCommand /usr/sbin/nologin"), cure: configured("ForceCommand none"),
		causes: []string{"force-command"}, says: []string{"ForceCommand /usr/sbin/nologin", testUser, "/etc/ssh/sshd_config:3"},
	},
	{
		name:  "sftp alone",
		stage: matched("Match User " + testUser + "\n\tForceCommand internal-sftp"), cure: untouched,
		causes: []string{"force-command"}, says: []string{"ForceCommand internal-sftp", "/etc/ssh/sshd_config:11"},
	},
	{
		name: "new root that is the user's own", everyKind: true,
		stage: configured("ChrootDirectory %h"), cure: configured("ChrootDirectory none"),
		causes: []string{"chroot-directory"}, says: []string{"ChrootDirectory %h", "/etc/ssh/sshd_config:3"},
	},
	{
		name: "new root that is not there", everyKind: true,
		stage: configured("ChrootDirectory /srv/nowhere"), cure: configured("ChrootDirectory none"),
		causes: []string{"chroot-directory"}, says: []string{"/srv/nowhere"},
	},
	{
		name: "new root without a shell",
		stage: func(r *rig) {
			r.Mkdir("/srv/empty", 0o755)
			r.SSHDConfig("ChrootDirectory /srv/empty\n" + testmachine.DefaultSSHDConfig)
		},
		cure: untouched, causes: []string{"chroot-directory"}, says: []string{"/srv/empty"},
	},
}
