package target

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// The methods of RFC 4252 and RFC 4256 that this server has, in the order in which sshd lists them.
const (
	publicKey           = "publickey"
	password            = "password"
	keyboardInteractive = "keyboard-interactive"
)

// policy is what holds for one user on one connection.
type policy struct {
	conn  sshd.Connection
	set   map[string][]string // by the configuration for this connection, or for what the options have; may be shared
	unset map[string][]string // what holds for all other keywords, and is shared
	who   account.Account
	known bool            // there is such a user
	user  User            // of the options; the zero value where they have none of this name
	keys  []keySource     // of the options; else authorizedkeysfile counts
	cas   []ssh.PublicKey // of the options, beside trustedusercakeys
	home  string          // path from here; "" for a user without account
	root  string
}

// policyFor asks the configuration, and the accounts where there is one. The name of a user could become part of a path,
// so one that could not be an account's is nobody's.
func (s *Server) policyFor(config *Config, conn sshd.Connection) (*policy, error) {
	p := &policy{conn: conn, root: filepath.Join("/", s.options.root), keys: slices.Clone(s.options.keys), cas: s.options.cas}
	user, listed := s.options.users[conn.User]
	if p.user = user; listed {
		p.keys = append(p.keys, s.options.keySources(p.user)...)
	}
	if err := s.findUser(config, p, listed); err != nil {
		return nil, err
	}
	set, err := s.setFor(config, p.conn)
	if err != nil {
		return nil, err
	}
	if p.user.Methods != "" {
		set = maps.Clone(set)
		set["authenticationmethods"] = strings.Fields(p.user.Methods)
	}
	p.set, p.unset = set, config.standard
	return p, nil
}

// setFor is what the configuration sets for a connection, and what the options stand for. It is not to be changed: where
// there is no Match block, all connections share it.
func (s *Server) setFor(config *Config, conn sshd.Connection) (map[string][]string, error) {
	if config.setForAll != nil {
		return config.setForAll, nil
	}
	set, err := config.set(conn)
	if err == nil && !config.given {
		s.offerWhatHasASecret(config, set)
	}
	return set, err
}

// findUser looks the account up where there is a configuration; else users are those of the options, or anybody.
func (s *Server) findUser(config *Config, p *policy, listed bool) error {
	if !config.given {
		p.known = listed || len(s.options.users) == 0
		p.who, p.home = account.Account{Name: p.conn.User, UID: os.Geteuid(), Home: p.user.Home}, p.user.Home
		return nil
	}
	who, found, err := lookup(s.options.root, p.conn.User)
	if err != nil {
		return err
	}
	p.who, p.known, p.conn.Groups = who, found, who.GroupNames
	if found {
		p.home = filepath.Join(p.root, who.Home)
	}
	return nil
}

// offerWhatHasASecret stands in for a configuration: a method is on when there is something to log in with.
func (s *Server) offerWhatHasASecret(config *Config, set map[string][]string) {
	anyKey, anyPassword, anyPrompt := len(s.options.keys) > 0 || len(s.options.cas) > 0, false, false
	for _, user := range s.options.users {
		anyKey = anyKey || len(s.options.keySources(user)) > 0
		anyPassword = anyPassword || user.Password != ""
		anyPrompt = anyPrompt || len(user.Prompts) > 0
	}
	for keyword, on := range map[string]bool{
		"pubkeyauthentication":         anyKey,
		"passwordauthentication":       anyPassword,
		"kbdinteractiveauthentication": anyPassword || anyPrompt,
	} {
		if !config.sets(keyword) {
			set[keyword] = yesOrNo(on)
		}
	}
}

func yesOrNo(yes bool) []string {
	if yes {
		return []string{"yes"}
	}
	return []string{"no"}
}

// args are the arguments of a keyword, nil where it has none.
func (p *policy) args(keyword string) []string {
	if args, set := p.set[keyword]; set {
		return args
	}
	return p.unset[keyword]
}

func (p *policy) value(keyword string) string {
	if args := p.args(keyword); len(args) > 0 {
		return args[0]
	}
	return ""
}

func (p *policy) is(keyword string) bool { return p.value(keyword) == "yes" }

// sets tells whether a keyword whose default is "none" has another value.
func (p *policy) sets(keyword string) bool {
	value := p.value(keyword)
	return value != "" && !strings.EqualFold(value, "none")
}

func (p *policy) maxAuthTries() int { return p.number("maxauthtries", 1) }

// number is a value that is a count; the default serves for what is none.
func (p *policy) number(keyword string, standard int) int {
	if n, err := strconv.Atoi(p.value(keyword)); err == nil && n > 0 {
		return n
	}
	return standard
}

// enabled are the methods that are on at all.
func (p *policy) enabled() []string {
	var on []string
	for _, m := range []struct{ name, keyword string }{
		{publicKey, "pubkeyauthentication"},
		{password, "passwordauthentication"},
		{keyboardInteractive, "kbdinteractiveauthentication"},
	} {
		if p.is(m.keyword) {
			on = append(on, m.name)
		}
	}
	return on
}

// ways are the lists of methods that each let a user in when completed in order (AuthenticationMethods). A list with a
// method that is off is no way.
func (p *policy) ways() ways {
	on := p.enabled()
	var all ways
	if p.value("authenticationmethods") == "any" {
		for _, method := range on {
			all = append(all, []string{method})
		}
		return all
	}
	for _, list := range p.args("authenticationmethods") {
		var way []string
		for name := range strings.SplitSeq(list, ",") {
			if name == keyboardInteractive+":pam" {
				name = keyboardInteractive
			}
			way = append(way, name)
		}
		if !slices.ContainsFunc(way, func(m string) bool { return !slices.Contains(on, methodOf(m)) }) {
			all = append(all, way)
		}
	}
	return all
}

// ways are what is left to do: one list after another that would complete a login. A method can have a sub-method that
// there is not, publickey:pam or keyboard-interactive:skey: it is offered, and nothing completes it.
type ways [][]string

func methodOf(step string) string {
	method, _, _ := strings.Cut(step, ":")
	return method
}

// first are the methods that come next in any of them.
func (w ways) first() []string {
	var next []string
	for _, way := range w {
		if method := methodOf(way[0]); !slices.Contains(next, method) {
			next = append(next, method)
		}
	}
	return next
}

// take tells whether method comes next in any of them.
func (w ways) take(method string) bool {
	return slices.ContainsFunc(w, func(way []string) bool { return way[0] == method })
}

// after is what is left once method has succeeded, and whether that completes a login.
func (w ways) after(method string) (left ways, done bool) {
	for _, way := range w {
		if way[0] == method {
			way = way[1:]
		}
		if len(way) == 0 {
			return nil, true
		}
		left = append(left, way)
	}
	return left, false
}

var (
	errUserName = errors.New("not a valid user name")
	errNoUser   = errors.New("no such user")
)

// admits tells why the method may not come next for this user.
func (p *policy) admits(method string, left ways) error {
	if !left.take(method) {
		return errors.New("the method is not open to this user")
	}
	return p.admitsUser()
}

// admitsUser tells why this user may not log in whatever is proved: AllowUsers and its kin.
func (p *policy) admitsUser() error {
	if !account.ValidName(p.conn.User) {
		return errUserName
	}
	if !p.known {
		return errNoUser
	}
	if err := p.refusedForShell(); err != nil {
		return err
	}
	if p.is("refuseconnection") {
		return errors.New("RefuseConnection is yes")
	}
	if p.lists("denyusers", p.matchesUser) {
		return errors.New("listed in DenyUsers")
	}
	if p.args("allowusers") != nil && !p.lists("allowusers", p.matchesUser) {
		return errors.New("not listed in AllowUsers")
	}
	if p.lists("denygroups", p.matchesGroup) {
		return errors.New("a group is listed in DenyGroups")
	}
	if p.args("allowgroups") != nil && !p.lists("allowgroups", p.matchesGroup) {
		return errors.New("no group is listed in AllowGroups")
	}
	return nil
}

// refusedForShell asks for the shell of who has one: not where there are no accounts.
func (p *policy) refusedForShell() error {
	if p.who.Shell == "" {
		return nil
	}
	if problem := p.who.ShellProblem(p.root); problem != nil {
		return errors.New(problem.Detail)
	}
	return nil
}

func (p *policy) lists(keyword string, matches func(string) bool) bool {
	return slices.ContainsFunc(p.args(keyword), matches)
}

// matchesUser compares with USER or USER@HOST. USER is one pattern, HOST a list of them.
func (p *policy) matchesUser(pattern string) bool {
	user, from, hasHost := strings.Cut(pattern, "@")
	if !sshd.MatchesPattern(p.conn.User, user) {
		return false
	}
	addr, _ := netip.ParseAddr(p.conn.Addr)
	return !hasHost || authkeys.PermitsFrom(from, addr, p.conn.Host) == nil
}

func (p *policy) matchesGroup(pattern string) bool {
	return slices.ContainsFunc(p.conn.Groups, func(g string) bool { return sshd.MatchesPattern(g, pattern) })
}

// admitsRoot tells why root may not log in with a method that has succeeded. Like sshd it is asked last, so
// that to a key which PermitRootLogin keeps out, a query still says that it would do.
func (p *policy) admitsRoot(did proof) error {
	if p.who.UID != 0 || p.home == "" && p.conn.User != "root" {
		return nil
	}
	word := p.value("permitrootlogin")
	_, forced := did.forcedCommand()
	byKey := did.method == publicKey && word != "no"
	if word == "yes" || byKey && (word != "forced-commands-only" || forced) {
		return nil
	}
	return fmt.Errorf("PermitRootLogin is %s", word)
}

// forcedCommand is the ForceCommand in force.
func (p *policy) forcedCommand() (string, bool) {
	command := p.value("forcecommand")
	return command, command != "" && !strings.EqualFold(command, "none")
}
