package main

import (
	"fmt"
	"io"
	"os"

	"github.com/latchkey-ssh/latchkey/sshd/target"
)

// inPlace tells whether the program stands in sshd's place.
func (p *program) inPlace() bool { return p.foreground || p.inetd || p.test || p.show }

// sshdConfig is the path of the configuration: in sshd's place there is always one, if only its defaults.
func (p *program) sshdConfig() string {
	if p.config == "" && p.inPlace() {
		return "none"
	}
	return p.config
}

// server is the server that the options describe, and the users who were named.
func (p *program) server() (*target.Server, []account, error) {
	accounts, err := p.logins.accounts()
	if err != nil {
		return nil, nil, err
	}
	logins, err := p.logins.options(accounts)
	if err != nil {
		return nil, nil, err
	}
	options := append(logins, target.WithRoot(p.root), target.WithSSHDConfig(p.sshdConfig()), target.WithSettings(p.settings()...))
	options = append(options, p.behaviour...)
	if p.logToStderr {
		options = append(options, target.WithLog(func(e target.Event) { fmt.Fprintln(p.stderr, e) }))
	}
	if p.record != "" {
		record, err := p.openRecord()
		if err != nil {
			return nil, nil, err
		}
		options = append(options, target.WithJSONLog(record))
	}
	server, err := target.New(options...)
	return server, accounts, err
}

// openRecord opens the file for the record, which is born for its owner alone: commands are in it. It is closed with the program.
func (p *program) openRecord() (io.Writer, error) {
	if p.record == "-" {
		return p.stderr, nil
	}
	file, err := os.OpenFile(p.record, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--record: %w", err)
	}
	return file, nil
}
