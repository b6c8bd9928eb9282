package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// TestNoAttackOfTheScriptsGetsThrough runs the scripts of testdata/security. Each is one attack, step by step, by a
// client that does what ssh(1) would not:
//
//	key NAME...                 makes NAME.pem, and NAME.pub in the form of authorized_keys; the line is $NAME
//	victim NAME [PATH]          a service on loopback, or at a socket, that answers "reached"; its address is $NAME
//	server [WORD VALUE]...      starts the server: keys FILE, sftp DIR, user NAME:PASSWORD, set LINE, config FILE
//	[!] login USER WAY...       one connection, which stays open: key:NAME, offer:NAME (the public half, without
//	                            holding the key), password:TEXT; no way at all is the method none
//	open                        a session channel, for the requests that follow
//	[!] request TYPE [VALUE]... a request on it, which has to be granted, or not
//	finish                      ends the channel; what came out of it is the standard output
//	[!] reach ADDRESS           through a forwarding: direct-tcpip, or direct-streamlocal@openssh.com for a path
//	[!] listen ADDRESS          asks for a port, or a socket, at the server
//	[!] sftp VERB PATH...       one request of SFTP; see filesCommand
//	swap A B                    swaps the two without end, from now on
//	[!] record PATTERN          an event of this connection whose line matches, there now or soon; with ! never
func TestNoAttackOfTheScriptsGetsThrough(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/security",
		Setup: func(env *testscript.Env) error {
			env.Values[attackKey{}] = &attack{t: env.T().(testing.TB)}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"key":     keyCommand,
			"victim":  victimCommand,
			"server":  serverCommand,
			"login":   loginCommand,
			"open":    openCommand,
			"request": requestCommand,
			"finish":  finishCommand,
			"reach":   reachCommand,
			"listen":  listenCommand,
			"sftp":    filesCommand,
			"swap":    swapCommand,
			"record":  recordCommand,
		},
	})
}

// attack is what one script has made so far.
type attack struct {
	t       testing.TB
	server  *Server
	client  *ssh.Client
	channel ssh.Channel
}

type attackKey struct{}

func attackOf(ts *testscript.TestScript) *attack { return ts.Value(attackKey{}).(*attack) }

// verdict ends the script unless the server refused what it was to refuse, and granted what it was to grant.
func verdict(ts *testscript.TestScript, neg bool, err error, what string) {
	switch {
	case neg && err == nil:
		ts.Fatalf("the server has granted: %s", what)
	case !neg && err != nil:
		ts.Fatalf("%s: %v", what, err)
	}
}

func keyCommand(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		key := testmachine.NewKey(attackOf(ts).t, "ed25519")
		pem, err := os.ReadFile(key.PEM)
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(name+".pem"), pem, 0o600))
		ts.Check(os.WriteFile(ts.MkAbs(name+".pub"), []byte(key.Line+"\n"), 0o600))
		ts.Setenv(name, key.Line)
	}
}

// signer reads the key pair of that name.
func signer(ts *testscript.TestScript, name string) ssh.Signer {
	s, err := ssh.ParsePrivateKey([]byte(ts.ReadFile(name + ".pem")))
	ts.Check(err)
	return s
}

func victimCommand(ts *testscript.TestScript, _ bool, args []string) {
	address := "127.0.0.1:0"
	if len(args) > 1 {
		address = args[1]
	}
	l, err := net.Listen(networkOf(address), address)
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	ts.Setenv(args[0], l.Addr().String())
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "reached")
			_ = conn.Close()
		}
	}()
}

func serverCommand(ts *testscript.TestScript, _ bool, args []string) {
	var options []Option
	for ; len(args) >= 2; args = args[2:] {
		word, value := args[0], args[1]
		switch word {
		case "keys":
			options = append(options, WithAuthorizedKeys(expand(ts, ts.ReadFile(value))))
		case "sftp":
			options = append(options, WithSFTP(ts.MkAbs(value)))
		case "user":
			name, secret, _ := strings.Cut(value, ":")
			options = append(options, WithUser(User{Name: name, Password: secret}))
		case "set":
			options = append(options, WithSettings(value))
		case "config":
			options = append(options, WithRoot(ts.MkAbs(".")), WithSSHDConfig("/"+value))
		default:
			ts.Fatalf("server %s: unknown word", word)
		}
	}
	a := attackOf(ts)
	a.server = Start(a.t, options...)
}

// expand puts in what a script's file names as $NAME. A variable that the script does not have is left for the shell of the session.
func expand(ts *testscript.TestScript, text string) string {
	return os.Expand(text, func(name string) string {
		if value := ts.Getenv(name); value != "" {
			return value
		}
		return "$" + name
	})
}

func loginCommand(ts *testscript.TestScript, neg bool, args []string) {
	a := attackOf(ts)
	client, err := ssh.Dial("tcp", a.server.Addr().String(), loginConfig(ts, a.server, args[0], args[1:]))
	if err == nil {
		ts.Defer(func() { _ = client.Close() })
	}
	a.client = client
	verdict(ts, neg, err, "login "+strings.Join(args, " "))
}

// loginConfig goes the ways one after another, each once, whatever the server says that it offers.
func loginConfig(ts *testscript.TestScript, server *Server, user string, names []string) *ssh.ClientConfig {
	var ways []ssh.AuthMethod
	for _, name := range names {
		kind, value, _ := strings.Cut(name, ":")
		switch kind {
		case "key":
			ways = append(ways, ssh.PublicKeys(signer(ts, value)))
		case "offer":
			ways = append(ways, queryOnly(signer(ts, value).PublicKey()))
		case "password":
			ways = append(ways, ssh.Password(value))
		default:
			ts.Fatalf("login by %s: unknown way", name)
		}
	}
	config := server.ClientConfig(user, ssh.Password("")) // a way, so that it takes none of its own
	config.Auth = nil
	config.AuthCallback = func(*ssh.ClientAuthContext) (ssh.AuthMethod, error) {
		if len(ways) == 0 {
			return nil, errors.New("no way is left")
		}
		next := ways[0]
		ways = ways[1:]
		return next, nil
	}
	return config
}

func openCommand(ts *testscript.TestScript, neg bool, _ []string) {
	a := attackOf(ts)
	channel, requests, err := a.client.OpenChannel("session", nil)
	verdict(ts, neg, err, "open")
	if err == nil {
		a.channel = channel
		go ssh.DiscardRequests(requests)
	}
}

// requestCommand knows the forms of RFC 4254 section 6. \n in a value is a line feed; "env NAME VALUE TIMES"
// sends so many variables, NAME1, NAME2 and so on.
func requestCommand(ts *testscript.TestScript, neg bool, args []string) {
	kind, values := args[0], args[1:]
	for i := range values {
		values[i] = strings.ReplaceAll(values[i], `\n`, "\n")
	}
	if kind == "env" && len(values) == 3 {
		floodWithVariables(ts, values[0], values[1], values[2])
		return
	}
	var payload []byte
	switch kind {
	case "env":
		payload = ssh.Marshal(struct{ Name, Value string }{values[0], values[1]})
	case "exec", "subsystem":
		payload = ssh.Marshal(struct{ Text string }{strings.Join(values, " ")})
	case "pty-req":
		payload = ssh.Marshal(struct {
			Term           string
			W, H, PxW, PxH uint32
			Modes          string
		}{"xterm", 80, 24, 0, 0, ""})
	}
	ok, err := attackOf(ts).channel.SendRequest(kind, true, payload)
	if err == nil && !ok {
		err = errors.New("refused")
	}
	verdict(ts, neg, err, strings.Join(args, " "))
}

// floodWithVariables asks for no reply, as ssh(1) does not.
func floodWithVariables(ts *testscript.TestScript, name, value, times string) {
	var n int
	_, err := fmt.Sscan(times, &n)
	ts.Check(err)
	for i := range n {
		payload := ssh.Marshal(struct{ Name, Value string }{fmt.Sprint(name, i), value})
		_, err := attackOf(ts).channel.SendRequest("env", false, payload)
		ts.Check(err)
	}
}

func finishCommand(ts *testscript.TestScript, _ bool, _ []string) {
	channel := attackOf(ts).channel
	_ = channel.CloseWrite() // where nothing was granted the channel may be gone
	go func() { _, _ = io.Copy(io.Discard, channel.Stderr()) }()
	out, err := io.ReadAll(channel)
	ts.Check(err)
	_ = channel.Close()
	fmt.Fprintf(ts.Stdout(), "%s", out)
}

func reachCommand(ts *testscript.TestScript, neg bool, args []string) {
	network := networkOf(args[0])
	err := reach(attackOf(ts).client, network, args[0])
	if refused := (*ssh.OpenChannelError)(nil); neg && network == "tcp" && errors.As(err, &refused) && refused.Reason != ssh.Prohibited {
		err = nil // the server has tried
	}
	verdict(ts, neg, err, "reach "+args[0])
}

func networkOf(address string) string {
	if strings.HasPrefix(address, "/") {
		return "unix"
	}
	return "tcp"
}

func reach(client *ssh.Client, network, address string) error {
	conn, err := client.Dial(network, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := io.ReadAll(conn)
	if err == nil && string(answer) != "reached" {
		err = fmt.Errorf("the answer is %q", answer)
	}
	return err
}

func listenCommand(ts *testscript.TestScript, neg bool, args []string) {
	l, err := attackOf(ts).client.Listen(networkOf(args[0]), args[0])
	if err == nil {
		_ = l.Close()
	}
	verdict(ts, neg, err, "listen "+args[0])
}

func recordCommand(ts *testscript.TestScript, neg bool, args []string) {
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	server := attackOf(ts).server
	matches := func(e Event) bool { return pattern.MatchString(e.String()) }
	if neg {
		if count(server, matches) > 0 {
			ts.Fatalf("on record: %s", args[0])
		}
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), clientPatience)
	defer cancel()
	_, err = server.WaitFor(ctx, matches)
	verdict(ts, false, err, "record "+filepath.Base(args[0]))
}
