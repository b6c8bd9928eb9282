package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/cmd/internal/version"
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
	stdin, stdout *os.File
	stderr        *logQueue

	foreground, inetd, test, show bool
	config, port                  string
	hostKeys, lines               []string
	connection                    string
	root                          string
	logToStderr                   bool

	logins    logins
	behaviour []target.Option
	record    string

	recordLines *logQueue // nil without a record
	recorded    *watched  // where they are written

	lifetime time.Duration
	untilEOF bool
	writeTo  string
}

// errUsage marks an error in how the program was called.
var errUsage = errors.New("wrong usage")

func run(args []string, stdin, stdout, stderr *os.File) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: newLogQueue(stderr, lostLine)}
	defer p.stderr.flush()
	cmd := p.command()
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(p.stderr)
	err := cmd.Execute()
	if incomplete := p.endRecord(); err == nil {
		err = incomplete
	}
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errUsage):
		fmt.Fprintf(p.stderr, "latchkey-sshd: %v\nRun latchkey-sshd --help for the options.\n", err)
		return exitUsage
	}
	fmt.Fprintf(p.stderr, "latchkey-sshd: %v\n", err)
	return exitFailed
}

func (p *program) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "latchkey-sshd [-D | -i | -t | -T] [option ...]",
		Short: "An SSH server for tests, which takes sshd's own options too",
		Long: `latchkey-sshd is an SSH server to log in to: for tests and demonstrations. It needs neither root nor files. It decides
who may log in as OpenSSH's sshd does, and runs commands as the user that it runs as itself.

It listens on a free port of 127.0.0.1 and prints one line of JSON when it does, with all that is needed to log in:
address, host key, user, and, where no option says who may log in, the private key of a key pair made for this run.

With -D, -i, -t or -T it stands in sshd's place: sshd's defaults hold, and the Port and ListenAddress of -f. Without -f no
configuration is read, /etc/ssh/sshd_config neither.

A relative path is below the working folder; where --root is another than "/", -f, -h, --authorized-keys and the paths of
the configuration are below that. scp and sftp need --sftp; scp -O, which runs a command, does without.

SIGHUP reads the configuration again; SIGTERM and SIGINT end it, a second one at once.
Exit codes: 0 done, 64 wrong usage, 255 anything else.`,
		Example: examples,
		Version: version.String(),

		DisableFlagsInUseLine: true,
		SilenceErrors:         true,
		SilenceUsage:          true,
		RunE:                  p.runE,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%w: unexpected argument %q", errUsage, args[0])
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	p.flags(cmd)
	return cmd
}

const examples = `  # a server for ten minutes at most, and a command on it; the line that is printed holds a private key
  umask 077
  latchkey-sshd --write-config ./target --for 10m > ./said &
  until [ -s ./said ]; do sleep 0.1; done
  ssh -F ./target/config target id

  # two steps to log in; one command that is not run for real, and no other; what happened, as JSON lines
  latchkey-sshd --user ada --authorized-keys ./id.pub --generate-password --methods ada=publickey,password \
    --exec 'deploy=echo deployed' --no-commands --record ./record.jsonl

  # a folder for scp and sftp
  latchkey-sshd --sftp ./files --no-commands

  # a server that is slow to answer
  latchkey-sshd --fault slow:auth:2s

  # in sshd's place: let in whoever holds the key, as any user, on a free port
  latchkey-sshd -D -p 0 -o AuthorizedKeysFile=$HOME/.ssh/id_ed25519.pub -o StrictModes=no

  # what would hold for root from 192.0.2.7?
  latchkey-sshd -T -f /etc/ssh/sshd_config -C user=root,host=h,addr=192.0.2.7,laddr=127.0.0.1,lport=22`

func (p *program) runE(*cobra.Command, []string) error {
	listens := !p.inetd && !p.test && !p.show
	var err error
	if p.root, err = filepath.Abs(p.root); err != nil {
		return err
	}
	switch {
	case p.connection != "" && !p.show:
		return fmt.Errorf("%w: -C is for -T", errUsage)
	case !listens && (p.lifetime != 0 || p.untilEOF || p.writeTo != ""):
		return fmt.Errorf("%w: --for, --until-eof and --write-config are for a server that listens", errUsage)
	case p.test && !p.show:
		return p.checkConfig()
	case p.show:
		return p.showConfig()
	case p.inetd:
		return p.serveStdin()
	}
	return p.listen()
}
