package target_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/sshd/target"
)

// example stands in for *testing.T, which an Example does not have.
type example struct{ cleanups []func() }

func (*example) Helper()                      {}
func (*example) Failed() bool                 { return false }
func (*example) Logf(string, ...any)          {}
func (*example) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
func (*example) Fatal(args ...any)            { panic(fmt.Sprint(args...)) }
func (e *example) Cleanup(f func())           { e.cleanups = append(e.cleanups, f) }

func (e *example) TempDir() string {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (e *example) end() {
	for i := range e.cleanups {
		e.cleanups[len(e.cleanups)-1-i]()
	}
}

// makeKey makes a key pair.
func makeKey() ssh.Signer {
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		panic(err)
	}
	return key
}

// line is the key's line of authorized_keys.
func line(key ssh.Signer) []byte { return ssh.MarshalAuthorizedKey(key.PublicKey()) }

// logsIn is the test of what it is all about.
func logsIn(s *target.Server, user string, methods ...ssh.AuthMethod) bool {
	client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig(user, methods...))
	if err == nil {
		_ = client.Close()
	}
	return err == nil
}

// run runs one command on a connection of its own, and returns its output and exit status.
func run(s *target.Server, user, command string) (string, int) {
	client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig(user))
	if err != nil {
		panic(err)
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		panic(err)
	}
	out, err := session.Output(command)
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		return string(out), exit.ExitStatus()
	}
	return string(out), 0
}

// Without options there is a key that lets in as any user, and ClientConfig logs in with it.
func ExampleStart() {
	t := new(example)
	defer t.end()

	s := target.Start(t)
	client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("ada"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := session.Output("echo $USER")
	fmt.Printf("%s%v\n", out, err)
	// Output:
	// ada
	// <nil>
}

// The file is read at each attempt, so a key that is exchanged in it is exchanged at once.
func ExampleWithAuthorizedKeysFile() {
	t := new(example)
	defer t.end()

	before, after := makeKey(), makeKey()
	file := filepath.Join(t.TempDir(), "authorized_keys")
	if err := os.WriteFile(file, line(before), 0o600); err != nil {
		t.Fatal(err)
	}
	s := target.Start(t, target.WithAuthorizedKeysFile(file))
	fmt.Println(logsIn(s, "ada", ssh.PublicKeys(before)), logsIn(s, "ada", ssh.PublicKeys(after)))

	if err := os.WriteFile(file, line(after), 0o600); err != nil {
		t.Fatal(err)
	}
	fmt.Println(logsIn(s, "ada", ssh.PublicKeys(before)), logsIn(s, "ada", ssh.PublicKeys(after)))
	// Output:
	// true false
	// false true
}

// What stands before the key counts as at sshd.
func ExampleWithAuthorizedKeys() {
	t := new(example)
	defer t.end()

	key := makeKey()
	s := target.Start(t, target.WithAuthorizedKeys(`from="192.0.2.0/24" `+string(line(key))))
	fmt.Println(logsIn(s, "ada", ssh.PublicKeys(key)))
	for _, e := range s.Events() {
		if e.Verdict == target.Failed {
			fmt.Println(e.Method, e.Verdict, "-", e.Reason)
		}
	}
	// Output:
	// false
	// none failed - publickey is offered
	// publickey failed - the client's address is not among the line's from patterns
}

// It takes a key and then a password.
func ExampleUser() {
	t := new(example)
	defer t.end()

	key := makeKey()
	s := target.Start(t, target.WithUser(target.User{
		Name: "ada", Password: "tulip", AuthorizedKeys: string(line(key)),
		Methods: "publickey,password",
	}))
	fmt.Println(logsIn(s, "ada", ssh.PublicKeys(key)))
	fmt.Println(logsIn(s, "ada", ssh.PublicKeys(key), ssh.Password("tulip")))
	// Output:
	// false
	// true
}

// A one-time code is asked for after the password.
func ExamplePrompt() {
	t := new(example)
	defer t.end()

	s := target.Start(t, target.WithUser(target.User{
		Name: "ada",
		Prompts: [][]target.Prompt{
			{{Text: "Password: ", Answer: "tulip"}},
			{{Text: "Code: ", Answer: "123456", Echo: true}},
		},
	}))
	answers := map[string]string{"Password: ": "tulip", "Code: ": "123456"}
	fmt.Println(logsIn(s, "ada", ssh.KeyboardInteractive(
		func(_, _ string, questions []string, _ []bool) ([]string, error) {
			var given []string
			for _, question := range questions {
				fmt.Printf("asked %q\n", question)
				given = append(given, answers[question])
			}
			return given, nil
		})))
	// Output:
	// asked "Password: "
	// asked "Code: "
	// true
}

// A certificate by the authority logs in as its principals, and as nobody else.
func ExampleWithUserCA() {
	t := new(example)
	defer t.end()

	authority, key := makeKey(), makeKey()
	certificate := &ssh.Certificate{
		Key: key.PublicKey(), CertType: ssh.UserCert, KeyId: "ada's laptop", ValidPrincipals: []string{"ada"},
		ValidBefore: uint64(time.Now().Add(time.Hour).Unix()),
	}
	if err := certificate.SignCert(rand.Reader, authority); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewCertSigner(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	s := target.Start(t, target.WithUserCA(authority.PublicKey()))
	fmt.Println(logsIn(s, "ada", ssh.PublicKeys(signer)), logsIn(s, "root", ssh.PublicKeys(signer)))
	// Output: true false
}

// deploy is not run for real, and nothing else is run at all.
func ExampleOnExec() {
	t := new(example)
	defer t.end()

	deploy := func(_ context.Context, s *target.Session) int {
		fmt.Fprintf(s.Stdout, "%s asks for %q\n", s.User, s.Command)
		return 3
	}
	s := target.Start(t, target.OnExec("deploy", deploy), target.WithRun(target.NotFound))
	fmt.Println(run(s, "ada", "deploy now"))
	fmt.Println(run(s, "ada", "reboot"))
	// Output:
	// ada asks for "deploy now"
	//  3
	//  127
}

// What a program under test did is seen at the server, also what it does later.
func ExampleServer_WaitFor() {
	t := new(example)
	defer t.end()

	s := target.Start(t)
	go run(s, "ada", "exit 4")

	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	ended, err := s.WaitFor(ctx, func(e target.Event) bool { return e.Kind == target.Exit })
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(ended.User, ended.Command, *ended.Status)
	// Output: ada exit 4 4
}

// The record is JSON, one line an event.
func ExampleWithJSONLog() {
	t := new(example)
	defer t.end()

	var record bytes.Buffer
	s := target.Start(t, target.WithJSONLog(&record), target.WithUser(target.User{Name: "ada", Password: "tulip"}))
	logsIn(s, "ada", ssh.Password("rose"))
	_ = s.Close() // nothing is written from here on

	for lines := json.NewDecoder(&record); ; {
		var e target.Event
		if err := lines.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if e.Kind == target.Auth {
			fmt.Println(e.User, e.Method, e.Verdict, "-", e.Reason)
		}
	}
	// Output:
	// ada none failed - password, keyboard-interactive are offered
	// ada password failed - wrong password
}

// The query for a key is answered with yes, its signature is refused; then all is well again.
func ExampleServer_SetFaults() {
	t := new(example)
	defer t.end()

	s := target.Start(t, target.WithFault(target.RefuseSignature()))
	fmt.Println(logsIn(s, "ada"))
	if err := s.SetFaults(target.Slow(target.AtAuth, 50*time.Millisecond)); err != nil {
		t.Fatalf("misbehave: %v", err)
	}
	began := time.Now()
	fmt.Println(logsIn(s, "ada"), time.Since(began) >= 50*time.Millisecond)
	_ = s.SetFaults() // none is no error
	fmt.Println(logsIn(s, "ada"))
	// Output:
	// false
	// true true
	// true
}

// SFTP sees the folder as "/", and nothing outside of it.
func ExampleWithSFTP() {
	t := new(example)
	defer t.end()

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "greeting"), []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := target.Start(t, target.WithSFTP(dir))
	client, err := ssh.Dial("tcp", s.Addr().String(), s.ClientConfig("ada"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	files, err := sftp.NewClient(client)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	greeting, err := files.Open("/greeting")
	if err != nil {
		t.Fatal(err)
	}
	defer greeting.Close()
	content, err := io.ReadAll(greeting)
	fmt.Printf("%s%v\n", content, err)
	_, err = files.Stat("/../../etc/passwd")
	fmt.Println(errors.Is(err, os.ErrNotExist))
	// Output:
	// hello
	// <nil>
	// true
}

// What would sshd say? The configuration and the accounts below a folder decide, as on a machine.
func ExampleWithSSHDConfig() {
	t := new(example)
	defer t.end()

	root := t.TempDir()
	for name, content := range map[string]string{
		"bin/sh":              "#!/bin/sh\n",
		"etc/passwd":          "ada:x:1000:1000::/home/ada:/bin/sh\ngrace:x:1001:1001::/home/grace:/bin/sh\n",
		"etc/ssh/sshd_config": "PasswordAuthentication no\nMatch User grace\nPasswordAuthentication yes\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := target.Start(t, target.WithRoot(root), target.WithSSHDConfig("/etc/ssh/sshd_config"),
		target.WithUser(target.User{Name: "ada", Password: "tulip"}),
		target.WithUser(target.User{Name: "grace", Password: "rose"}))
	fmt.Println(logsIn(s, "ada", ssh.Password("tulip")), logsIn(s, "grace", ssh.Password("rose")))
	// Output: false true
}

// A line of sshd_config counts without a configuration, too: here the second wrong password is the last.
func ExampleWithSettings() {
	t := new(example)
	defer t.end()

	s := target.Start(t, target.WithSettings("MaxAuthTries 2"), target.WithUser(target.User{Name: "ada", Password: "tulip"}))
	guesses := []string{"rose", "daisy", "tulip"}
	guess := ssh.RetryableAuthMethod(ssh.PasswordCallback(func() (string, error) {
		next := guesses[0]
		guesses = guesses[1:]
		return next, nil
	}), len(guesses))
	fmt.Println(logsIn(s, "ada", guess), guesses)
	// Output: false [tulip]
}
