package target

import (
	"errors"
	"strings"
)

var errNoSubsystem = errors.New("no such subsystem")

func (s *sessionChannel) answerExec(payload []byte) (string, error) {
	var asked struct{ Command string }
	if err := unmarshal(payload, &asked); err != nil {
		return "", err
	}
	if strings.ContainsRune(asked.Command, 0) {
		return "", errors.New("the command has a NUL in it")
	}
	return "", s.begin(program{request: "exec", command: asked.Command, handler: s.execHandler(asked.Command)})
}

func (s *sessionChannel) answerShell([]byte) (string, error) {
	return "", s.begin(program{request: "shell", handler: s.shellHandler()})
}

// answerSubsystem refuses one that is not known also where a forced command would take its place.
func (s *sessionChannel) answerSubsystem(payload []byte) (string, error) {
	var asked struct{ Name string }
	if err := unmarshal(payload, &asked); err != nil {
		return "", err
	}
	command, handler, err := s.subsystem(asked.Name)
	if err != nil {
		return asked.Name, err
	}
	return asked.Name, s.begin(program{"subsystem", asked.Name, command, handler})
}

// program is what a client asks for.
type program struct {
	request, subsystem, command string
	handler                     Handler
}

// begin settles what the session runs: what was asked for, unless a command is forced.
func (s *sessionChannel) begin(asked program) error {
	if !s.reach(AtCommand) {
		return errStopped
	}
	command, forced := s.login.forcedCommand()
	if forced {
		handler, err := s.forcedHandler(asked.request, command)
		if err != nil {
			return err
		}
		s.session.Original, s.session.Forced = asked.command, true
		asked.command, asked.handler = command, handler
	}
	s.session.Request, s.session.Subsystem, s.session.Command = asked.request, asked.subsystem, asked.command
	s.session.Env = s.environment()
	if s.session.PTY != nil && asked.request != "subsystem" {
		lines := &terminalLines{to: s.Channel}
		s.session.Stdout, s.session.Stderr = lines, lines
	}
	s.program = asked.handler
	e := s.session.event(Command)
	e.Verdict = Accepted
	s.tell(e)
	return nil
}

// subsystem is what serves a subsystem: a handler of the options, SFTP, or the command of a Subsystem line. That
// line's command is what a forced command is told the client asked for.
func (s *sessionChannel) subsystem(name string) (command string, handler Handler, err error) {
	command, configured := s.config.subsystem(name)
	scripted := s.server.options.subsystems[name]
	ownSFTP := name == "sftp" && s.server.options.sftp != ""
	switch {
	case !configured && ownSFTP:
		command = internalSFTP
	case !configured:
		command = name
	}
	switch arguments, internal := internalSFTPArguments(command); {
	case scripted != nil:
		return command, scripted, nil
	case internal:
		handler, err = s.sftpHandler(s.login, arguments)
		return command, handler, err
	case ownSFTP:
		handler, err = s.sftpHandler(s.login, "")
		return command, handler, err
	case configured:
		return command, s.execHandler(command), nil
	}
	return "", nil, errNoSubsystem
}

// subsystem is the command line of a Subsystem, its arguments separated by one blank whatever the line has.
func (c *Config) subsystem(name string) (command string, found bool) {
	for _, d := range c.text.Directives {
		if d.Name() == "subsystem" && len(d.Args) > 1 && d.Args[0] == name {
			return strings.Join(d.Args[1:], " "), true
		}
	}
	return "", false
}

// internalSFTPArguments are what follows internal-sftp, when that is what the command is.
func internalSFTPArguments(command string) (arguments string, is bool) {
	rest, is := strings.CutPrefix(command, internalSFTP)
	if !is || rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return "", false
	}
	return rest, true
}
