// Package sshd speaks to the instance's own OpenSSH sshd: what is its
// effective configuration, would it accept this key, does it still offer
// passwords, please load the new configuration. It also owns the one thing
// latchkey writes there, the password policy.
//
// Nothing here guesses what sshd would do. Questions go to the program itself:
// sshd -T for configuration, sshd -i over a connection of our own for a logon under a
// configuration that no listener has yet, and the running listener for what is
// true now. An answer that could not be had is [Unknown], never a no.
package sshd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Paths below the instance's root, and the longest that one sshd process may
// take. Ten seconds is three hundred times what a sound one needs.
const (
	DefaultProgram = "/usr/sbin/sshd"
	DefaultConfig  = "/etc/ssh/sshd_config"
	commandTimeout = 10 * time.Second
)

// ErrMissing tells that the instance has no sshd program.
var ErrMissing = errors.New("no sshd program")

// Daemon is the sshd of one instance. The zero value is not useful: New
// fills in what was left out.
type Daemon struct {
	// Root is the instance's root folder; sshd is run in it by chroot(2)
	// unless it is "/".
	Root string
	// Command runs sshd; the first word is its path below Root. When Outside is
	// set it is run as it stands instead, without chroot: a server that takes
	// sshd's options but is not installed in the instance.
	Command []string
	Outside bool
	// Config is the path of sshd_config below Root.
	Config string
	// RunDir is a folder below Root that only root may write to: candidate
	// configurations are put there.
	RunDir string
	// Loopback makes the connection over which sshd -i is spoken to, as LoopbackPair
	// does. A process that keeps off the network has another make it.
	Loopback func(context.Context) (net.Conn, *os.File, error)
}

// New returns d with OpenSSH's own paths where d names none.
func New(d Daemon) *Daemon {
	if d.Root == "" {
		d.Root = "/"
	}
	if len(d.Command) == 0 {
		d.Command = []string{DefaultProgram}
	}
	if d.Config == "" {
		d.Config = DefaultConfig
	}
	if d.RunDir == "" {
		d.RunDir = "/run/latchkey"
	}
	if d.Loopback == nil {
		d.Loopback = LoopbackPair
	}
	return &d
}

// path is where the instance's file name is found from here.
func (d *Daemon) path(name string) string { return filepath.Join(d.Root, name) }

// Program is the sshd program's path as seen from here.
func (d *Daemon) Program() string {
	if d.Outside {
		return d.Command[0]
	}
	return d.path(d.Command[0])
}

// command is sshd with args, in the instance's root, with an environment that
// holds nothing of ours.
func (d *Daemon) command(ctx context.Context, args ...string) *exec.Cmd {
	argv := append(append([]string{}, d.Command...), args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	// PAM's audit looks up the client's host name. Over a socket pair, which is what
	// is left where there is no loopback, that is a name that nobody knows: a name
	// server which does not answer must not cost the 20 s that resolv.conf(5) gives it.
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "RES_OPTIONS=timeout:1 attempts:1"}
	cmd.Dir = "/"
	cmd.WaitDelay = time.Second
	// No Pdeathsig: it fires when the thread that forked ends, not the process, and
	// threads that took a user's credentials do end.
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if d.Root != "/" && !d.Outside {
		cmd.SysProcAttr.Chroot = d.Root
	}
	return cmd
}

// run runs sshd to its end and returns what it printed.
func (d *Daemon) run(ctx context.Context, args ...string) ([]byte, error) {
	out, err := d.runOnce(ctx, args...)
	var refused *CommandError
	if errors.As(err, &refused) && d.makeRunFolder(refused.Stderr) {
		return d.runOnce(ctx, args...)
	}
	return out, err
}

func (d *Daemon) runOnce(ctx context.Context, args ...string) ([]byte, error) {
	if _, err := os.Stat(d.Program()); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w at %s", ErrMissing, d.Program())
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := d.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, &CommandError{Args: cmd.Args, Err: err, Stderr: lastLines(stderr.String(), 3)}
	}
	return stdout.Bytes(), nil
}

// makeRunFolder makes the folder that sshd says it misses, and tells whether
// sshd may be asked again. Distributions make it when sshd's unit starts, which
// may be after us at boot, and under socket activation is at the first logon.
// Only a folder directly below /run is made: what belongs elsewhere comes with
// a package.
func (d *Daemon) makeRunFolder(said string) bool {
	_, rest, found := strings.Cut(said, "Missing privilege separation directory: ")
	if end := strings.IndexAny(rest, "\r\n;"); end >= 0 {
		rest = rest[:end]
	}
	name := path.Clean(rest)
	if !found || path.Dir(name) != "/run" {
		return false
	}
	root, err := os.OpenRoot(d.Root)
	if err != nil {
		return false
	}
	defer root.Close()
	err = root.Mkdir(name[1:], 0o755)
	if errors.Is(err, fs.ErrExist) {
		return true // somebody was faster
	}
	return err == nil && root.Chmod(name[1:], 0o755) == nil // whatever the umask
}

// CommandError is an sshd that did not end well, with the end of what it said.
type CommandError struct {
	Args   []string
	Err    error
	Stderr string
}

func (e *CommandError) Error() string {
	text := fmt.Sprintf("%s: %v", strings.Join(e.Args, " "), e.Err)
	if e.Stderr != "" {
		text += ": " + e.Stderr
	}
	return text
}

func (e *CommandError) Unwrap() error { return e.Err }

// Refused tells whether sshd itself ended with a verdict, rather than being
// killed, timing out or not starting at all.
func (e *CommandError) Refused() bool {
	var exit *exec.ExitError
	return errors.As(e.Err, &exit) && exit.Exited()
}

// lastLines is the end of text, n lines at most, joined into one.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(text, "\r", "")), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "; ")
}

// Test asks sshd -t whether it would take the configuration file config, a
// path below Root.
func (d *Daemon) Test(ctx context.Context, config string) error {
	_, err := d.run(ctx, "-t", "-f", config)
	return err
}
