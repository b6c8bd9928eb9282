package sshd

import (
	"path"
	"slices"
	"strings"
)

// Effective is what the text says for one connection: keyword (its present name, lower case) to arguments.
// Keywords that no line sets are left out, defaults are not filled in.
//
// The first value read wins, and one from a matching Match block beats every global one. The keywords
// that sshd collects (AcceptEnv, AllowUsers and its kin, HostKey, ListenAddress, Port) have the
// arguments of all their lines. A Match line with a criterion that is not known, or with a malformed
// address or port, is an error that names file and line.
func (t *Text) Effective(conn Connection) (map[string][]string, error) {
	inForce := map[*MatchBlock]bool{nil: true}
	for _, block := range t.Blocks {
		ok, err := block.matches(conn)
		if err != nil {
			return nil, err
		}
		inForce[block] = ok
	}
	global, matched := map[string][]string{}, map[string][]string{}
	for _, d := range t.Directives {
		switch {
		case !inForce[d.Match] || d.Keyword == "include":
		case d.Match != nil && slices.Contains(matchKeywords, d.Name()):
			d.applyTo(matched)
		default:
			d.applyTo(global)
		}
	}
	for keyword, args := range matched {
		global[keyword] = args
	}
	return global, nil
}

// applyTo sets the directive's keyword unless an earlier line has.
func (d Directive) applyTo(values map[string][]string) {
	name := d.Name()
	before, set := values[name]
	if set && !slices.Contains(collected, name) {
		return
	}
	values[name] = append(slices.Clip(before), d.Args...)
}

// Name is the keyword by its present name: ChallengeResponseAuthentication, for one, is KbdInteractiveAuthentication.
func (d Directive) Name() string {
	if present, old := formerNames[d.Keyword]; old {
		return present
	}
	return d.Keyword
}

// formerNames are the old spellings that OpenSSH 8.7 and later still take.
var formerNames = map[string]string{
	"challengeresponseauthentication": "kbdinteractiveauthentication",
	"skeyauthentication":              "kbdinteractiveauthentication",
	"dsaauthentication":               "pubkeyauthentication",
	"pubkeyacceptedkeytypes":          "pubkeyacceptedalgorithms",
	"hostbasedacceptedkeytypes":       "hostbasedacceptedalgorithms",
	"hostdsakey":                      "hostkey",
	"keepalive":                       "tcpkeepalive",
}

// collected are the keywords whose lines add up instead of the first one winning.
var collected = []string{
	"acceptenv", "allowgroups", "allowusers", "denygroups", "denyusers",
	"hostcertificate", "hostkey", "listenaddress", "port", "subsystem",
}

// matchKeywords are those that a Match block can set for a connection (sshd_config(5), Match). Any other one is
// global even under "Match all", and under another Match makes sshd refuse the configuration.
var matchKeywords = strings.Fields(`
	acceptenv allowagentforwarding allowgroups allowstreamlocalforwarding allowtcpforwarding allowusers
	authenticationmethods authorizedkeyscommand authorizedkeyscommanduser authorizedkeysfile
	authorizedprincipalscommand authorizedprincipalscommanduser authorizedprincipalsfile banner
	casignaturealgorithms channeltimeout chrootdirectory clientalivecountmax clientaliveinterval denygroups
	denyusers disableforwarding exposeauthinfo forcecommand gatewayports gssapiauthentication
	hostbasedacceptedalgorithms hostbasedauthentication hostbasedusesnamefrompacketonly ignorerhosts ipqos
	kbdinteractiveauthentication kerberosauthentication loglevel maxauthtries maxsessions
	passwordauthentication permitemptypasswords permitlisten permitopen permitrootlogin permittty
	permittunnel permituserrc pubkeyacceptedalgorithms pubkeyauthentication pubkeyauthoptions rdomain
	refuseconnection rekeylimit requiredrsasize revokedkeys setenv streamlocalbindmask
	streamlocalbindunlink trustedusercakeys unusedconnectiontimeout x11displayoffset x11forwarding
	x11uselocalhost`)

// PasswordReopeners are the lines under any Match that turn password or keyboard-interactive
// authentication on, whichever connections they are for. sshd -T shows only those that match the one it was asked about.
func (t *Text) PasswordReopeners() []Directive {
	var found []Directive
	for _, d := range t.Directives {
		opens := d.Name() == "passwordauthentication" || d.Name() == "kbdinteractiveauthentication"
		if d.Match != nil && opens && len(d.Args) > 0 && strings.EqualFold(d.Args[0], "yes") {
			found = append(found, d)
		}
	}
	return found
}

// IncludeReaching is the first global Include of the main file that takes in DIR/00-latchkey.conf. dir is absolute
// inside the instance. Lines of that drop-in come before everything in the main file that is below the Include.
func (t *Text) IncludeReaching(dir string) (Directive, bool) {
	name := path.Join("/", dir, path.Base(DropIn))
	for _, d := range t.Directives {
		if d.Keyword != "include" || d.Match != nil || d.File != t.Files[0] {
			continue
		}
		for _, arg := range d.Args {
			if pattern, err := includePattern(arg); err == nil && globMatches(pattern, name) {
				return d, true
			}
		}
	}
	return Directive{}, false
}
