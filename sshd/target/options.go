package target

import (
	"context"
	"fmt"
	"io"
	"time"

	"golang.org/x/crypto/ssh"
)

// Option sets up a [Server]. Of two that contradict each other the later one is in force.
type Option func(*options)

// options are what all Option together say.
type options struct {
	root, config string
	settings     []string

	keys  []keySource
	users map[string]User
	cas   []ssh.PublicKey

	hostKeys []ssh.Signer
	banner   string
	sftp     string

	exec       map[string]Handler
	shell      Handler
	subsystems map[string]Handler
	run        Handler
	scripted   bool // run is not the shell's

	idle         time.Duration
	failureDelay time.Duration

	logs   []func(Event)
	faults []Fault

	mistakes []error // what of the options cannot be meant
}

// mistake notes what [New] is to refuse.
func (o *options) mistake(format string, args ...any) {
	o.mistakes = append(o.mistakes, fmt.Errorf(format, args...))
}

// defaultIdle is how long a connection may be without a byte in either direction.
const defaultIdle = 15 * time.Minute

// defaultFailureDelay is how long a refusal takes at the least, as in sshd: so that its time tells nothing.
const defaultFailureDelay = 5 * time.Millisecond

func newOptions(opts []Option) *options {
	o := &options{
		root: "/", users: map[string]User{}, exec: map[string]Handler{}, subsystems: map[string]Handler{},
		run: Shell, idle: defaultIdle, failureDelay: defaultFailureDelay,
	}
	for _, opt := range opts {
		if opt == nil {
			o.mistake("an Option is nil")
			continue
		}
		opt(o)
	}
	o.root = absoluteRoot(o.root)
	if o.config != "" && o.config != "none" {
		o.config = located(o.root, o.config)
	}
	if o.sftp != "" {
		o.sftp = located("/", o.sftp)
	}
	for i, source := range o.keys {
		if source.read == nil {
			o.keys[i] = o.fileKeys(source.file)
		}
	}
	return o
}

// waysIn tells whether anything here lets somebody log in; a user without any secret does not.
func (o *options) waysIn() bool {
	for _, u := range o.users {
		if u.Password != "" || len(u.Prompts) > 0 || u.AuthorizedKeys != "" || u.AuthorizedKeysFile != "" {
			return true
		}
	}
	return o.config != "" || len(o.keys) > 0 || len(o.cas) > 0
}

// User is somebody who may log in to a server without sshd_config. Once there is one, nobody else may. To a server with
// an sshd_config a User only adds ways to prove who an account of /etc/passwd is.
type User struct {
	Name string

	// Password is taken by password and, where there are no Prompts, by keyboard-interactive; empty is none.
	Password string

	// Prompts are what keyboard-interactive asks, in rounds (RFC 4256 section 3.2): a round for each element.
	Prompts [][]Prompt

	// AuthorizedKeys is the text of an authorized_keys file, AuthorizedKeysFile a path as for
	// [WithAuthorizedKeysFile]. They are asked after those that hold for every user.
	AuthorizedKeys, AuthorizedKeysFile string

	// Principals are names of which a certificate by an authority of [WithUserCA] must hold one; none means Name.
	Principals []string

	// Methods are what is needed to log in, as the arguments of AuthenticationMethods in sshd_config(5):
	// "publickey,password" wants both. Empty: any one that the user has a secret for.
	Methods string

	// Home is where sessions begin, and the %h of paths; empty: the home of whoever runs the server.
	Home string
}

// Prompt is one question of keyboard-interactive.
type Prompt struct {
	Text   string
	Echo   bool   // the answer may be shown as it is typed
	Answer string // what lets the user in; empty lets nobody
}

// Handler runs one session and returns its exit status, or sets its ExitSignal. ctx ends with the session's channel, and
// with the server; a Handler is to return then, for [Server.Close] waits for it. One that panics ends its own session, with status 255.
type Handler func(ctx context.Context, s *Session) int

// WithRoot makes dir the folder below which every path of the configuration, /etc/passwd and keys files are; else "/". Where
// dir is another than "/", a relative path is below it as well; else a relative path is below the working folder, as in sshd.
func WithRoot(dir string) Option { return func(o *options) { o.root = dir } }

// WithSSHDConfig has the server obey the sshd_config at path, below the root, and know the accounts of /etc/passwd. The
// path "none" stands for an empty file: sshd's defaults. One thing is not done whatever PermitUserRC says: ~/.ssh/rc and
// /etc/ssh/sshrc are never run.
//
// Nobody logs in without an account there, whatever the options have for the name; neither does anybody whose shell is, below the root, no
// file that somebody may execute. A server that runs as root reads the files that AuthorizedKeysFile and AuthorizedPrincipalsFile
// name with the rights of the account, as sshd does. Links below a root never lead out of it. UseDNS yes is
// refused: this server resolves no names.
//
// Without this option every method that something here gives a secret for is offered, to root too, StrictModes is
// off, and who may log in is nobody's business but the options'.
func WithSSHDConfig(path string) Option { return func(o *options) { o.config = path } }

// WithSettings puts lines in front of the configuration's, as sshd's -o: "MaxAuthTries 3". They count without a
// configuration too.
func WithSettings(lines ...string) Option {
	return func(o *options) { o.settings = append(o.settings, lines...) }
}

// WithAuthorizedKeysFile lets in whoever holds a key of the file, in the place of the configuration's AuthorizedKeysFile. It
// is read for each attempt, so what is written to it counts at once; a missing file is empty. Tokens are %u, %U, %h and %%
// as in sshd_config(5). A relative path is below the working folder, or below the root where there is one (see [WithRoot]).
func WithAuthorizedKeysFile(path string) Option {
	return func(o *options) {
		if path == "" {
			o.mistake("WithAuthorizedKeysFile: the path is empty")
		}
		o.keys = append(o.keys, keySource{file: path})
	}
}

// WithAuthorizedKeys lets in whoever holds a key of text, which is that of an authorized_keys file. One whose lines are all invalid
// is an error of [New]; one of comments lets nobody in.
func WithAuthorizedKeys(text string) Option {
	return func(o *options) {
		if err := checkKeys(text); err != nil {
			o.mistake("WithAuthorizedKeys: no line is a key: %w", err)
		}
		WithAuthorizedKeysFunc(func(string) ([]byte, error) { return []byte(text), nil })(o)
	}
}

// WithAuthorizedKeysFunc asks f for the text of a user's authorized_keys, at each attempt, from many goroutines at
// once. An error refuses the attempt.
func WithAuthorizedKeysFunc(f func(user string) ([]byte, error)) Option {
	return func(o *options) {
		if f == nil {
			o.mistake("WithAuthorizedKeysFunc: the function is nil")
		}
		o.keys = append(o.keys, keySource{read: f})
	}
}

// WithUser adds a user. Of one name there can be one alone.
func WithUser(u User) Option {
	return func(o *options) {
		if _, twice := o.users[u.Name]; twice {
			o.mistake("WithUser: there are two users of the name %s", u.Name)
		}
		o.users[u.Name] = u
	}
}

// WithUserCA trusts the authorities for certificates of users, as TrustedUserCAKeys does: a certificate has to name, among
// its principals, one of the user's (see User.Principals).
func WithUserCA(cas ...ssh.PublicKey) Option {
	return func(o *options) { o.cas = append(o.cas, cas...) }
}

// WithHostKey sets the host keys, in the place of those configured. Without any an ed25519 key is made
// for the life of the server.
func WithHostKey(keys ...ssh.Signer) Option {
	return func(o *options) { o.hostKeys = append(o.hostKeys, keys...) }
}

// WithBanner shows text before the login (RFC 4252 section 5.4).
func WithBanner(text string) Option { return func(o *options) { o.banner = text } }

// WithSFTP serves the subsystem sftp (version 3 of draft-ietf-secsh-filexfer) in dir, and in nothing outside of it: dir is
// "/" to the client, and no link, no ".." and no rename leads out. Only regular files are opened. It goes before a Subsystem
// line of the configuration that names a program, and keeps to the -R, read-only, of one that names internal-sftp.
//
// Without this option internal-sftp is served, where a Subsystem line, a ForceCommand or a key's command names it, below the root, and
// relative paths begin at the user's home. It is refused where the root is "/" and [WithRun] keeps commands from being run
// for real, as it would let more be done than they. Any other argument of internal-sftp than -R, -e, -f and -l refuses the session.
func WithSFTP(dir string) Option { return func(o *options) { o.sftp = dir } }

// OnExec runs h for the command, with whatever arguments follow it after a blank, also where the command is forced. Of
// several commands that fit, the longest counts.
func OnExec(command string, h Handler) Option {
	return func(o *options) {
		if command == "" {
			o.mistake("OnExec: the command is empty")
		}
		o.handler("OnExec "+command, h)
		o.exec[command] = h
	}
}

// OnShell runs h for a session without command, unless one is forced.
func OnShell(h Handler) Option {
	return func(o *options) {
		o.handler("OnShell", h)
		o.shell = h
	}
}

// OnSubsystem runs h for the subsystem of that name. It goes before a Subsystem line and [WithSFTP], and after a forced command.
func OnSubsystem(name string, h Handler) Option {
	return func(o *options) {
		if name == "" {
			o.mistake("OnSubsystem: the name is empty")
		}
		o.handler("OnSubsystem "+name, h)
		o.subsystems[name] = h
	}
}

// WithRun runs h for what no other option has a handler for, in the place of [Shell]. Give [NotFound] to run
// nothing for real.
func WithRun(h Handler) Option {
	return func(o *options) {
		o.handler("WithRun", h)
		o.run, o.scripted = h, true
	}
}

func (o *options) handler(of string, h Handler) {
	if h == nil {
		o.mistake("%s: the Handler is nil", of)
	}
}

// WithIdleTimeout ends a connection after d without a byte in either direction, while logging in too; 0 is never. The
// default is 15 minutes.
func WithIdleTimeout(d time.Duration) Option { return func(o *options) { o.idle = d } }

// WithFailureDelay makes a refusal take d at the least; it is 5 ms, and doubled while that is too short.
func WithFailureDelay(d time.Duration) Option { return func(o *options) { o.failureDelay = d } }

// WithLog tells f every [Event], from many goroutines at once. f should return soon: the client waits.
func WithLog(f func(Event)) Option {
	return func(o *options) {
		if f == nil {
			o.mistake("WithLog: the function is nil")
		}
		o.logs = append(o.logs, f)
	}
}

// WithJSONLog writes every [Event] to w as one line of JSON.
func WithJSONLog(w io.Writer) Option {
	return func(o *options) {
		if w == nil {
			o.mistake("WithJSONLog: the writer is nil")
		}
		WithLog(jsonLog(w))(o)
	}
}

// WithFault has the server misbehave from the start. See [Server.SetFaults].
func WithFault(faults ...Fault) Option {
	return func(o *options) {
		if err := checkFaults(faults); err != nil {
			o.mistake("WithFault: %w", err)
		}
		o.faults = append(o.faults, faults...)
	}
}

// keySource is where authorized keys come from: a file's pattern, or a function.
type keySource struct {
	file   string
	asUser bool // the file is read with the rights of the user, as those that sshd_config names
	read   func(user string) ([]byte, error)
}

// fileKeys is a file, whose path means the same wherever the program goes later.
func (o *options) fileKeys(path string) keySource { return keySource{file: located(o.root, path)} }
