package target

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// sessionRow is what both servers are to do in one session of alice, whose key's line has the options.
type sessionRow struct {
	name, line string
	do         func(*dialog) string
	want       string
}

// sameSessions does each row at both servers. The machine's root, which only ours sees, is taken out of what they answer.
func sameSessions(t *testing.T, w *twins, rows []sessionRow) {
	t.Helper()
	key := newKey(t)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w.machine.AuthorizedKeys("alice", strings.TrimSpace(row.line+" "+key.Line))
			got := w.agree(t, func(t *testing.T, at twin) string {
				client, err := at.login(ssh.PublicKeys(key.Signer))
				if err != nil {
					t.Fatalf("%s: %v", at.name, err)
				}
				defer client.Close()
				return strings.ReplaceAll(row.do(newDialog(t, client)), w.machine.Root, "")
			})
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func execute(command string) func(*dialog) string {
	return func(d *dialog) string { return says(d, d.exec(command)) }
}

// says is the answer where it is no, else what the program does without input.
func says(d *dialog, answer string) string {
	if answer == "no" {
		return "no"
	}
	_ = d.CloseWrite()
	return d.end()
}

func runSubsystem(name string) func(*dialog) string {
	return func(d *dialog) string { return says(d, d.subsystem(name)) }
}

func shell(d *dialog) string { return says(d, d.ask("shell", nil)) }

func typed(input string) func(*dialog) string {
	return func(d *dialog) string {
		d.ask("shell", nil)
		d.send(input)
		_ = d.CloseWrite()
		return d.end()
	}
}

// requests are asked one after another.
func requests(ask ...func(*dialog) string) func(*dialog) string {
	return func(d *dialog) string {
		var answers []string
		for _, a := range ask {
			answers = append(answers, a(d))
		}
		return strings.Join(answers, " ")
	}
}

func withVariable(name, value string) func(*dialog) string {
	return func(d *dialog) string { return d.setenv(name, value) }
}

func terminalOf(columns, rows uint32, modes string) func(*dialog) string {
	return func(d *dialog) string { return d.pty(columns, rows, modes) }
}

func forwardAgent(d *dialog) string { return d.ask("auth-agent-req@openssh.com", nil) }

// closeInherited keeps files that this process was started with from those that it starts: they are not the server's.
func closeInherited(t *testing.T) {
	t.Helper()
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		t.Fatal(err)
	}
}

func TestSessionsRunAsWithSSHD(t *testing.T) {
	w := newTwins(t, `
AcceptEnv LANG LC_*
AcceptEnv FOO?
PermitUserEnvironment A*,!AX,B
SetEnv SET=admin "FOO1=ad min"
SetEnv SECOND=line
Subsystem echo /bin/echo "sub"   arg
Subsystem original /bin/echo [$SSH_ORIGINAL_COMMAND]
MaxSessions 1
`)
	w.machine.WriteFile("/home/alice/.ssh/environment", "# comment\n A2= from file\nC2=x\n\nB=file\n", 0o644)
	w.machine.WriteFile("/home/alice/.bash_logout", "", 0o644)
	closeInherited(t)
	original := `command="echo [${SSH_ORIGINAL_COMMAND-unset}]; exit 3"`
	sameSessions(t, w, []sessionRow{
		{"a command", "", execute("echo $0; echo problem >&2; exit 3"), "bash\nstderr: problem\nexit 3"},
		{"an empty command", "", execute(""), "exit 0"},
		{"a login shell", "", typed("echo $0; exit 4\n"), "-bash\nexit 4"},
		{"home", "", execute("pwd; echo $HOME"), "/home/alice\n/home/alice\nexit 0"},
		{"input to its end", "", func(d *dialog) string {
			d.exec("cat; echo end")
			d.send("some text\n")
			return says(d, "yes")
		}, "some text\nend\nexit 0"},
		{"output after the command has ended", "", execute("(sleep 0.1; echo late) & exit 5"), "late\nexit 5"},
		{"no file is left open in it", "", execute("ls /proc/self/fd"), "0\n1\n2\n3\nexit 0"},
		{
			"the names of the environment", "", execute("env -u _ -u SHLVL -u PWD | sort | sed 's/=.*//'"),
			"A2\nB\nFOO1\nHOME\nLOGNAME\nMAIL\nPATH\nSET\nSHELL\nSSH_CLIENT\nSSH_CONNECTION\nUSER\nexit 0",
		},
		{
			"identity", "", execute("echo $USER $LOGNAME $SHELL $MAIL; set -- $SSH_CONNECTION; echo $1 $3; test \"$SSH_CLIENT\" = \"$1 $2 $4\""),
			"alice alice /bin/bash /var/mail/alice\n127.0.0.1 127.0.0.1\nexit 0",
		},

		{"a subsystem", "", runSubsystem("echo"), "sub arg\nexit 0"},
		{"a subsystem nobody knows", "", runSubsystem("other"), "no"},
		{"forced: a command", original, execute("a  'b' $c"), "[a 'b' $c]\nexit 3"},
		{"forced: an empty command", original, execute(""), "[]\nexit 3"},
		{"forced: a shell", original, shell, "[unset]\nexit 3"},
		{"forced: a subsystem", original, runSubsystem("echo"), "[/bin/echo sub arg]\nexit 3"},
		{"forced: a subsystem nobody knows", original, runSubsystem("other"), "no"},
		{"forced: nothing", `command=""`, execute("echo other"), "exit 0"},
		{"forced: nothing, for a shell", `command=""`, shell, "exit 0"},
		{"forced: sftp, for a command", `command="internal-sftp"`, execute("id"), "This service allows sftp connections only.\nexit 1"},
		{"forced: sftp, for a shell", `command="internal-sftp -R"`, shell, "This service allows sftp connections only.\nexit 1"},
		{
			"forced: a program with sftp's name in it", `command="internal-sftp-2 || exit 6"`,
			execute("id"), "stderr: bash: line 1: internal-sftp-2: command not found\nexit 6",
		},

		{"variables of the client", "", requests(withVariable("LANG", "x"), withVariable("LC_NEW", "a b"), withVariable("FOO1", "client"), withVariable("FOO2", "client"),
			withVariable("FOO22", "x"), withVariable("LD_PRELOAD", "/x"), withVariable("PATH", "/x"), withVariable("BASH_ENV", "/x"), withVariable("lang", "x"),
			execute("echo $LANG,$LC_NEW,$FOO1,$FOO2,$SECOND,$SET")), "yes yes yes yes no no no no no x,a b,ad min,client,,admin\nexit 0"},
		{"the same variable twice", "", requests(withVariable("LANG", "x"), withVariable("LANG", "y"), execute("echo $LANG")), "yes yes y\nexit 0"},
		{"variables after the command", "", func(d *dialog) string {
			d.exec("cat; echo $LANG.")
			return d.setenv("LANG", "x") + says(d, " ")
		}, "no.\nexit 0"},
		{
			"environment= where a pattern lets it", `environment="A1=key",environment="AX=key",environment="B=key",environment="C=key"`,
			execute("echo $A1,$AX,$B,$C,$A2,$C2"), "key,,file,, from file,\nexit 0",
		},
		{"environment= and SetEnv", `environment="ASET=key",environment="A1=first",environment="A1=second"`, execute("echo $ASET,$A1"), "key,first\nexit 0"},

		{"a second program on the channel", "", func(d *dialog) string {
			d.exec("cat; echo one")
			return strings.Join([]string{d.exec("echo two"), d.subsystem("echo"), d.ask("shell", nil), d.pty(80, 24, ""), says(d, "yes")}, " ")
		}, "no no no no one\nexit 0"},
		{"an unknown request, X11", "", requests(func(d *dialog) string { return d.ask("unknown@example.com", nil) },
			func(d *dialog) string {
				return d.ask("x11-req", struct {
					Single           bool
					Protocol, Cookie string
					Screen           uint32
				}{false, "MIT-MAGIC-COOKIE-1", "00", 0})
			}), "no no"},
		{"more sessions than MaxSessions", "", func(d *dialog) string {
			d.exec("cat")
			_, _, err := d.client.OpenChannel("session", nil)
			return fmt.Sprint(err) + says(d, "yes")
		}, "ssh: rejected: connect failed (\"open failed\")exit 0"},
	})
}

func TestSessionsEndBySignalAsWithSSHD(t *testing.T) {
	w := newTwins(t, "")
	var rows []sessionRow
	for _, end := range []struct{ signal, want string }{
		{"KILL", "SIGKILL core=false"},
		{"TERM", "SIGTERM core=false"},
		{"HUP", "SIGHUP core=false"},
		{"PIPE", "SIGPIPE core=false"},
		{"SEGV", "SIGSEGV core=false"},
		{"USR2", "SIGUSR2 core=false"},
		{"ALRM", "SIGALRM core=false"},
		{"STKFLT", "SIGSIG@openssh.com core=false"},
		{"XCPU", "SIGSIG@openssh.com core=false"},
	} {
		rows = append(rows, sessionRow{"killed by " + end.signal, "", execute("ulimit -c 0; kill -" + end.signal + " $$"), end.want})
	}
	waiting := "trap 'echo got it; exit 7' TERM; echo ready; while read x; do :; done"
	rows = append(rows,
		sessionRow{"a signal of the client", "", func(d *dialog) string {
			d.exec("trap 'echo got it; exit 7' TERM; echo ready; while :; do :; done")
			d.wait("ready")
			return d.signal("TERM") + d.end()
		}, "yesready\ngot it\nexit 7"},
		sessionRow{"a signal for the whole group", "", func(d *dialog) string {
			d.exec("trap '' INT; (trap - INT; echo ready; exec sleep 100) ; echo status $?")
			d.wait("ready")
			return d.signal("KILL") + d.end()
		}, "yesready\nSIGKILL core=false"},
		sessionRow{"a signal nobody knows", "", func(d *dialog) string {
			d.exec(waiting)
			return d.signal("WINCH") + d.signal("9") + d.signal("SIGTERM") + says(d, "yes")
		}, "nononoready\nexit 0"},
		sessionRow{"a signal before the program", "", func(d *dialog) string { return d.signal("TERM") }, "no"},
		sessionRow{"a signal to a forced command", `command="` + waiting + `"`, func(d *dialog) string {
			d.exec("x")
			return d.signal("TERM") + says(d, "yes")
		}, "noready\nexit 0"},
		sessionRow{"a break without terminal", "", func(d *dialog) string {
			d.exec("cat")
			return d.ask("break", struct{ Milliseconds uint32 }{100}) + says(d, "yes")
		}, "noexit 0"},
	)
	sameSessions(t, w, rows)
}

// ttyModes are echo off, newline translation off, an interrupt character of ^X, an end-of-line one that is off, speeds and
// line input off.
const (
	ttyModes = "\x35\x00\x00\x00\x00" + "\x48\x00\x00\x00\x00" + "\x01\x00\x00\x00\x18" + "\x06\x00\x00\x00\xff" +
		"\x80\x00\x00\x96\x00" + "\x81\x00\x00\x96\x00" + "\x33\x00\x00\x00\x00"
	showModes = `stty -a | grep -oE 'intr = \^.|eol = [^;]*|-?(echo|icanon|onlcr|isig|icrnl|cs8)\b' | tr '\n' ' '`
)

func TestTerminalsAreAsWithSSHD(t *testing.T) {
	w := newTwins(t, "")
	w.machine.WriteFile("/home/alice/.hushlogin", "", 0o644)
	on80x24 := terminalOf(80, 24, "")
	sameSessions(t, w, []sessionRow{
		{
			"size and type", "", requests(terminalOf(132, 43, ""), execute("stty size; echo $TERM; test $(tty) = $SSH_TTY && test -t 0 -a -t 1 -a -t 2")),
			"yes 43 132\r\nvt100\r\nexit 0",
		},
		{"standard error is the terminal's", "", requests(on80x24, execute("echo problem >&2")), "yes problem\r\nexit 0"},
		{
			"it controls the session", "", requests(on80x24, execute("echo from here > /dev/tty; ps -o tpgid= -p $$ | tr -d ' ' | grep -qx $$; echo $?")),
			"yes from here\r\n0\r\nexit 0",
		},
		{
			"modes", "", requests(terminalOf(80, 24, ttyModes+"\x00"), execute(showModes)),
			"yes intr = ^X eol = <undef> cs8 icrnl -onlcr isig -icanon -echo exit 0",
		},
		{
			"modes without an end", "", requests(terminalOf(80, 24, ttyModes), execute(showModes)),
			"yes intr = ^X eol = <undef> cs8 icrnl -onlcr isig -icanon -echo exit 0",
		},
		{
			"modes with something behind the end", "", requests(terminalOf(80, 24, ttyModes+"\x00\x00"), execute(showModes)),
			"yes intr = ^C eol = <undef> cs8 icrnl onlcr isig icanon echo exit 0",
		},
		{
			"modes with an unknown code", "", requests(terminalOf(80, 24, ttyModes+"\xa0\x00\x00\x00\x00\x00"), execute(showModes)),
			"yes intr = ^C eol = <undef> cs8 icrnl onlcr isig icanon echo exit 0",
		},
		{"window change", "", func(d *dialog) string {
			d.pty(80, 24, "")
			d.exec("trap 'stty size; exit 2' WINCH; echo ready; while :; do sleep 0.02; done")
			d.wait("ready")
			return d.window(100, 50) + d.end()
		}, "yesready\r\n50 100\r\nexit 2"},
		{"window change without terminal", "", func(d *dialog) string {
			d.exec("cat")
			return d.window(100, 50) + says(d, "yes")
		}, "yesexit 0"},
		{"a break", "", func(d *dialog) string {
			d.pty(80, 24, "")
			d.exec("read x")
			return d.ask("break", struct{ Milliseconds uint32 }{100}) + func() string { d.send("x\n"); return d.end() }()
		}, "yesx\r\nexit 0"},
		{"interrupt is typed", "", func(d *dialog) string {
			d.pty(80, 24, "")
			d.exec("echo ready; exec sleep 100")
			d.wait("ready")
			d.send("\x03")
			return d.end()
		}, "ready\r\n^CSIGINT core=false"},
		{"a child in the background does not hold it", "", requests(on80x24, execute("sleep 100 & exit 5")), "yes exit 5"},
		{"no-pty", "no-pty", requests(on80x24, execute("tty")), "no not a tty\nexit 1"},
		{"restrict", "restrict", requests(on80x24), "no"},
		{"restrict,pty", "restrict,pty", requests(on80x24), "yes"},
		{"pty,restrict", "pty,restrict", requests(on80x24), "no"},
		{"no-pty,pty", "no-pty,pty", requests(on80x24), "yes"},
		{"agent", "", forwardAgent, "yes"},
		{"no-agent-forwarding", "no-agent-forwarding", forwardAgent, "no"},
		{"agent, restrict", "restrict", forwardAgent, "no"},
		{"restrict,agent-forwarding", "restrict,agent-forwarding", forwardAgent, "yes"},
		{"agent: its socket", "", requests(forwardAgent, execute("test -S $SSH_AUTH_SOCK && stat -c %a $(dirname $SSH_AUTH_SOCK)")), "yes 700\nexit 0"},
		{"agent: not asked for", "", execute("echo ${SSH_AUTH_SOCK-unset}"), "unset\nexit 0"},
	})
}

func TestTheConfigurationsWordsForSessionsAreThoseOfSSHD(t *testing.T) {
	w := newTwins(t, `
ForceCommand echo admin [${SSH_ORIGINAL_COMMAND-unset}] $A "$E"
PermitUserEnvironment yes
PermitTTY no
AllowAgentForwarding no
Subsystem sftp internal-sftp
`)
	w.machine.WriteFile("/home/alice/.ssh/environment", "E=from file\nUSER=mallory", 0o644)
	sameSessions(t, w, []sessionRow{
		{"ForceCommand", "", execute("x"), "admin [x] from file\nexit 0"},
		{"ForceCommand and command=", `command="echo key",environment="A=key"`, execute("x"), "admin [x] key from file\nexit 0"},
		{"ForceCommand for a shell", "", shell, "admin [unset] from file\nexit 0"},
		{"ForceCommand for a subsystem", "", runSubsystem("sftp"), "admin [internal-sftp] from file\nexit 0"},
		{"PermitTTY no", "", terminalOf(80, 24, ""), "no"},
		{"AllowAgentForwarding no", "", forwardAgent, "no"},
		{"variables of the client", "", withVariable("LANG", "x"), "no"},
	})
	w.reconfigure(t, "ForceCommand internal-sftp\nDisableForwarding yes\nPermitUserEnvironment no\n")
	sameSessions(t, w, []sessionRow{
		{"internal-sftp for a command", "", execute("x"), "This service allows sftp connections only.\nexit 1"},
		{"internal-sftp for a subsystem nobody knows", "", runSubsystem("sftp"), "no"},
		{"DisableForwarding", "", forwardAgent, "no"},
	})
	w.reconfigure(t, "PermitUserEnvironment no\nMatch User alice\nAcceptEnv A*\nSetEnv S=match\n")
	sameSessions(t, w, []sessionRow{
		{"environment= not permitted", `environment="A=key"`, execute("echo $A$E$S$USER"), "matchalice\nexit 0"},
		{"in a Match block", "", requests(withVariable("AB", "x"), withVariable("LANG", "x"), execute("echo $AB$S")), "yes no xmatch\nexit 0"},
	})
}
