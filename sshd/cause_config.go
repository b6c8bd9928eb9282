package sshd

import (
	"fmt"
	"math/big"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

// The two logons that question (b) is about, as indices of prover.configs.
const (
	loopbackLogon = iota
	outsideLogon
)

const (
	keyTypeRemedy    = "list it in PubkeyAcceptedAlgorithms, or bind a key pair of another type"
	allowUsersRemedy = "list USER in AllowUsers; where that is with addresses, also as USER@127.0.0.1, where the proof comes from"
	methodsRemedy    = "let AuthenticationMethods have the alternative \"publickey\""
)

// finding is a cause in the effective configuration, and the keyword it is
// about.
type finding struct {
	Cause
	keyword string
}

// configCauses reads the effective configuration of both logons. Some of it,
// such as a second factor, no query would show: sshd answers that the key is
// fine.
func (p *prover) configCauses() []Cause {
	if p.configErr != nil {
		return nil
	}
	perLogon := make([][]finding, len(p.configs))
	for i, config := range p.configs {
		perLogon[i] = findings(config, p.subject)
	}
	var found []Cause
	for i, suffix := range []string{"for a logon from the instance itself", "for a logon from outside"} {
		for _, f := range perLogon[i] {
			f.Detail += p.position(f.keyword, p.connection(i))
			if !slices.ContainsFunc(perLogon[1-i], func(other finding) bool { return other.ID == f.ID }) {
				f.Detail += ", " + suffix
			}
			found = addCauses(found, f.Cause)
		}
	}
	return found
}

// connection is the logon that configs[i] is the configuration of.
func (p *prover) connection(i int) Connection {
	port := defaultPort
	if p.candidate.text != nil {
		port = p.candidate.text.port()
	}
	conn := FromLoopback(p.subject.User, port)
	if i == outsideLogon {
		conn = FromOutside(p.subject.User, port)
	}
	conn.Groups = p.subject.Groups
	return conn
}

// position is where the line stands that decides over keyword, in brackets; ""
// where no line does, or where that is not known.
func (p *prover) position(keyword string, conn Connection) string {
	if p.candidate.text == nil {
		return ""
	}
	if d, ok := p.candidate.text.deciding(keyword, conn); ok {
		return " (" + d.Position() + ")"
	}
	return ""
}

// deciding is the line that sets keyword for a connection: the first in a Match
// block that matches, else the first global one.
func (t *Text) deciding(keyword string, conn Connection) (Directive, bool) {
	var global *Directive
	for i, d := range t.Directives {
		if d.Name() != keyword {
			continue
		}
		if d.Match == nil && global == nil {
			global = &t.Directives[i]
		}
		if d.Match != nil {
			if matches, err := d.Match.matches(conn); err == nil && matches {
				return d, true
			}
		}
	}
	if global == nil {
		return Directive{}, false
	}
	return *global, true
}

// findings are what a configuration has against the logon.
func findings(config Config, s Subject) []finding {
	var found []finding
	add := func(id, keyword, remedy, format string, args ...any) {
		found = append(found, finding{Cause{id, fmt.Sprintf(format, args...), remedy}, keyword})
	}
	if config.Get("pubkeyauthentication") == "no" {
		add("pubkey-authentication", "pubkeyauthentication", "set PubkeyAuthentication yes", "PubkeyAuthentication is no")
	}
	if !readsKeysFile(config, s) {
		add("authorized-keys-file", "authorizedkeysfile", "let AuthorizedKeysFile name it for every logon",
			"AuthorizedKeysFile %s does not name %s", strings.Join(config["authorizedkeysfile"], " "), s.KeysFile)
	}
	found = append(found, commandFindings(config, s)...)
	if !config.KeySuffices() {
		add("authentication-methods", "authenticationmethods", methodsRemedy,
			"AuthenticationMethods %s asks for more than a key", strings.Join(config["authenticationmethods"], " "))
	}
	if root := config.Get("permitrootlogin"); s.UID == 0 && (root == "no" || root == "forced-commands-only") {
		add("permit-root-login", "permitrootlogin", "set PermitRootLogin prohibit-password", "PermitRootLogin is %s", root)
	}
	if command := strings.Join(config["forcecommand"], " "); command != "" && command != "none" {
		add("force-command", "forcecommand", "take ForceCommand out for "+s.User,
			"ForceCommand %s is run instead of what %s asks for", command, s.User)
	}
	if allowed := config.Fields("allowusers"); len(allowed) > 0 && !slices.ContainsFunc(allowed, s.isListed) {
		add("allow-users", "allowusers", strings.ReplaceAll(allowUsersRemedy, "USER", s.User),
			"AllowUsers %s does not list %s", strings.Join(allowed, " "), s.User)
	}
	for _, key := range s.Keys {
		found = append(found, keyFindings(config, key)...)
	}
	return found
}

// isListed tells whether an entry of AllowUsers, USER or USER@HOST, speaks of
// logons of the user from somewhere else than the instance itself.
func (s Subject) isListed(entry string) bool {
	user, host, restricted := strings.Cut(entry, "@")
	local := host == "localhost" || strings.HasPrefix(host, "127.") || strings.HasPrefix(host, "::1")
	return MatchesPattern(s.User, user) && (!restricted || !local)
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

// commandFindings tell whether the command that is asked for keys, and who runs
// it, are other ones than they have to be.
func commandFindings(config Config, s Subject) []finding {
	if s.Command.Command == "" {
		return nil
	}
	for _, set := range []struct{ keyword, name, want string }{
		{commandKeyword, "AuthorizedKeysCommand", s.Command.Command},
		{commandUserKeyword, "AuthorizedKeysCommandUser", s.Command.User},
	} {
		uncommented, _, _ := strings.Cut(set.want, "#") // as releases like 8.4 have it
		if is := strings.Join(config[set.keyword], " "); is != set.want && is != strings.TrimSpace(uncommented) {
			detail := fmt.Sprintf("%s is %s, not %s", set.name, is, set.want)
			return []finding{{Cause{"authorized-keys-command", detail, "let no other line set " + set.name + " for " + s.User}, set.keyword}}
		}
	}
	return nil
}

// keyFindings lie in the key's own type and size.
func keyFindings(config Config, key PublicKey) []finding {
	var found []finding
	accepted := config.Get("pubkeyacceptedalgorithms") + config.Get("pubkeyacceptedkeytypes") // its name before 8.5
	if accepted != "" && !slices.Contains(strings.Split(accepted, ","), strings.ToLower(key.algorithm())) {
		found = append(found, finding{
			Cause{causeKeyType, "PubkeyAcceptedAlgorithms does not list " + key.algorithm(), keyTypeRemedy}, "pubkeyacceptedalgorithms",
		})
	}
	if least, err := strconv.Atoi(config.Get("requiredrsasize")); err == nil && key.Type == ssh.KeyAlgoRSA {
		if bits := rsaBits(key.Blob); bits < least {
			detail := fmt.Sprintf("RequiredRSASize is %d, the bound key has %d bits", least, bits)
			found = append(found, finding{Cause{"required-rsa-size", detail, "bind a longer key pair"}, "requiredrsasize"})
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
