package target

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

// conversation answers keyboard-interactive by the texts of the questions, and remembers them.
type conversation struct {
	answers map[string]string
	rounds  []string // the questions of each round, echoed ones with a +
}

func (c *conversation) method() ssh.AuthMethod {
	return ssh.KeyboardInteractive(func(_, _ string, questions []string, echos []bool) ([]string, error) {
		var asked, answers []string
		for i, question := range questions {
			answers = append(answers, c.answers[question])
			if echos[i] {
				question += "+"
			}
			asked = append(asked, question)
		}
		c.rounds = append(c.rounds, strings.Join(asked, ","))
		return answers, nil
	})
}

// twoRounds is a user who is asked for three things.
func twoRounds() Option {
	return WithUser(User{Name: "alice", Prompts: [][]Prompt{
		{{Text: "Name: ", Echo: true, Answer: "Alice"}, {Text: "PIN: ", Answer: "1234"}},
		{{Text: "Code: ", Answer: "987654"}},
	}})
}

func TestEveryRoundIsAskedAndEveryAnswerCounts(t *testing.T) {
	f := serve(t, nil, twoRounds(), WithUser(User{Name: "bob", Password: "rose"}))
	right := map[string]string{"Name: ": "Alice", "PIN: ": "1234", "Code: ": "987654"}
	questions := []string{"Name: +,PIN: ", "Code: "}
	for _, test := range []struct {
		name, user, question, answer string
		want                         bool
	}{
		{"all right", "alice", "", "", true},
		{"first wrong", "alice", "Name: ", "Bob", false},
		{"second wrong", "alice", "PIN: ", "12345", false},
		{"third wrong", "alice", "Code: ", "", false},
		{"a user who is not known", "mallory", "", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			talk := &conversation{answers: map[string]string{}}
			for question, answer := range right {
				talk.answers[question] = answer
			}
			if test.question != "" {
				talk.answers[test.question] = test.answer
			}
			if got := f.admits(t, test.user, talk.method()); got != test.want {
				t.Errorf("logged in: %v: %s", got, f.reasons())
			}
			if diff := cmp.Diff(questions, talk.rounds); diff != "" {
				t.Error(diff)
			}
		})
	}
	if f.admits(t, "bob", (&conversation{answers: right}).method()) || !f.admits(t, "bob", answering("rose")) {
		t.Error("a user without prompts is not asked for the password")
	}
	if strings.Contains(logged(f), "1234") {
		t.Error("an answer is in the log")
	}
}

func TestTheAnswersOfOneUserLetInNoOther(t *testing.T) {
	f := serve(t, accounts(map[string]string{configFile: ""}), WithSSHDConfig(configFile), twoRounds())
	right := map[string]string{"Name: ": "Alice", "PIN: ": "1234", "Code: ": "987654"}
	for user, want := range map[string]bool{"alice": true, "bob": false} {
		if got := f.admits(t, user, (&conversation{answers: right}).method()); got != want {
			t.Errorf("%s: logged in: %v: %s", user, got, f.reasons())
		}
	}
}

func TestAPromptWithoutAnAnswerLetsNobodyIn(t *testing.T) {
	f := serve(t, nil, WithUser(User{Name: "alice", Prompts: [][]Prompt{{{Text: "?"}}}}))
	if f.admits(t, "alice", answering("")) {
		t.Error("logged in by nothing")
	}
}

func TestUsersThatCannotBeMeantAreRefused(t *testing.T) {
	cert := withCertificate(t, newKey(t).Signer, newKey(t).Signer, nil).PublicKey()
	for _, test := range []struct {
		option Option
		want   string
	}{
		{WithUser(User{Name: "alice", Prompts: [][]Prompt{{}, {}}}), "user alice: prompts without a question"},
		{WithUser(User{Name: "alice", Password: "x", Methods: "publickey,pasword"}), `unknown method "pasword"`},
		{WithUser(User{Name: "alice", Password: "x", Methods: "password,"}), `unknown method ""`},
		{WithUserCA(cert), "a certificate is no authority"},
	} {
		if _, err := New(test.option); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v, want %s", err, test.want)
		}
	}
}

func TestNobodyButTheUsersGivenLogsIn(t *testing.T) {
	key, own := newKey(t), newKey(t)
	f := serve(t, map[string]string{"/keys/bob": own.Line}, WithAuthorizedKeys(key.Line),
		WithUser(User{Name: "alice"}), WithUser(User{Name: "bob", AuthorizedKeysFile: "/keys/%u"}))
	for _, test := range []struct {
		user string
		key  ssh.Signer
		want bool
	}{
		{"alice", key.Signer, true},
		{"bob", key.Signer, true},
		{"bob", own.Signer, true},
		{"alice", own.Signer, false},
		{"mallory", key.Signer, false},
	} {
		if got := f.admits(t, test.user, ssh.PublicKeys(test.key)); got != test.want {
			t.Errorf("%s: logged in: %v", test.user, got)
		}
	}
}

func TestEveryUserHasMethodsOfTheirOwn(t *testing.T) {
	first, second, forced, other := newKey(t), newKey(t), newKey(t), newKey(t)
	lines := first.Line + "\n" + second.Line + "\ncommand=\"a\" " + forced.Line + "\ncommand=\"b\" " + other.Line + "\n"
	key := func(s ssh.Signer) ssh.AuthMethod { return ssh.PublicKeys(s) }
	one, two, tulip := key(first.Signer), key(second.Signer), ssh.Password("tulip")
	for _, test := range []struct {
		name, methods string
		steps         []ssh.AuthMethod
		want          bool
	}{
		{"any, by key", "", []ssh.AuthMethod{one}, true},
		{"any, by password", "", []ssh.AuthMethod{tulip}, true},
		{"key then password", "publickey,password", []ssh.AuthMethod{one, tulip}, true},
		{"password before the key", "publickey,password", []ssh.AuthMethod{tulip, one}, false},
		{"key then prompts", "publickey,keyboard-interactive", []ssh.AuthMethod{one, answering("tulip")}, true},
		{"key then prompts, wrong", "publickey,keyboard-interactive", []ssh.AuthMethod{one, answering("rose")}, false},
		{"prompts, wrong and then right", "publickey,keyboard-interactive", []ssh.AuthMethod{one, answering("rose"), answering("tulip")}, true},
		{"prompts of PAM", "keyboard-interactive:pam,publickey", []ssh.AuthMethod{answering("tulip"), one}, true},
		{"prompts of what is not there", "keyboard-interactive:skey", []ssh.AuthMethod{answering("tulip")}, false},
		{"three", "publickey,password,keyboard-interactive", []ssh.AuthMethod{one, tulip, answering("tulip")}, true},
		{"three without the last", "publickey,password,keyboard-interactive", []ssh.AuthMethod{one, tulip}, false},
		{"two keys and a password", "publickey,publickey,password", []ssh.AuthMethod{one, two, tulip}, true},
		{"one key twice and a password", "publickey,publickey,password", []ssh.AuthMethod{one, one, tulip}, false},
		{"the second of two ways", "publickey,password password,publickey", []ssh.AuthMethod{tulip, one}, true},
		{"the longer of two ways", "password publickey,publickey", []ssh.AuthMethod{one, two}, true},
		{"a mixture of two ways", "publickey,password password,keyboard-interactive", []ssh.AuthMethod{one, answering("tulip")}, false},
		{"two keys with commands that differ", "publickey,publickey", []ssh.AuthMethod{key(forced.Signer), key(other.Signer)}, false},
		{"a key with a command and one without", "publickey,publickey", []ssh.AuthMethod{key(forced.Signer), one}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := serve(t, nil, WithUser(User{Name: "alice", Password: "tulip", AuthorizedKeys: lines, Methods: test.methods}))
			if got := admitsInOrder(f, "alice", slices.Clone(test.steps)); got != test.want {
				t.Errorf("logged in: %v\n%s", got, logged(f))
			}
		})
	}
}

func TestAnUnknownUserLooksLikeAWrongKey(t *testing.T) {
	key := newKey(t)
	f := serve(t, nil, WithUser(User{Name: "alice", Password: "tulip", AuthorizedKeys: key.Line}))
	if diff := cmp.Diff(f.methods(t, "alice"), f.methods(t, "mallory")); diff != "" {
		t.Error(diff)
	}
	said := map[string]string{}
	for _, user := range []string{"alice", "mallory"} {
		_, err := f.login(user, ssh.PublicKeys(newKey(t).Signer), ssh.Password("rose"), answering("rose"))
		if err == nil {
			t.Fatal("logged in")
		}
		said[user] = err.Error()
	}
	if diff := cmp.Diff(said["alice"], said["mallory"]); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(f.reasons(), "no such user") {
		t.Errorf("the log does not tell: %s", f.reasons())
	}
}

func TestWhatTheLibraryRefusesByItselfIsToldToo(t *testing.T) {
	key := newKey(t)
	f := serve(t, nil, WithAuthorizedKeys(key.Line))
	other := newKey(t).Signer
	admitsInOrder(f, "alice", []ssh.AuthMethod{ssh.PublicKeys(other), ssh.PublicKeys(other), ssh.Password("tulip")})
	var told []string
	for _, e := range f.attempts {
		told = append(told, e.Method+": "+e.Reason)
	}
	want := []string{
		"publickey: no line of authorized_keys has the key", "publickey: no line of authorized_keys has the key",
		"password: ssh: password auth not configured",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
}

func TestAKeysFunctionThatFailsRefuses(t *testing.T) {
	key, ca := newKey(t), newKey(t)
	f := serve(t, nil, WithAuthorizedKeysFunc(func(user string) ([]byte, error) {
		if user == "bob" {
			return nil, errors.New("the directory is away")
		}
		return []byte(key.Line), nil
	}), WithAuthorizedKeys(key.Line), WithUserCA(ca.Signer.PublicKey()))
	if !f.admits(t, "alice", ssh.PublicKeys(key.Signer)) {
		t.Error(f.reasons())
	}
	_, err := f.login("bob", ssh.PublicKeys(key.Signer))
	if err == nil || strings.Contains(err.Error(), "directory") {
		t.Errorf("the client was told %v", err)
	}
	if got := f.reasons(); got != "the directory is away" {
		t.Errorf("the log was told %q", got)
	}
	cert := withCertificate(t, key.Signer, ca.Signer, naming("alice", "bob"))
	if !f.admits(t, "alice", ssh.PublicKeys(cert)) || f.admits(t, "bob", ssh.PublicKeys(cert)) {
		t.Errorf("by a certificate: %s", f.reasons())
	}
}

func TestTheLineInForceIsThatOfTheSignature(t *testing.T) {
	key := newKey(t)
	f := serve(t, map[string]string{"/keys/alice": key.Line}, WithAuthorizedKeysFile(keysFile))
	signer := &beforeSigning{Signer: key.Signer, do: func() { f.write(t, "/keys/alice", `command="echo forced" `+key.Line) }}
	client, err := f.login("alice", ssh.PublicKeys(signer))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if out, _ := run(t, client, "echo asked"); out != "forced\n" {
		t.Errorf("output %q", out)
	}
}

func TestEventsNameTheClientsProgram(t *testing.T) {
	f := serve(t, nil, alice())
	f.admits(t, "alice", ssh.Password("tulip"))
	for _, e := range f.attempts {
		if e.Client != "SSH-2.0-Go" {
			t.Errorf("client %q in %s", e.Client, e)
		}
	}
}

func TestKeysOfAllSourcesLogIn(t *testing.T) {
	keys := []ssh.Signer{}
	var lines []string
	for range 5 {
		key := newKey(t)
		keys, lines = append(keys, key.Signer), append(lines, key.Line)
	}
	files := map[string]string{"/keys/one": lines[0], "/keys/two": strings.Repeat("# a comment\n", 1<<17) + lines[1]}
	f := serve(t, files, WithAuthorizedKeysFile("/keys/one"), WithAuthorizedKeysFile("/keys/missing"),
		WithAuthorizedKeysFile("/keys/two"), WithAuthorizedKeys(lines[2]),
		WithAuthorizedKeysFunc(func(string) ([]byte, error) { return []byte(lines[3]), nil }))
	for i, key := range keys {
		if got, want := f.admits(t, "alice", ssh.PublicKeys(key)), i < 4; got != want {
			t.Errorf("key %d: logged in: %v", i, got)
		}
	}
}

func TestWhatIsNoFileHasNoKeys(t *testing.T) {
	key := newKey(t)
	f := serve(t, map[string]string{"/keys/x": ""}, WithAuthorizedKeysFile(keysFile))
	path := filepath.Join(f.root, "keys/alice")
	for name, put := range map[string]func() error{
		"folder":          func() error { return os.Mkdir(path, 0o700) },
		"link to nothing": func() error { return os.Symlink("nothing", path) },
		"link to itself":  func() error { return os.Symlink("alice", path) },
	} {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if f.admits(t, "alice", ssh.PublicKeys(key.Signer)) {
			t.Errorf("%s: logged in", name)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// named is a client that calls itself so. That of x/crypto/ssh cannot change its mind.
type named struct {
	ssh.ConnMetadata
	user string
}

func (n named) User() string { return n.user }

func TestAClientThatChangesItsUserIsCutOff(t *testing.T) {
	s, err := New(WithUser(User{Name: "alice", Password: "tulip"}), WithUser(User{Name: "bob", Password: "tulip"}))
	if err != nil {
		t.Fatal(err)
	}
	client, server := net.Pipe()
	defer client.Close()
	c := s.newConnection(server)
	for _, step := range []struct {
		user string
		want error
	}{{"alice", nil}, {"alice", nil}, {"bob", errUserChanged}} {
		if _, err := c.policyOf(named{user: step.user}); !errors.Is(err, step.want) {
			t.Errorf("%s: %v, want %v", step.user, err, step.want)
		}
	}
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection is open: %v", err)
	}
}
