package target

import (
	"context"
	"fmt"
	"strings"
)

// NotFound runs nothing, and says so as a shell does.
func NotFound(_ context.Context, s *Session) int {
	fmt.Fprintf(s.Stderr, "%s: command not found\n", s.Command)
	return 127
}

// sftpOnly is what sshd answers to a command or a shell where internal-sftp is forced.
func sftpOnly(_ context.Context, s *Session) int {
	fmt.Fprintln(s.Stdout, "This service allows sftp connections only.")
	return 1
}

// execHandler is the handler of [OnExec] with the longest command that fits, else the one for everything.
func (s *sessionChannel) execHandler(command string) Handler {
	handler, longest := s.server.options.run, -1
	for name, h := range s.server.options.exec {
		if len(name) > longest && runs(command, name) {
			handler, longest = h, len(name)
		}
	}
	return handler
}

// runs tells whether a command line is that of the command, with or without arguments.
func runs(line, command string) bool {
	rest, is := strings.CutPrefix(line, command)
	return is && (rest == "" || command != "" && (rest[0] == ' ' || rest[0] == '\t'))
}

func (s *sessionChannel) shellHandler() Handler {
	if s.server.options.shell != nil {
		return s.server.options.shell
	}
	return s.server.options.run
}

// forcedHandler runs a forced command in the place of what was asked for. As in sshd, internal-sftp is for those who ask for a subsystem.
func (s *sessionChannel) forcedHandler(request, command string) (Handler, error) {
	arguments, internal := internalSFTPArguments(command)
	switch {
	case internal && request == "subsystem":
		return s.sftpHandler(s.login, arguments)
	case internal:
		return sftpOnly, nil
	}
	return s.execHandler(command), nil
}
