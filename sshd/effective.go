package sshd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Config is an effective configuration: what sshd -T prints for one
// connection. Keywords are lower case; releases differ in how they print them
// (9.x "passwordauthentication", 10.x "PasswordAuthentication").
type Config map[string][]string

// Effective asks sshd for the configuration that conn would meet under the
// configuration file config, a path below Root.
func (d *Daemon) Effective(ctx context.Context, config string, conn Connection) (Config, error) {
	out, err := d.run(ctx, "-T", "-f", config, "-C", conn.arg())
	if err != nil {
		return nil, err
	}
	return ParseConfig(out)
}

// ParseConfig reads the output of sshd -T: one "keyword value" a line, repeated
// keywords in order. An output that was cut off is an error: what it lacks
// would look like what nobody has set.
func ParseConfig(out []byte) (Config, error) {
	config := Config{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		keyword, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		if keyword == "" {
			continue
		}
		keyword = strings.ToLower(keyword)
		config[keyword] = append(config[keyword], strings.TrimSpace(value))
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the output of sshd -T: %w", err)
	}
	if !bytes.HasSuffix(out, []byte("\n")) || !config.complete() {
		return nil, errors.New("read the output of sshd -T: it is not whole")
	}
	return config, nil
}

// complete tells a whole answer from the beginning of one. Every release prints
// these, and permitopen after all that is read here.
func (c Config) complete() bool {
	for _, keyword := range []string{"port", "passwordauthentication", "pubkeyauthentication", "authorizedkeysfile", "permitopen"} {
		if len(c[keyword]) == 0 {
			return false
		}
	}
	return true
}

// Get is the value of a keyword, lower case; the first where there are several.
func (c Config) Get(keyword string) string {
	if values := c[keyword]; len(values) > 0 {
		return strings.ToLower(values[0])
	}
	return ""
}

// Fields is every word of every value of a keyword, as written.
func (c Config) Fields(keyword string) []string {
	var fields []string
	for _, value := range c[keyword] {
		fields = append(fields, strings.Fields(value)...)
	}
	return fields
}

// Ports are the ports sshd listens on; 22 where it names none.
func (c Config) Ports() []int {
	var ports []int
	for _, value := range c["port"] {
		if port, err := strconv.Atoi(value); err == nil {
			ports = append(ports, port)
		}
	}
	if len(ports) == 0 {
		return []int{22}
	}
	return ports
}

// AllowsPassword tells whether a password can still get this connection in, by
// either of the two methods that carry one. AuthenticationMethods that name
// neither close both.
func (c Config) AllowsPassword() bool {
	password := c.Get("passwordauthentication") == "yes" && c.methodCounts("password")
	keyboard := c.keyboardInteractive() && c.methodCounts("keyboard-interactive")
	return password || keyboard
}

// keyboardInteractive reads the keyword under either of its names: before 8.7
// challengeresponseauthentication was one of its own.
func (c Config) keyboardInteractive() bool {
	return c.Get("kbdinteractiveauthentication") == "yes" || c.Get("challengeresponseauthentication") == "yes"
}

// methodCounts tells whether AuthenticationMethods leave any list that begins
// with method.
func (c Config) methodCounts(method string) bool {
	lists := c.Fields("authenticationmethods")
	if len(lists) == 0 {
		return true
	}
	for _, list := range lists {
		first, _, _ := strings.Cut(list, ",")
		first, _, _ = strings.Cut(first, ":")
		if first == "any" || first == method {
			return true
		}
	}
	return false
}

// KeySuffices tells whether AuthenticationMethods let a key alone in.
func (c Config) KeySuffices() bool {
	lists := c.Fields("authenticationmethods")
	for _, list := range lists {
		if list == "any" || list == "publickey" {
			return true
		}
	}
	return len(lists) == 0
}

// Only is c with none but the given keywords.
func (c Config) Only(keywords ...string) Config {
	some := Config{}
	for _, keyword := range keywords {
		if values, ok := c[keyword]; ok {
			some[keyword] = values
		}
	}
	return some
}
