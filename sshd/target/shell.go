package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"syscall"
	"time"
)

// killedGrace is how long a session's output may stay open after its process is gone.
const killedGrace = 2 * time.Second

// Shell runs a session's command by /bin/sh as the user that the process runs as, with an environment of its own,
// in the user's home where there is one. When the session ends the whole process group is killed. The
// status is that of the command, 255 where it has none.
func Shell(ctx context.Context, s *Session) int {
	cmd := exec.CommandContext(ctx, "/bin/sh", shellArgs(s)...)
	cmd.Env, cmd.Dir = environment(s), workingFolder(s)
	cmd.Stdout, cmd.Stderr = s.Stdout, s.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killedGrace
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 255
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(s.Stderr, err)
		return 255
	}
	go func() { // ends with the channel at the latest
		_, _ = io.Copy(stdin, s.Stdin)
		_ = stdin.Close()
	}()
	return status(cmd.Wait())
}

// shellArgs: an empty forced command is a command, not a shell.
func shellArgs(s *Session) []string {
	if s.Command == "" && !s.Forced {
		return nil
	}
	return []string{"-c", s.Command}
}

func status(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return 0
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode()
	}
	return 255
}

func environment(s *Session) []string {
	env := []string{
		"PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin", "SHELL=/bin/sh",
		"USER=" + s.User, "LOGNAME=" + s.User, "HOME=" + workingFolder(s),
	}
	if s.Forced && s.Original != "" {
		env = append(env, "SSH_ORIGINAL_COMMAND="+s.Original)
	}
	remote, _ := s.Remote.(*net.TCPAddr)
	local, _ := s.Local.(*net.TCPAddr)
	if remote != nil && local != nil {
		env = append(env, fmt.Sprintf("SSH_CONNECTION=%s %d %s %d", host(remote), remote.Port, host(local), local.Port))
	}
	return env
}

func workingFolder(s *Session) string {
	if info, err := os.Stat(s.Home); err == nil && info.IsDir() {
		return s.Home
	}
	if me, err := user.Current(); err == nil && me.HomeDir != "" {
		return me.HomeDir
	}
	return "/"
}
