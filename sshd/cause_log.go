package sshd

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// said is a line of sshd's log that names a cause. Detail and remedy may use
// $1, the first group of the expression, USER, and VALUE, what the effective
// configuration has for keyword.
type said struct {
	id, keyword, pattern, detail, remedy string
}

// The wordings are OpenSSH's own, the same from 8.4 to 10.0 but where a pattern
// has alternatives.
var wordings = []said{
	{
		"strict-modes", "strictmodes", `Authentication refused: bad ownership or modes for (.+)`,
		"StrictModes: bad ownership or modes for $1", "make USER or root its owner, and take write permission from group and others: chmod go-w",
	},
	{
		"allow-users", "allowusers", `not allowed because not listed in AllowUsers`,
		"AllowUsers VALUE does not list USER", allowUsersRemedy,
	},
	{
		"deny-users", "denyusers", `not allowed because listed in DenyUsers`,
		"DenyUsers VALUE lists USER", "take USER out of DenyUsers",
	},
	{
		"allow-groups", "allowgroups", `not allowed because (?:none of user's groups are listed in AllowGroups|not in any group)`,
		"AllowGroups VALUE lists no group of USER", "list a group of USER in AllowGroups, or add USER to one that is: usermod -aG GROUP USER",
	},
	{
		"deny-groups", "denygroups", `not allowed because a group is listed in DenyGroups`,
		"DenyGroups VALUE lists a group of USER", "take the group out of DenyGroups",
	},
	{
		"shell-missing", "", `not allowed because shell (\S+) does not exist`,
		"the shell of USER, $1, is not there", "usermod --shell /bin/sh USER",
	},
	{
		"shell-not-executable", "", `not allowed because shell (\S+) is not executable`,
		"the shell of USER, $1, cannot be executed", "usermod --shell /bin/sh USER",
	},
	{
		causeLocked, "usepam", `not allowed because account is locked`,
		"the account USER is locked, and UsePAM is VALUE", "usermod --unlock USER, or without a password: usermod --password '*' USER",
	},
	{
		causeExpired, "", `(?i)account \S+ has expired`,
		"the account USER has expired", "chage --expiredate -1 USER",
	},
	{
		"revoked-keys-unreadable", "revokedkeys", `Error checking authentication key .* in revoked keys file (\S+?):? `,
		"RevokedKeys names $1, which sshd cannot read, so it refuses every key", "put the file in place, or take RevokedKeys out",
	},
	{
		"revoked-key", "revokedkeys", `Authentication key .* revoked by file (\S+)`,
		"RevokedKeys: the bound key is listed in $1", "bind another key pair: this key was revoked",
	},
	{
		causeKeyType, "", `(?:key type|signature algorithm) (\S+) not in Pubkey\S+`,
		"PubkeyAcceptedAlgorithms does not list $1", keyTypeRemedy,
	},
	{
		"required-rsa-size", "requiredrsasize", `refusing RSA key|[Ii]nvalid key length`,
		"RequiredRSASize is VALUE, the bound key is shorter", "bind a longer key pair",
	},
	{
		"permit-root-login", "permitrootlogin", `ROOT LOGIN REFUSED`,
		"PermitRootLogin is VALUE", "set PermitRootLogin prohibit-password",
	},
	{
		"authentication-methods", "authenticationmethods", `in AuthenticationMethods list "([^"]+)"`,
		"AuthenticationMethods $1 asks for more than a key", methodsRemedy,
	},
	{
		"chroot-directory", "chrootdirectory", `(?:bad ownership or modes for chroot directory(?: component)?|safely_chroot: stat\(|chroot path does not begin at root|chroot\()(.*)`,
		"ChrootDirectory VALUE is not sound", "make it and each folder above it root's, writable by root alone",
	},
	{
		"password-must-change", "", `(?i)password expired|Your password has expired|must change your password|required to change your password`,
		"the password of USER must be changed before anything else", `chage --lastday "$$(date +%F)" USER`,
	},
	{
		causePAM, "", `Access denied for user \S+ by PAM account configuration`,
		"PAM's account stack refuses USER", "see the account lines of /etc/pam.d/sshd, access.conf(5) and time.conf(5)",
	},
}

type saidPattern struct {
	said
	expression *regexp.Regexp
}

// logged are the wordings, compiled when first needed: most runs prove nothing.
var logged = sync.OnceValue(func() []saidPattern {
	var out []saidPattern
	for _, s := range slices.Concat(wordings, commandWordings) {
		out = append(out, saidPattern{s, regexp.MustCompile(s.pattern)})
	}
	return out
})

// logCauses reads sshd's own account of the conversations that failed. In one
// that went well sshd may still have complained, of a line that another one
// made up for.
func (p *prover) logCauses() []Cause {
	var found []Cause
	for i, answer := range p.answers {
		if answer.Key != Accepted {
			found = addCauses(found, p.readLog(p.logs[i])...)
		}
	}
	var command *CommandError
	if errors.As(p.configErr, &command) {
		found = addCauses(found, p.readLog(strings.Split(command.Stderr, "; "))...)
	}
	if p.logonSays != Accepted {
		found = p.addLogonCauses(found)
	}
	return found
}

// addLogonCauses adds those of the whole logon, which has keys of its own: that
// their types are not accepted matters only where nothing else is wrong.
func (p *prover) addLogonCauses(found []Cause) []Cause {
	causes := p.readLog(p.logs[len(p.logs)-1])
	others := slices.DeleteFunc(slices.Clone(causes), func(c Cause) bool { return c.ID == causeKeyType })
	found = addCauses(found, others...)
	if len(found) == 0 && len(causes) > 0 {
		found = append(found, Cause{
			"proof-key-type",
			"PubkeyAcceptedAlgorithms lists none of " + strings.Join(p.candidate.Key.types(), ", ") + ", so no whole logon could be made",
			"list one of them in PubkeyAcceptedAlgorithms as well",
		})
	}
	return found
}

// readLog finds the causes that are named in a log.
func (p *prover) readLog(log []string) []Cause {
	var found []Cause
	for _, line := range log {
		line = strings.TrimSuffix(line, " [preauth]")
		for _, known := range logged() {
			if !p.concerns(known.id) {
				continue
			}
			if match := known.expression.FindStringSubmatchIndex(line); match != nil {
				found = addCauses(found, p.fillIn(known, line, match))
			}
		}
	}
	return found
}

// concerns tells whether a cause can be one for this subject.
func (p *prover) concerns(id string) bool {
	return p.subject.Command != (KeysCommand{}) || !strings.HasPrefix(id, causeCommand)
}

// fillIn puts the placeholders' values into a wording's texts.
func (p *prover) fillIn(known saidPattern, line string, match []int) Cause {
	var value string
	if len(p.configs) > 0 {
		value = strings.Join(p.configs[0][known.keyword], " ")
	}
	literal := strings.NewReplacer("$", "$$").Replace // Expand reads the result
	names := strings.NewReplacer("USER", literal(p.subject.User), "VALUE", literal(value))
	expand := func(template string) string {
		return string(known.expression.ExpandString(nil, names.Replace(template), line, match))
	}
	return Cause{known.id, expand(known.detail) + p.position(known.keyword, p.connection(loopbackLogon)), expand(known.remedy)}
}
