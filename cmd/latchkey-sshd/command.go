package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/sshd/target"
)

// Exit codes. 255 is what sshd itself ends with.
const (
	exitDone   = 0
	exitUsage  = 64
	exitFailed = 255
)

// program is one run of the command.
type program struct {
	stdin          *os.File
	stdout, stderr io.Writer

	inetd, test, show bool
	config, port      string
	hostKeys, options []string
	connection        string
	root, passwords   string
	logToStderr       bool
}

// errUsage marks an error in how the program was called.
var errUsage = errors.New("wrong usage")

func run(args []string, stdin *os.File, stdout, stderr io.Writer) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr}
	cmd := p.command()
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.Execute()
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "latchkey-sshd: %v\nRun latchkey-sshd --help for the options.\n", err)
		return exitUsage
	}
	fmt.Fprintf(stderr, "latchkey-sshd: %v\n", err)
	return exitFailed
}

func (p *program) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "latchkey-sshd [-D | -i | -t | -T] [-f FILE] [-p PORT] [-h HOSTKEY] [-o LINE] [-C CONNECTION]",
		Short: "an SSH server for tests and demonstrations that takes sshd's options",
		Long: `latchkey-sshd decides who may log in as OpenSSH's sshd does, from an sshd_config and authorized_keys
files, and runs commands as the user it runs as itself. It listens on 127.0.0.1 unless ListenAddress says
otherwise, and prints one line of JSON when it does: address, port, host key and its fingerprint.

SIGHUP reads the configuration again; SIGTERM ends it. Exit codes: 0 done, 64 wrong usage, 255 anything else.`,
		Example: `  # let in whoever holds the key, as any user, on a free port
  latchkey-sshd -D -p 0 -o AuthorizedKeysFile=$HOME/.ssh/id_ed25519.pub -o StrictModes=no

  # what would hold for root from 192.0.2.7?
  latchkey-sshd -T -f /etc/ssh/sshd_config -C user=root,host=h,addr=192.0.2.7,laddr=127.0.0.1,lport=22`,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          p.runE,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%w: unexpected argument %q", errUsage, args[0])
			}
			return nil
		},
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	p.flags(cmd)
	return cmd
}

// flags takes every option that sshd has for these tasks; sshd's -h is the host key, so help has no letter.
func (p *program) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolP("foreground", "D", false, "stay in the foreground (always so)")
	f.BoolVarP(&p.inetd, "inetd", "i", false, "serve the one connection that standard input is")
	f.BoolVarP(&p.test, "test", "t", false, "check the configuration and the host keys only")
	f.BoolVarP(&p.show, "show", "T", false, "show the effective configuration, as sshd -T does")
	f.BoolVarP(&p.logToStderr, "stderr", "e", false, "log every attempt to log in to standard error")
	f.StringVarP(&p.config, "config", "f", "none", "sshd_config to read")
	f.StringVarP(&p.port, "port", "p", "", "port to listen on; 0 for a free one")
	f.StringArrayVarP(&p.hostKeys, "host-key", "h", nil, "host key file, in the place of those configured")
	f.StringArrayVarP(&p.options, "option", "o", nil, "a line that comes before the configuration's, such as Port=2222")
	f.StringVarP(&p.connection, "connection", "C", "", "for -T: user=…,host=…,addr=…,laddr=…,lport=…[,rdomain=…]")
	f.StringVar(&p.root, "root", "/", "folder below which the configuration, its paths and /etc/passwd are")
	f.StringVar(&p.passwords, "password-file", "", "file of user:password lines, readable by its owner only")
	f.Bool("help", false, "show this help")
	f.SortFlags = false
}

func (p *program) runE(cmd *cobra.Command, _ []string) error {
	if cmd.Flags().NFlag() == 0 {
		return fmt.Errorf("%w: nothing to do; -D listens", errUsage)
	}
	switch {
	case p.connection != "" && !p.show:
		return fmt.Errorf("%w: -C is for -T", errUsage)
	case p.test && !p.show:
		_, err := p.server()
		return err
	case p.show:
		return p.showConfig()
	case p.inetd:
		return p.serveStdin()
	}
	return p.listen()
}

// lines are the -o lines and those that other options stand for.
func (p *program) lines() []string {
	lines := p.options
	for _, file := range p.hostKeys {
		lines = append([]string{"HostKey " + quoted(file)}, lines...)
	}
	if p.port != "" {
		lines = append([]string{"Port " + quoted(p.port)}, lines...)
	}
	return lines
}

func quoted(word string) string { return `"` + word + `"` }

func (p *program) server() (*target.Server, error) {
	options := []target.Option{
		target.WithRoot(p.root), target.WithSSHDConfig(p.config), target.WithSettings(p.lines()...),
	}
	if p.passwords != "" {
		passwords, err := readPasswords(p.passwords)
		if err != nil {
			return nil, err
		}
		for user, password := range passwords {
			options = append(options, target.WithUser(target.User{Name: user, Password: password}))
		}
	}
	if p.logToStderr {
		options = append(options, target.WithLog(func(e target.Event) { fmt.Fprintln(p.stderr, e) }))
	}
	return target.New(options...)
}
