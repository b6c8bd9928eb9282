package target

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	glssh "github.com/gliderlabs/ssh"

	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// Config is an sshd_config as this server obeys it.
type Config struct {
	root  string
	text  *sshd.Text
	given bool // there is a configuration; else the options say what is offered

	standard  map[string][]string // the defaults
	setForAll map[string][]string // what [Server.setFor] is for every connection; nil where a Match block decides

	limits     limits
	algorithms algorithms
	hostKeys   []glssh.Signer // those of the server that the algorithms allow
	anybodys   anybodys
}

// LoadConfig reads the sshd_config path below root, with overrides, lines as for sshd's -o, in front of it.
// The path "none" stands for an empty file, "" for no configuration at all. Relative paths are as for [WithRoot]. An error names
// file and line. It stands for what sshd -t refuses, and for what this server cannot honour although logins would be restricted by it.
func LoadConfig(root, path string, overrides ...string) (*Config, error) {
	root = absoluteRoot(root)
	c := &Config{root: root, text: &sshd.Text{}, given: path != ""}
	c.standard = c.defaults()
	if path != "" && path != "none" {
		text, err := sshd.ReadText(root, located(root, path))
		if err != nil {
			return nil, err
		}
		c.text = text
	}
	var before []sshd.Directive
	for i, line := range overrides {
		d, err := sshd.ParseDirective(line)
		if err != nil {
			return nil, fmt.Errorf("option %d: %w", i+1, err)
		}
		d.File, d.Line = "option", i+1
		before = append(before, d)
	}
	c.text.Directives = slices.Concat(before, c.text.Directives)
	locate(root, c.text.Directives)
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, c.understand()
}

// check looks at every line, in whatever Match block, and at every Match line.
func (c *Config) check() error {
	for _, d := range c.text.Directives {
		err := checkDirective(d)
		if err == nil && d.Name() == "revokedkeys" {
			err = checkRevoked(c.root, d.Args[0])
		}
		if err != nil {
			return fmt.Errorf("%s: %w", d.Position(), err)
		}
	}
	_, err := c.text.Effective(sshd.Connection{})
	return err
}

// understand reads what no Match block can set.
func (c *Config) understand() error {
	values, err := c.effective(sshd.Connection{})
	if err != nil {
		return err
	}
	if err := checkCommandUsers(values); err != nil {
		return err
	}
	if c.limits, err = parseLimits(values); err != nil {
		return err
	}
	if c.algorithms, err = parseAlgorithms(values); err != nil {
		return err
	}
	c.anybodys, err = c.forAnybody()
	return err
}

func checkDirective(d sshd.Directive) error {
	s, known := settingNamed(d.Name())
	switch {
	case d.Keyword == "include":
		return nil
	case !known:
		return fmt.Errorf("unknown keyword %s", d.Keyword)
	case len(d.Args) == 0:
		return fmt.Errorf("no argument after %s", d.Keyword)
	case s.ignored:
		return nil
	case !s.empty && slices.ContainsFunc(d.Args, isEmpty):
		return fmt.Errorf("%s: an empty argument", d.Keyword)
	case d.Match != nil && s.global && !slices.ContainsFunc(d.Match.Criteria, func(c sshd.Criterion) bool { return c.Name == "all" }):
		return fmt.Errorf("%s is not allowed within a Match block", d.Keyword)
	case s.words != nil && !slices.Contains(s.words, strings.ToLower(d.Args[0])):
		return fmt.Errorf("%s %s: expected one of %s", d.Keyword, d.Args[0], strings.Join(s.words, ", "))
	case s.words != nil && len(d.Args) > 1:
		return fmt.Errorf("%s: more than one argument", d.Keyword)
	case s.number && !isNumber(d.Args[0]):
		return fmt.Errorf("%s %s: expected a number", d.Keyword, d.Args[0])
	case s.check != nil && len(d.Args) > 1:
		return fmt.Errorf("%s: more than one argument", d.Keyword)
	case s.check != nil:
		return s.check(d.Args[0])
	case s.refused && !strings.EqualFold(d.Args[0], "none"):
		return fmt.Errorf("%s is not supported by this server, only by sshd", d.Keyword)
	case d.Keyword == "allowusers" || d.Keyword == "denyusers":
		return checkUserPatterns(d.Args)
	case d.Keyword == "authenticationmethods":
		return checkMethods(d.Args)
	case d.Keyword == "permitopen" || d.Keyword == "permitlisten":
		_, err := parseEnds(d.Keyword, d.Args)
		return err
	}
	return checkArguments(d)
}

// checkUseDNS refuses what would let a name in Match Host, AllowUsers or from= keep somebody out, or let somebody in.
func checkUseDNS(value string) error {
	switch strings.ToLower(value) {
	case "no":
		return nil
	case "yes":
		return errors.New("UseDNS yes: this server resolves no names")
	}
	return fmt.Errorf("UseDNS %s: expected no", value)
}

// isEmpty knows the arguments of commands too, which keep their quotes.
func isEmpty(arg string) bool { return arg == "" || arg == `""` }

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 31)
	return err == nil
}

// checkUserPatterns refuses a malformed network, which would otherwise match nobody and so deny nobody.
func checkUserPatterns(patterns []string) error {
	for _, pattern := range patterns {
		_, from, hasHost := strings.Cut(pattern, "@")
		if !hasHost {
			continue
		}
		if _, err := sshd.MatchesAddress("127.0.0.1", from); err != nil {
			return fmt.Errorf("%s: %w", pattern, err)
		}
	}
	return nil
}

// Effective is the configuration for one connection, with defaults filled in: keyword, in lower case, to arguments. A
// keyword without a value, such as AllowUsers, is left out; lists of algorithms hold what this server has of them. The
// connection's groups are looked up.
func (c *Config) Effective(conn sshd.Connection) (map[string][]string, error) {
	who, _, err := lookup(c.root, conn.User)
	if err != nil {
		return nil, err
	}
	conn.Groups = who.GroupNames
	values, err := c.effective(conn)
	if err != nil {
		return nil, err
	}
	return values, resolveAlgorithms(values)
}

// HasCriterion tells whether a Match line asks for it, as in "LocalPort".
func (c *Config) HasCriterion(name string) bool {
	return slices.ContainsFunc(c.text.Blocks, func(b *sshd.MatchBlock) bool {
		return slices.ContainsFunc(b.Criteria, func(asked sshd.Criterion) bool { return strings.EqualFold(asked.Name, name) })
	})
}

// lookup finds a user's account; not having one is no error. Files that cannot be read are: a group that is not
// known could be one that is denied.
func lookup(root, user string) (who account.Account, found bool, err error) {
	who, err = account.Lookup(root, user)
	switch {
	case err == nil:
		return who, true, nil
	case errors.Is(err, account.ErrUnknownUser), errors.Is(err, account.ErrInvalidName), errors.Is(err, fs.ErrNotExist):
		return account.Account{Name: user, UID: os.Geteuid()}, false, nil
	}
	return account.Account{}, false, err
}

func (c *Config) effective(conn sshd.Connection) (map[string][]string, error) {
	set, err := c.set(conn)
	if err != nil {
		return nil, err
	}
	values := maps.Clone(c.standard)
	maps.Copy(values, set)
	return values, nil
}

// set is the part of it that some line sets.
func (c *Config) set(conn sshd.Connection) (map[string][]string, error) {
	set, err := c.text.Effective(conn)
	for keyword, args := range set {
		if s, known := settingNamed(keyword); known && s.words != nil {
			set[keyword] = []string{strings.ToLower(args[0])}
		}
	}
	return set, err
}

// sets tells whether a keyword is in the configuration, in whatever Match block.
func (c *Config) sets(keyword string) bool {
	return slices.ContainsFunc(c.text.Directives, func(d sshd.Directive) bool { return d.Name() == keyword })
}

// withoutConfig are the defaults where there is no configuration: nothing is asked of root that is not asked of others, keys may
// be in a test's own folders, and connections are dropped for their number only where no test would have so many.
var withoutConfig = map[string]string{
	"permitrootlogin": "yes", "strictmodes": "no", "maxstartups": "100:30:200", "persourcemaxstartups": "100",
	"acceptenv": "LANG LC_*",
}

// defaults are sshd's own, but for UsePAM, which upstream's default fits.
func (c *Config) defaults() map[string][]string {
	values := map[string][]string{}
	for _, s := range settings {
		if s.value != "" {
			values[s.keyword] = strings.Fields(s.value)
		}
	}
	if !c.given {
		for keyword, value := range withoutConfig {
			values[keyword] = strings.Fields(value)
		}
	}
	return values
}

// HostKeys are the paths of the host keys that the configuration names, below the root.
func (c *Config) HostKeys() []string {
	values, err := c.effective(sshd.Connection{})
	if err != nil {
		return nil // check has asked already
	}
	return values["hostkey"]
}
