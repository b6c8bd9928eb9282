package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/latchkey-ssh/latchkey/sshd"
	"github.com/latchkey-ssh/latchkey/sshd/target"
)

// showConfig prints the effective configuration, one keyword a line.
func (p *program) showConfig() error {
	conn, err := parseConnection(p.connection)
	if err != nil {
		return err
	}
	config, err := target.LoadConfig(p.root, p.sshdConfig(), p.settings()...)
	if err != nil {
		return err
	}
	if conn.LPort == 0 && config.HasCriterion("LocalPort") {
		return errors.New("'Match LocalPort' in configuration but 'lport' not in connection test specification")
	}
	values, err := config.Effective(conn)
	if err != nil {
		return err
	}
	values["listenaddress"] = addresses(values)
	for _, keyword := range target.Keywords() {
		if args := values[keyword]; len(args) > 0 {
			showKeyword(p, keyword, args)
		}
	}
	return nil
}

// severalLines are the keywords that are shown one value a line.
var severalLines = []string{
	"acceptenv", "allowgroups", "allowusers", "denygroups", "denyusers", "hostkey", "listenaddress", "port",
}

func showKeyword(p *program, keyword string, args []string) {
	if !slices.Contains(severalLines, keyword) {
		args = []string{strings.Join(args, " ")}
	}
	for _, arg := range args {
		fmt.Fprintln(p.stdout, keyword, arg)
	}
}

// parseConnection reads the value of -C; without it, no Match block but "Match all" is in force.
func parseConnection(spec string) (sshd.Connection, error) {
	var conn sshd.Connection
	if spec == "" {
		return conn, nil
	}
	fields := map[string]*string{
		"user": &conn.User, "host": &conn.Host, "addr": &conn.Addr, "laddr": &conn.LAddr, "rdomain": &conn.RDomain,
	}
	for pair := range strings.SplitSeq(spec, ",") {
		key, value, _ := strings.Cut(pair, "=")
		if key == "lport" {
			port, err := strconv.ParseUint(value, 10, 16)
			if err != nil {
				return conn, fmt.Errorf("%w: -C %s: not a port", errUsage, pair)
			}
			conn.LPort = int(port)
			continue
		}
		field, known := fields[key]
		if !known {
			return conn, fmt.Errorf("%w: -C %s: expected user, host, addr, laddr, lport or rdomain", errUsage, pair)
		}
		*field = value
	}
	return conn, nil
}
