package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/sshd/target"
)

func (p *program) flags(cmd *cobra.Command) {
	p.sshdFlags(cmd)
	p.loginFlags(cmd)
	p.behaviourFlags(cmd)
	p.lifeFlags(cmd)
	f := cmd.Flags()
	f.Bool("help", false, "show this help")
	f.Bool("version", false, "show the version")
	f.SortFlags = false
}

// sshdFlags are sshd's own. Its -h is the host key, so help has no letter.
func (p *program) sshdFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVarP(&p.foreground, "foreground", "D", false, "listen in sshd's place (in the foreground, as always)")
	f.BoolVarP(&p.inetd, "inetd", "i", false, "serve the one connection that standard input is, or the pipes that it and standard output are")
	f.BoolVarP(&p.test, "test", "t", false, "check the configuration and the host keys only")
	f.BoolVarP(&p.show, "show", "T", false, "show the effective configuration, as sshd -T does")
	f.BoolVarP(&p.logToStderr, "stderr", "e", false, "log what happens to standard error")
	f.StringVarP(&p.config, "config", "f", "", "sshd_config `file` to obey; without it none is read")
	f.StringVarP(&p.port, "port", "p", "", "`port` to listen on; 0 for a free one")
	f.StringArrayVarP(&p.hostKeys, "host-key", "h", nil, "host key `file`, before those configured; the first of a type counts; may be given several times")
	f.StringArrayVarP(&p.lines, "option", "o", nil, "sshd_config `line` that comes before the file's, such as MaxAuthTries=3; may be given several times")
	f.StringVarP(&p.connection, "connection", "C", "", "for -T: the `client`, as user=…,host=…,addr=…,laddr=…,lport=…[,rdomain=…]")
	f.StringVar(&p.root, "root", "/", "`folder` below which the configuration, its paths and /etc/passwd are")
	_ = cmd.MarkFlagFilename("config")
	_ = cmd.MarkFlagFilename("host-key")
	_ = cmd.MarkFlagDirname("root")
}

// loginFlags say who may log in.
func (p *program) loginFlags(cmd *cobra.Command) {
	f, l := cmd.Flags(), &p.logins
	f.Func("user", "`name` of one who may log in, and nobody else may; may be given several times", func(name string) error {
		if name == "" {
			return errors.New("a user has a name")
		}
		l.names = append(l.names, name)
		return nil
	})
	f.StringArrayVar(&l.keyFiles, "authorized-keys", nil, "authorized_keys `file` whose keys let in, read at each attempt; may be given several times")
	f.StringArrayVar(&l.authorities, "user-ca", nil, "`file` of public keys whose certificates let in; may be given several times")
	f.StringVar(&l.passwordFile, "password-file", "", "`file` of user:password lines, readable by its owner only")
	f.BoolVar(&l.generate, "generate-password", false, "make a password for each user who has none, and print it")
	f.StringArrayVar(&l.methods, "methods", nil, "`user=list` of what it takes, as AuthenticationMethods has it: ada=publickey,password; may be given several times")
	for _, name := range []string{"authorized-keys", "user-ca", "password-file"} {
		_ = cmd.MarkFlagFilename(name)
	}
}

// behaviourFlags say what the server does for whoever has logged in, and what it does wrong.
func (p *program) behaviourFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	add := func(option target.Option) { p.behaviour = append(p.behaviour, option) }
	f.Func("exec", "`command=line`, a shell line that is run in the place of the command; may be given several times", func(text string) error {
		option, err := scripted(text)
		add(option)
		return err
	})
	f.BoolFunc("no-commands", "run nothing else for real: command not found", func(string) error {
		add(target.WithRun(target.NotFound))
		return nil
	})
	f.Func("sftp", "serve SFTP, which scp speaks too, in that `folder`, and in nothing outside of it", func(dir string) error {
		if dir == "" {
			return errors.New("no folder is named")
		}
		add(target.WithSFTP(dir))
		return nil
	})
	f.Func("banner", "`text` that is shown before the login", func(text string) error {
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n" // else what a client says next begins in the middle of its line
		}
		add(target.WithBanner(text))
		return nil
	})
	f.Func("idle-timeout", "end a connection after that `duration` without a byte (default 15m; 0 is never)", func(text string) error {
		d, err := time.ParseDuration(text)
		add(target.WithIdleTimeout(d))
		return err
	})
	f.Func("fault", "misbehave: a `fault` such as slow:auth:2s, silent:kex, drop:4096 or change-host-key; may be given several times", func(text string) error {
		fault, err := target.ParseFault(text)
		add(target.WithFault(fault))
		return err
	})
	f.StringVar(&p.record, "record", "", "add what happens to that `file`, as JSON lines; a pipe must have a reader; - is standard error")
	_ = cmd.MarkFlagDirname("sftp")
	_ = cmd.MarkFlagFilename("record")
}

// lifeFlags say how long it lives, and how it says where it is.
func (p *program) lifeFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.writeTo, "write-config", "", "write known_hosts, id_ed25519 and config, none of which may be there, to that `folder`, until the end: then ssh -F FOLDER/config NAME logs in")
	f.Func("for", "end after that `duration`", func(text string) (err error) {
		if p.lifetime, err = time.ParseDuration(text); err == nil && p.lifetime <= 0 {
			err = errors.New("want more than nothing")
		}
		return err
	})
	f.BoolVar(&p.untilEOF, "until-eof", false, "end when standard input does: with whoever has started it")
	_ = cmd.MarkFlagDirname("write-config")
}

// scripted is --exec: the shell runs the line, with all that the client asked for in SSH_ORIGINAL_COMMAND.
func scripted(text string) (target.Option, error) {
	command, line, ok := strings.Cut(text, "=")
	if !ok || command == "" {
		return nil, errors.New("want COMMAND=SHELL LINE")
	}
	return target.OnExec(command, func(ctx context.Context, s *target.Session) int {
		inPlace := *s
		inPlace.Command, inPlace.Original = line, s.Command
		if !s.Forced {
			inPlace.Env = append(slices.Clip(s.Env), "SSH_ORIGINAL_COMMAND="+s.Command)
		}
		status := target.Shell(ctx, &inPlace)
		s.ExitSignal = inPlace.ExitSignal
		return status
	}), nil
}

// settings are the -o lines and those that other options stand for.
func (p *program) settings() []string {
	var lines []string
	if p.port != "" {
		lines = append(lines, "Port "+quoted(p.port))
	}
	for _, file := range p.hostKeys {
		lines = append(lines, "HostKey "+quoted(file))
	}
	return append(lines, p.lines...)
}

func quoted(word string) string { return fmt.Sprintf("\"%s\"", word) }
