package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/internal/tree"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/network"
)

// DefaultConfigPath is read below the instance's root; the files of the folder
// with ".d" added to its name are read after it, sorted by name.
const DefaultConfigPath = "/etc/latchkey/latchkey.toml"

// When tells at which moment a binding takes effect.
type When string

// The two modes.
const (
	AtBoot When = "boot" // at the first good answer of a boot, as in ECS
	Live   When = "live" // as soon as it is seen
)

// Password tells what a bound key means for password logon.
type Password string

// The two choices.
const (
	DisablePassword Password = "disable"
	LeavePassword   Password = "leave"
)

// Delivery tells how sshd is given the bound key.
type Delivery string

// The three ways.
const (
	ByFile    Delivery = "file"    // a block in the logon user's authorized_keys
	ByCommand Delivery = "command" // an AuthorizedKeysCommand; nothing is written into the home
	ByBoth    Delivery = "both"
)

func (d Delivery) file() bool    { return d != ByCommand }
func (d Delivery) command() bool { return d != ByFile }

// Config is latchkey.toml(5).
type Config struct {
	Metadata struct {
		Provider string `toml:"provider"` // "auto" or "ecs"
		Endpoint string `toml:"endpoint"` // URL of the metadata service
		Token    string `toml:"token"`    // "auto", "required" or "off"
	} `toml:"metadata"`
	Login struct {
		User string `toml:"user"` // initial logon user, where metadata names none
	} `toml:"login"`
	Apply struct {
		When     When     `toml:"when"`
		Password Password `toml:"password"`
		Delivery Delivery `toml:"delivery"`
		Poll     Duration `toml:"poll"` // how often a live agent asks
		// BootWait is how long sshd waits at boot for the first pass, 0s for not at all.
		BootWait Duration `toml:"boot_wait"`
	} `toml:"apply"`
	SSHD struct {
		Config     string   `toml:"config"`      // path of sshd_config
		MatchGuard bool     `toml:"match_guard"` // hold against Match blocks too
		Command    []string `toml:"command"`     // a server that is run instead of /usr/sbin/sshd
	} `toml:"sshd"`
}

// Duration is a time.Duration as text, such as "60s".
type Duration struct{ time.Duration }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	var err error
	d.Duration, err = time.ParseDuration(string(text))
	return err
}

// MarshalText writes what UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// minPoll keeps an agent from wearing out the endpoint, which has a rate limit.
const minPoll = time.Second

// maxBootWait keeps a mistyped unit from holding sshd back for hours.
const maxBootWait = 5 * time.Minute

// DefaultConfig is what holds where no file says otherwise.
func DefaultConfig() Config {
	var c Config
	c.Metadata.Provider = "auto"
	c.Metadata.Endpoint = "http://100.100.100.200"
	c.Metadata.Token = "auto"
	c.Login.User = "root"
	c.Apply.When = AtBoot
	c.Apply.Password = DisablePassword
	c.Apply.Delivery = ByFile
	c.Apply.Poll.Duration = time.Minute
	c.Apply.BootWait.Duration = 10 * time.Second
	c.SSHD.Config = "/etc/ssh/sshd_config"
	c.SSHD.MatchGuard = true
	return c
}

// ConfigError is a configuration that cannot be used. It names file and line
// where there is one.
type ConfigError struct{ Text string }

func (e *ConfigError) Error() string { return e.Text }

// LoadConfig reads the file name and its drop-ins below root. A missing default file
// means defaults; a missing file that was asked for by name is an error.
func LoadConfig(root, name string) (Config, error) {
	config := DefaultConfig()
	files := []string{name}
	dropIns, err := filepath.Glob(filepath.Join(root, name+".d", "*.toml"))
	if err != nil {
		return Config{}, &ConfigError{err.Error()}
	}
	slices.Sort(dropIns)
	for _, found := range dropIns {
		files = append(files, path.Join(name+".d", filepath.Base(found)))
	}
	var read []source
	for i, file := range files {
		s, err := config.readFile(root, file)
		if i == 0 && errors.Is(err, fs.ErrNotExist) {
			if name == DefaultConfigPath {
				continue
			}
			return Config{}, &ConfigError{fmt.Sprintf("%v; --config is a path below the root", err)}
		}
		if err != nil {
			return Config{}, err
		}
		read = append(read, s)
	}
	if wrong := config.check(); wrong != nil {
		return Config{}, &ConfigError{wrong.position(read) + wrong.Error()}
	}
	return config, nil
}

// source is a file that was read.
type source struct {
	file, text string
	meta       toml.MetaData
}

// readFile reads one file over c.
func (c *Config) readFile(root, name string) (source, error) {
	file := filepath.Join(root, name)
	text, err := tree.ReadFile(root, name)
	if err != nil {
		return source{}, fmt.Errorf("read configuration: %w", err)
	}
	meta, err := toml.Decode(string(text), c)
	if err != nil {
		return source{}, tomlError(file, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return source{}, &ConfigError{fmt.Sprintf("%s:%d: unknown key %q; latchkey.toml(5) lists them", file, keyLine(string(text), unknown[0]), unknown[0].String())}
	}
	return source{file, string(text), meta}, nil
}

// tomlLine is how the parser begins all that it says about a line.
var tomlLine = regexp.MustCompile(`^toml: line (\d+)(?: \(last key ("[^"]*")\))?: `)

// tomlError puts file and line before what the parser says.
func tomlError(file string, err error) error {
	text := err.Error()
	match := tomlLine.FindStringSubmatch(text)
	if match == nil {
		return &ConfigError{fmt.Sprintf("%s: %s", file, text)}
	}
	text = strings.TrimPrefix(text, match[0])
	if match[2] != "" {
		text += ", at key " + match[2]
	}
	return &ConfigError{fmt.Sprintf("%s:%s: %s", file, match[1], text)}
}

// keyLine finds the line of a key that nothing was decoded into. The parser
// keeps no positions of keys, so the text is read again, table by table.
func keyLine(text string, key toml.Key) int {
	table := ""
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			table = strings.Trim(strings.TrimSpace(strings.SplitN(line, "#", 2)[0]), "[] \t")
			if table == key.String() {
				return i + 1
			}
			continue
		}
		name, _, found := strings.Cut(line, "=")
		name = strings.Trim(strings.TrimSpace(name), `"'`)
		if table != "" {
			name = table + "." + name
		}
		if found && (name == key.String() || strings.HasPrefix(name, key.String()+".")) {
			return i + 1
		}
	}
	return 1
}

// wrongValue is a value that makes no sense.
type wrongValue struct{ key, text string }

func (w *wrongValue) Error() string { return w.key + " " + w.text }

// position is the file and line that the value is from: the last that sets it.
func (w *wrongValue) position(read []source) string {
	key := toml.Key(strings.Split(w.key, "."))
	for _, s := range slices.Backward(read) {
		if s.meta.IsDefined(key...) {
			return fmt.Sprintf("%s:%d: ", s.file, keyLine(s.text, key))
		}
	}
	return "configuration: "
}

// check refuses values that make no sense, each by its name.
func (c *Config) check() *wrongValue {
	if !slices.Contains([]string{"auto", "required", "off"}, c.Metadata.Token) {
		return bad("metadata.token", c.Metadata.Token, `"auto", "required" or "off"`)
	}
	if err := c.endpoint("").Check(); err != nil {
		return &wrongValue{"metadata.endpoint", "is of no use: " + strings.TrimPrefix(err.Error(), "metadata endpoint: ")}
	}
	switch {
	case !slices.Contains([]string{"auto", "ecs"}, c.Metadata.Provider):
		return bad("metadata.provider", c.Metadata.Provider, `"auto" or "ecs"`)
	case !account.ValidName(c.Login.User):
		return bad("login.user", c.Login.User, "the name of a local account")
	case c.Apply.When != AtBoot && c.Apply.When != Live:
		return bad("apply.when", string(c.Apply.When), `"boot" or "live"`)
	case c.Apply.Password != DisablePassword && c.Apply.Password != LeavePassword:
		return bad("apply.password", string(c.Apply.Password), `"disable" or "leave"`)
	case !slices.Contains([]Delivery{ByFile, ByCommand, ByBoth}, c.Apply.Delivery):
		return bad("apply.delivery", string(c.Apply.Delivery), `"file", "command" or "both"`)
	case c.Apply.Poll.Duration < minPoll:
		return bad("apply.poll", c.Apply.Poll.String(), "at least 1s")
	case c.Apply.BootWait.Duration < 0 || c.Apply.BootWait.Duration > maxBootWait:
		return bad("apply.boot_wait", c.Apply.BootWait.String(), "0s to 5m")
	case !filepath.IsAbs(c.SSHD.Config):
		return bad("sshd.config", c.SSHD.Config, "an absolute path")
	case len(c.SSHD.Command) > 0 && !filepath.IsAbs(c.SSHD.Command[0]):
		return bad("sshd.command", c.SSHD.Command[0], "an absolute path and its arguments")
	}
	return nil
}

// endpoint is the one to be asked, by an instance whose id is known or "".
func (c *Config) endpoint(instanceID string) network.Endpoint {
	return network.Endpoint{URL: c.Metadata.Endpoint, Token: metadata.TokenMode(c.Metadata.Token), InstanceID: instanceID}
}

func bad(key, value, want string) *wrongValue {
	return &wrongValue{key, fmt.Sprintf("= %q: want %s", value, want)}
}
