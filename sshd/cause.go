package sshd

import (
	"fmt"
	"math/big"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// causes names everything that speaks against the key: what sshd's own log
// says, what the effective configuration says, and, when neither explains an
// answer, the answer itself.
func (p *prover) causes() []Cause {
	var found []Cause
	for _, log := range p.logs {
		found = addCauses(found, logCauses(log, p.subject)...)
	}
	for i, config := range p.configs {
		found = addCauses(found, configCauses(config, p.subject, []string{"from loopback", "from outside"}[i])...)
	}
	if len(found) == 0 || p.configErr != nil {
		found = addCauses(found, p.unexplained()...)
	}
	return found
}

// addCauses adds those whose ID is not there yet.
func addCauses(found []Cause, more ...Cause) []Cause {
	for _, c := range more {
		if !slices.ContainsFunc(found, func(f Cause) bool { return f.ID == c.ID }) {
			found = append(found, c)
		}
	}
	return found
}

// unexplained are causes that only repeat what was seen.
func (p *prover) unexplained() []Cause {
	var found []Cause
	if p.configErr != nil {
		found = append(found, Cause{"sshd-config", p.configErr.Error(), "make \"sshd -t\" pass, then run \"latchkey apply\""})
	}
	for i, a := range p.answers {
		if a.Key != Accepted {
			detail := fmt.Sprintf("key %s: %s", p.subject.Keys[i].Fingerprint(), a.Reason)
			found = addCauses(found, Cause{"key-" + string(a.Key), detail, "run sshd -d on another port and log in to see why"})
		}
	}
	if p.logonSays != Accepted {
		found = append(found, Cause{"logon-" + string(p.logonSays), p.logonWhy, "log in as " + p.subject.User + " with a key and see what sshd's log says"})
	}
	return found
}

// said is a line of sshd's log that names a cause. detail and remedy may use
// $1, the first group of the expression.
type said struct {
	id, pattern, detail, remedy string
}

// The wording is OpenSSH's own, the same from 7.4 to 10.
var wordings = []said{
	{"strict-modes", `Authentication refused: bad ownership or modes for (.+)`, "bad ownership or modes for $1", "make the user or root its owner and take write permission from group and others: chmod go-w"},
	{"allow-users", `not allowed because not listed in AllowUsers`, "AllowUsers does not list the user", "add the user to AllowUsers in sshd_config"},
	{"deny-users", `not allowed because listed in DenyUsers`, "DenyUsers lists the user", "take the user out of DenyUsers in sshd_config"},
	{"allow-groups", `not allowed because (?:none of user's groups are listed in AllowGroups|not in any group)`, "AllowGroups lists none of the user's groups", "add one of the user's groups to AllowGroups in sshd_config"},
	{"deny-groups", `not allowed because a group is listed in DenyGroups`, "DenyGroups lists a group of the user", "take the group out of DenyGroups in sshd_config"},
	{"shell-missing", `not allowed because shell (\S+) does not exist`, "the login shell $1 does not exist", "give the user a shell that is there: chsh -s /bin/sh USER"},
	{"shell-not-executable", `not allowed because shell (\S+) is not executable`, "the login shell $1 is not executable", "make it executable, or give the user another: chsh -s /bin/sh USER"},
	{"account-locked", `not allowed because account is locked`, "the account is locked and UsePAM is no", "unlock it: usermod -p '*' USER"},
	{"account-expired", `(?i)account \S+ has expired`, "the account has expired", "give it a new date: chage -E -1 USER"},
	{"revoked-keys-unreadable", `Error checking authentication key .* in revoked keys file (\S+)`, "RevokedKeys names $1, which sshd cannot read, so it refuses every key", "put the file in place, or take RevokedKeys out of sshd_config"},
	{"revoked-key", `Authentication key .* revoked by file (\S+)`, "the key is listed in $1", "bind another key pair; this key has been revoked"},
	{"authorized-keys-unreadable", `Could not open user '.*' authorized keys '(.*)': Permission denied`, "sshd, reading as the user, may not read $1", "make the user its owner: chown USER"},
	{"authorized-keys-not-a-file", `authorized keys (\S+) is not a regular file`, "$1 is not a regular file", "move it away; latchkey writes a new one"},
	{"key-type-not-accepted", `(?:key type|signature algorithm) (\S+) not in Pubkey\S+`, "PubkeyAcceptedAlgorithms does not list $1", "add it there, or bind a key pair of another type"},
	{"required-rsa-size", `refusing RSA key|[Ii]nvalid key length`, "the RSA key is shorter than RequiredRSASize", "bind a longer key pair"},
	{"permit-root-login", `ROOT LOGIN REFUSED`, "PermitRootLogin does not let root in", "set PermitRootLogin prohibit-password in sshd_config"},
	{"key-options", `correct key but not from a permitted host|key options.*(?:expired|rejected)|bad key options`, "the options on the key's line refuse this logon", "see authorized_keys"},
	{"chroot-directory", `bad ownership or modes for chroot directory (.+)|chroot\(`, "ChrootDirectory is not sound: $1", "make each of its folders root's, writable by root alone"},
	{"password-expired", `(?i)password (?:change|expired)|Your password has expired|must change your password|required to change your password`, "the password must be changed at the next logon", "change it, or set the date of its last change: chage -d today USER"},
	{"pam-account", `Access denied for user \S+ by PAM account configuration`, "PAM's account stack refuses the user", "see /etc/pam.d/sshd, access.conf(5), time.conf(5)"},
}

type saidPattern struct {
	said
	expression *regexp.Regexp
}

// logged are the wordings, compiled when first needed: most runs prove nothing.
var logged = sync.OnceValue(func() []saidPattern {
	var out []saidPattern
	for _, s := range wordings {
		out = append(out, saidPattern{s, regexp.MustCompile(s.pattern)})
	}
	return out
})

// logCauses reads sshd's own account of a conversation.
func logCauses(log []string, s Subject) []Cause {
	var found []Cause
	for _, line := range log {
		line = strings.TrimSuffix(line, " [preauth]")
		for _, known := range logged() {
			if match := known.expression.FindStringSubmatchIndex(line); match != nil {
				detail := known.expression.ExpandString(nil, known.detail, line, match)
				found = addCauses(found, Cause{known.id, string(detail), strings.ReplaceAll(known.remedy, "USER", s.User)})
			}
		}
	}
	return found
}

// configCauses reads the effective configuration of a logon. Some of it, such
// as a second factor, no query would show: sshd answers that the key is fine.
func configCauses(config Config, s Subject, from string) []Cause {
	var found []Cause
	add := func(id, remedy, format string, args ...any) {
		found = append(found, Cause{id, from + ": " + fmt.Sprintf(format, args...), remedy})
	}
	if config.Get("pubkeyauthentication") == "no" {
		add("pubkey-authentication", "set PubkeyAuthentication yes in sshd_config", "PubkeyAuthentication is no")
	}
	if !readsKeysFile(config, s) {
		add("authorized-keys-file", "let AuthorizedKeysFile name it, or run \"latchkey apply\" to write where it points now",
			"AuthorizedKeysFile is %q, which does not name %s", strings.Join(config["authorizedkeysfile"], " "), s.KeysFile)
	}
	if !config.KeySuffices() {
		add("authentication-methods", "let AuthenticationMethods have the alternative \"publickey\"",
			"AuthenticationMethods %s asks for more than a key", strings.Join(config["authenticationmethods"], " "))
	}
	if root := config.Get("permitrootlogin"); s.UID == 0 && (root == "no" || root == "forced-commands-only") {
		add("permit-root-login", "set PermitRootLogin prohibit-password in sshd_config", "PermitRootLogin is %s", root)
	}
	if command := config.Get("forcecommand"); command != "" && command != "none" {
		add("force-command", "take ForceCommand out for this user", "ForceCommand leaves the user no shell")
	}
	for _, key := range s.Keys {
		found = append(found, keyCauses(config, key, from)...)
	}
	return found
}

// readsKeysFile tells whether AuthorizedKeysFile names the file that the keys
// are in.
func readsKeysFile(config Config, s Subject) bool {
	for _, pattern := range config.Fields("authorizedkeysfile") {
		if expandKeysFile(pattern, s) == s.KeysFile {
			return true
		}
	}
	return s.KeysFile == ""
}

// expandKeysFile is the path that a pattern of AuthorizedKeysFile names for the
// user (sshd_config(5), TOKENS).
func expandKeysFile(pattern string, s Subject) string {
	expanded := strings.NewReplacer("%%", "%", "%h", s.Home, "%u", s.User, "%U", strconv.Itoa(s.UID)).Replace(pattern)
	if !path.IsAbs(expanded) {
		expanded = path.Join(s.Home, expanded)
	}
	return path.Clean(expanded)
}

// keyCauses are causes that lie in the key's own type and size.
func keyCauses(config Config, key PublicKey, from string) []Cause {
	var found []Cause
	accepted := strings.Split(config.Get("pubkeyacceptedalgorithms")+","+config.Get("pubkeyacceptedkeytypes"), ",")
	if len(accepted) > 2 && !slices.Contains(accepted, strings.ToLower(key.algorithm())) {
		found = append(found, Cause{
			"key-type-not-accepted", fmt.Sprintf("%s: PubkeyAcceptedAlgorithms does not list %s", from, key.algorithm()),
			"add it there, or bind a key pair of another type",
		})
	}
	if least, err := strconv.Atoi(config.Get("requiredrsasize")); err == nil && key.Type == ssh.KeyAlgoRSA {
		if bits := rsaBits(key.Blob); bits < least {
			found = append(found, Cause{
				"required-rsa-size", fmt.Sprintf("%s: the key has %d bits, RequiredRSASize is %d", from, bits, least),
				"bind a longer key pair",
			})
		}
	}
	return found
}

// rsaBits is the length of the modulus in an ssh-rsa blob (RFC 4253, section
// 6.6), 0 when it is none.
func rsaBits(blob []byte) int {
	var key struct {
		Name string
		E, N *big.Int
	}
	if err := ssh.Unmarshal(blob, &key); err != nil {
		return 0
	}
	return key.N.BitLen()
}
