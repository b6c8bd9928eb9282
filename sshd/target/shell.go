package target

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
)

// Shell runs a session's command for real: by the account's shell, as the user that the process runs as, in the
// user's home, with [Session].Env for its environment; on a pseudo-terminal of its own where the client has one. Without a
// command the shell is a login shell. The status is that of the command, 1 where the shell cannot be run.
//
// As with sshd, a session without terminal ends when everything that holds its output has closed it. When the client goes
// before that, or the server is closed, SIGHUP goes to the process group, and a second later SIGKILL to whatever is left
// of the session (setsid(2)); what does not even die of that is not waited for. What a command that has ended left in the
// background stays.
func Shell(ctx context.Context, s *Session) int {
	p, err := startProcess(s)
	if err != nil {
		fmt.Fprintf(s.Stderr, "%s: %v\n", s.Shell, err)
		return 1
	}
	return p.run(ctx)
}

// shellCommand is the shell with its arguments and everything but its files.
func shellCommand(s *Session) *exec.Cmd {
	name := filepath.Base(s.Shell)
	cmd := &exec.Cmd{
		Path: s.Shell, Args: []string{name, "-c", s.Command}, Env: slices.Clone(s.Env), Dir: workingFolder(s),
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if s.Request == "shell" && !s.Forced {
		cmd.Args = []string{"-" + name}
	}
	return cmd
}

// workingFolder is the home; without one the session begins in the root folder.
func workingFolder(s *Session) string {
	home := s.homeFolder()
	info, err := os.Stat(home)
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		fmt.Fprintf(s.Stderr, "Could not chdir to home directory %s: %v\n", home, cause(err))
		return "/"
	}
	return home
}
