package main

import (
	"fmt"

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
	options = append(options, target.WithLog(new(quiet).told))
	if p.logToStderr {
		options = append(options, target.WithLog(func(e target.Event) { fmt.Fprintln(p.stderr, e) }))
	}
	if p.record != "" {
		record, err := p.openRecord()
		if err != nil {
			return nil, nil, err
		}
		p.recorded = &watched{name: p.record, to: record, warn: p.stderr}
		p.recordLines = newLogQueue(p.recorded, lostEvent)
		options = append(options, target.WithJSONLog(p.recordLines))
	}
	server, err := target.New(options...)
	return server, accounts, err
}
