package sshd

import (
	"context"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

const helper = "/usr/sbin/latchkey-authorized-keys"

// asking has the helper asked for the keys of the test user.
var asking = KeysCommand{For: testUser, Command: helper + " %u %U %h %t %k", User: "nobody"}

// commandPolicies are all there are with a keys command.
var commandPolicies = []Policy{{Keys: asking}, {Keys: asking, Closed: true}, {Keys: asking, Closed: true, Guard: true}}

func TestTheDropInWithAKeysCommandSaysWhatIsTrue(t *testing.T) {
	t.Parallel()
	const globals = "PasswordAuthentication no\nKbdInteractiveAuthentication no\nChallengeResponseAuthentication no\n"
	const keys = "Match User ecs-user\n\tAuthorizedKeysCommand " + helper + " %u %U %h %t %k\n\tAuthorizedKeysCommandUser nobody\n"
	const guard = "Match all\n\tPasswordAuthentication no\n\tKbdInteractiveAuthentication no\n"
	for name, test := range map[string]struct {
		policy Policy
		want   string
	}{
		"keys alone":          {Policy{Keys: asking}, dropInPreambleKeys + keys},
		"the guard wanted":    {Policy{Keys: asking, Guard: true}, dropInPreambleKeys + keys},
		"and closed":          {Policy{Keys: asking, Closed: true}, dropInPreambleBoth + globals + keys},
		"closed and guarded":  {Policy{Keys: asking, Closed: true, Guard: true}, dropInPreambleBoth + globals + keys + guard},
		"keys nobody can ask": {Policy{Keys: KeysCommand{For: "*", Command: helper, User: "nobody"}}, ""},
		"nor when closed":     {Policy{Keys: KeysCommand{For: "*", Command: helper, User: "nobody"}, Closed: true}, dropInPreamble + globals},
	} {
		if diff := cmp.Diff(test.want, string(test.policy.dropIn())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if strings.Contains(dropInPreambleKeys, "password") {
		t.Error("the drop-in speaks of passwords where nothing is said of them")
	}
}

// commandNasties are configurations that a keys command could come to nothing
// on, beside the nasty ones.
var commandNasties = []struct {
	name    string
	written written
	layout  Layout
}{
	{"a command for all", written{main: debianInclude + admins("")}, LayoutDropIn},
	{"a command for all ahead of the Include", written{main: admins("") + debianInclude}, LayoutDropIn},
	{"a command for the user", written{main: debianInclude + "Match User " + testUser + "\n" + admins("\t")}, LayoutDropIn},
	{"a command for the user ahead of the Include", written{
		"Include /etc/ssh/extra.conf\n" + debianInclude, map[string]string{"extra.conf": "Match User *\n" + admins("\t")},
	}, LayoutOwnInclude},
	{"its user alone ahead of the Include", written{
		"Include /etc/ssh/extra.conf\n" + debianInclude, map[string]string{"extra.conf": "Match all\n\tAuthorizedKeysCommandUser daemon\n"},
	}, LayoutOwnInclude},
	{"a command, and no Include", written{main: "UsePAM yes\n" + admins("") + "Match all\n" + admins("\t")}, LayoutMainFile},
	{"a command, and no newline at the end", written{main: strings.TrimSuffix("UsePAM yes\n"+admins(""), "\n")}, LayoutMainFile},
	{"none for the user", written{main: debianInclude + "Match User " + testUser + "\n\tAuthorizedKeysCommand none\n\tAuthorizedKeysFile none\n"}, LayoutDropIn},
	{"files off ahead of the Include", written{
		"Include /etc/ssh/extra.conf\n" + debianInclude, map[string]string{"extra.conf": "Match User *\n\tAuthorizedKeysFile .ssh/elsewhere\n"},
	}, LayoutDropIn},
	{"passwords decided ahead of the Include", written{
		"Include /etc/ssh/extra.conf\n" + debianInclude, map[string]string{"extra.conf": reopen},
	}, LayoutDropIn},
}

// admins are an administrator's lines about a keys command.
func admins(indent string) string {
	return indent + "AuthorizedKeysCommand /usr/bin/admins-own  %u \"a b\"\n" + indent + "AuthorizedKeysCommandUser daemon\n"
}

func TestAKeysCommandHasEffectOnEveryConfiguration(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for _, test := range commandNasties {
		test.written.on(t, m.Root)
		if got := m.files().Layout(Policy{Keys: asking}); got != test.layout {
			t.Errorf("%s: layout %s, want %s", test.name, got, test.layout)
		}
		m.askEverywhere(test.name, test.written, commandPolicies...)
	}
	for i, test := range nasty {
		test.written.on(t, m.Root)
		m.askEverywhere(test.name, test.written, commandPolicies[i%len(commandPolicies)])
	}
}

// askEverywhere brings the files to policies with a keys command, and back.
func (m *machine) askEverywhere(name string, w written, policies ...Policy) {
	m.t.Helper()
	before := m.everyone()
	for _, policy := range policies {
		m.write(policy)
		after := m.everyone()
		for i, config := range after[:2] {
			if diff := cmp.Diff([]string{asking.Command, asking.User}, commandOf(config)); diff != "" {
				m.t.Errorf("%s: %+v: %s (-want +got):\n%s", name, policy, visitors()[i].arg(), diff)
			}
		}
		if diff := cmp.Diff(commandOf(before[2]), commandOf(after[2])); diff != "" {
			m.t.Errorf("%s: %+v: root's command is another one (-before +after):\n%s", name, policy, diff)
		}
		if policy.Guard && (after[0].AllowsPassword() || after[1].AllowsPassword() || after[2].AllowsPassword()) {
			m.t.Errorf("%s: a password is still good", name)
		}
		files := m.files()
		if !files.With(policy).Equal(files) || files.Closed() != policy.Closed || files.HoldsClosed() != policy.Closed || !files.Holds() {
			m.t.Errorf("%s: %+v: closed %v, holds closed %v, holds %v", name, policy, files.Closed(), files.HoldsClosed(), files.Holds())
		}
		if diff := cmp.Diff(policy, files.Held(), cmp.AllowUnexported(Policy{})); diff != "" {
			m.t.Errorf("%s: held (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(withoutCommand(before), withoutCommand(after)); diff != "" && !policy.Closed {
			m.t.Errorf("%s: a keys command alone changes more (-before +after):\n%s", name, diff)
		}
	}
	m.write(Policy{})
	if diff := cmp.Diff(before, m.everyone()); diff != "" {
		m.t.Errorf("%s: not as before (-before +after):\n%s", name, diff)
	}
	m.wantAsWritten(name, w)
}

// commandOf is the keys command in a configuration, and its user.
func commandOf(config Config) []string {
	return []string{strings.Join(config[commandKeyword], "|"), strings.Join(config[commandUserKeyword], "|")}
}

// withoutCommand is all the rest of the configurations.
func withoutCommand(configs []Config) []Config {
	var rest []Config
	for _, config := range configs {
		config = maps.Clone(config)
		delete(config, commandKeyword)
		delete(config, commandUserKeyword)
		rest = append(rest, config)
	}
	return rest
}

// oddNames are names that accounts can have in a directory, and whether a Match
// User can name them and nobody else.
var oddNames = map[string]bool{
	"ecs-user": true, "ecs.user_1": true, "machine$": true, "user@example.org": true, `DOMAIN\user`: true, "Jörg": true,
	"jane doe": true, "a=b": true, "=a": true, "o'neill": true, "-a": true, "%u": true, "a:b": true, `a\ b`: true, "a\u00a0b": true,
	"~": true, "[a]": true, "a;b": true, "$HOME": true, "\u2028": true, "none": true, "all": true,
	"": false, "a*": false, "a?b": false, "!a": false, "a,b": false, "#a": false, "a#b": false, `a"b`: false, `a\`: false, `a\\b`: false, `a\'b`: false,
	"a\nb": false, "a\tb": false, "a\rb": false, "a\x7fb": false, strings.Repeat("a", 1023): false, strings.Repeat("a", 1022): true,
}

func TestAMatchBlockNamesOneUserExactlyOrIsRefused(t *testing.T) {
	t.Parallel()
	for _, suite := range []string{"", "bullseye", "trixie"} {
		t.Run("release "+suite, func(t *testing.T) {
			t.Parallel()
			m := newMachineOf(t, suite)
			for name, exact := range oddNames {
				keys := KeysCommand{For: name, Command: helper + " %u", User: "nobody"}
				if err := keys.Validate(); (err == nil) != exact {
					t.Errorf("%q: %v; can be named: %v", name, err, exact)
				}
				if exact {
					m.wantAskedForAlone(keys)
				}
			}
		})
	}
}

// wantAskedForAlone checks whom Match User is about, by sshd's word and by ours.
func (m *machine) wantAskedForAlone(keys KeysCommand) {
	m.t.Helper()
	m.write(Policy{Keys: keys})
	for name, want := range map[string]string{keys.For: keys.Command, keys.For + "x": "none", keys.For[1:]: "none", "x" + keys.For: "none"} {
		config, err := m.sshd.Effective(context.Background(), DefaultConfig, FromLoopback(name, 22))
		if err != nil {
			m.t.Errorf("%q: %v", keys.For, err)
			continue
		}
		if got := strings.Join(config[commandKeyword], "|"); got != want {
			m.t.Errorf("%q: the command for %q is %q, want %q", keys.For, name, got, want)
		}
	}
	if diff := cmp.Diff(keys, m.files().Held().Keys); diff != "" {
		m.t.Errorf("read back (-want +got):\n%s", diff)
	}
}

func TestACommandThatSshdWouldReadOtherwiseIsRefused(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]error{
		helper: nil, helper + " %u -- /usr/bin/x \"a b\" 'c' d\\ e #f": nil, helper + "\t%u": nil,
		"": errNotAbsolute, "latchkey-authorized-keys %u": errNotAbsolute, "none": errNotAbsolute, `"/usr/sbin/x" %u`: errNotAbsolute, " /x": errNotAbsolute,
		helper + " %u\nPermitRootLogin yes": errControl, helper + "\r": errControl, helper + " \x00": errControl,
		helper + " ": errOuterBlanks, helper + ` "a`: errCommandQuote, helper + ` 'a`: errCommandQuote,
	} {
		err := KeysCommand{For: testUser, Command: command, User: "nobody"}.Validate()
		if (want == nil) != (err == nil) || want != nil && !strings.HasSuffix(err.Error(), want.Error()) {
			t.Errorf("%q: %v, want %v", command, err, want)
		}
	}
	for user, want := range map[string]bool{"latchkey-keys": true, "%u": true, "a b": true, "": false, "a\nb": false, `a"b`: false} {
		if err := (KeysCommand{For: testUser, Command: helper, User: user}).Validate(); (err == nil) != want {
			t.Errorf("user %q: %v", user, err)
		}
	}
	if err := (KeysCommand{}).Validate(); err != nil {
		t.Errorf("no command: %v", err)
	}
}

func TestACandidateOfWhatCannotBeWrittenIsRefused(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	if _, err := m.sshd.Prepare(m.files(), Policy{Closed: true, Keys: KeysCommand{For: "*", Command: helper, User: "nobody"}}); err == nil {
		t.Error("a candidate was made for the user *")
	}
}

// argvScript writes its arguments, one a line, and prints the keys in a file.
const argvScript = "#!/bin/sh\nprintf '%s\\n' \"$#\" \"$@\" > /tmp/argv\n/bin/cat /etc/keys\n"

// standIn prints nothing of its own, and runs what follows "--".
const standIn = "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec \"$@\"\n"

// TestAnAdministratorsCommandGetsTheSameArgumentsInTheChain: and sshd shows its
// words as they were written.
func TestAnAdministratorsCommandGetsTheSameArgumentsInTheChain(t *testing.T) {
	t.Parallel()
	for _, suite := range []string{"", "bullseye", "trixie"} {
		t.Run("release "+suite, func(t *testing.T) {
			t.Parallel()
			m := newMachineOf(t, suite)
			key := testmachine.NewKey(t, "ed25519")
			m.WriteFile("/etc/keys", key.Line+"\n", 0o644)
			m.WriteFile("/usr/bin/admins", argvScript, 0o755)
			m.WriteFile("/usr/bin/admin%u", argvScript, 0o755)
			m.WriteFile(helper, standIn, 0o755)
			for _, words := range []string{
				"/usr/bin/admins %u", "/usr/bin/admins", "/usr/bin/admin%u %u", "/usr/bin/admin%u",
				`/usr/bin/"admin%u" a`, `/usr/"bi"n/admins`,
				`/usr/bin/admins  "a b"	%u "%h/.ssh" '%t' c\ d "e\"f" "" g`, `/usr/bin/admins -- %f %% %k`,
				`/usr/bin/admins a\b "c\d" \"e\" '"'`, `/usr/bin/admins "" %U`, "/usr/bin/admins %u # really",
			} {
				admin := KeysCommand{For: testUser, Command: words, User: "root"}
				before := m.argvOf(key, "AuthorizedKeysFile none\n"+admin.block(""))
				if older := suite == "bullseye" && strings.Contains(words, `/"`); !older && !strings.HasPrefix(before, "accepted") {
					t.Errorf("%s: the command does not work by itself: %s", words, before)
				}
				chained := KeysCommand{For: testUser, Command: admin.After(helper + " %u %U %h %t %k --"), User: "root"}
				if diff := cmp.Diff(before, m.argvOf(key, "AuthorizedKeysFile none\n"+chained.block(""))); diff != "" {
					t.Errorf("%s: arguments in the chain (-before +after):\n%s", words, diff)
				}
				if strings.Contains(words, "#") && suite == "bullseye" {
					continue // 8.4 begins a comment there
				}
				if diff := cmp.Diff([]string{chained.Command, "root"}, commandOf(m.effective())); diff != "" {
					t.Errorf("%s: sshd prints (-want +got):\n%s", words, diff)
				}
			}
		})
	}
}

// argvOf is what becomes of a query under a configuration, and the arguments
// that the administrator's program was given.
func (m *machine) argvOf(key testmachine.Key, config string) string {
	m.t.Helper()
	m.WriteFile("/tmp/argv", "never run\n", 0o666)
	m.SSHDConfig(config)
	answer, _ := m.sshd.QueryInetd(within(m.t, answerTimeout), DefaultConfig, testUser, asked(key))
	return string(answer.Key) + "\n" + m.ReadFile("/tmp/argv")
}
