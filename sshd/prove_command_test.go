package sshd

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// printer is a helper that prints the keys in /etc/keys.
const printer = "#!/bin/sh\n/bin/cat /etc/keys\n"

// newAsked is a machine whose helper prints the keys' lines.
func newAsked(t *testing.T, suite string, keys ...testmachine.Key) *machine {
	t.Helper()
	m := newMachineOf(t, suite)
	var lines strings.Builder
	for _, key := range keys {
		lines.WriteString(key.Line + "\n")
	}
	m.WriteFile("/etc/keys", lines.String(), 0o644)
	m.WriteFile(helper, printer, 0o755)
	return m
}

// proveBy asks the three questions about a policy, of keys that are to be found
// in the user's file, by the command, or both.
func (m *machine) proveBy(p Policy, keysFile string, command KeysCommand, keys ...testmachine.Key) *Proof {
	m.t.Helper()
	candidate, err := m.sshd.Prepare(m.files(), p)
	if err != nil {
		m.t.Fatal(err)
	}
	subject := Subject{User: testUser, UID: 1000, Groups: []string{testUser}, Home: "/home/" + testUser, KeysFile: keysFile, Command: command}
	for _, key := range keys {
		subject.Keys = append(subject.Keys, *asked(key))
	}
	return m.sshd.Prove(context.Background(), candidate, subject)
}

const usersFile = "/home/" + testUser + "/.ssh/authorized_keys"

func TestAKeyIsProvedInEachPlaceThatItIsToBeFoundIn(t *testing.T) {
	t.Parallel()
	closing := Policy{Keys: asking, Closed: true, Guard: true}
	for _, suite := range []string{"", "bullseye", "trixie"} {
		t.Run("release "+suite, func(t *testing.T) {
			t.Parallel()
			here, nowhere := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ecdsa-256")
			m := newAsked(t, suite, here)
			for name, test := range map[string]struct {
				inFile, asked    testmachine.Key
				keysFile, config string
				policy           Policy
				want             Verdict
			}{
				"by the command alone":             {nowhere, here, "", "", closing, Accepted},
				"files off":                        {here, here, "", "AuthorizedKeysFile none\n", closing, Accepted},
				"both":                             {here, here, usersFile, "", closing, Accepted},
				"in the file alone":                {nowhere, nowhere, usersFile, "", closing, Refused},
				"in the file, asked of a command":  {nowhere, nowhere, "", "", closing, Refused},
				"files of a Match block":           {nowhere, nowhere, "", "Match User " + testUser + "\n\tAuthorizedKeysFile .ssh/authorized_keys\n", closing, Refused},
				"a command of an administrator's":  {nowhere, here, "", admins(""), closing, Accepted},
				"and for the user":                 {nowhere, here, "", "Match User " + testUser + "\n" + admins("\t"), closing, Accepted},
				"passwords left open":              {nowhere, here, "", "", Policy{Keys: asking}, Accepted},
				"with an Include ahead, and files": {nowhere, nowhere, "", "Include /etc/ssh/extra.conf\n" + testmachine.DefaultSSHDConfig, closing, Refused},
			} {
				m.WriteFile("/etc/ssh/extra.conf", "Match User *\n\tAuthorizedKeysFile .ssh/authorized_keys\n", 0o644)
				m.SSHDConfig(test.config)
				m.AuthorizedKeys(testUser, test.inFile.Line)
				proof := m.proveBy(test.policy, test.keysFile, asking, test.asked)
				if proof.Key != test.want || proof.Logon != Accepted || proof.KeyWorks() != (test.want == Accepted) {
					t.Errorf("%s: key %s, want %s; logon %s\n%v", name, proof.Key, test.want, proof.Logon, proof.Causes)
				}
				if proof.Closes() != (test.want == Accepted && test.policy.Closed) {
					t.Errorf("%s: closes %v", name, proof.Closes())
				}
			}
		})
	}
}

func TestSshdIsAskedAboutEachKeyInEachPlace(t *testing.T) {
	t.Parallel()
	key := PublicKey{Type: "ssh-ed25519"}
	const config, command = "/c/config", "/c/command"
	for name, test := range map[string]struct {
		keysFile  string
		command   KeysCommand
		candidate Candidate
		want      []string
	}{
		"a file":                        {usersFile, KeysCommand{}, Candidate{Config: config}, []string{config}},
		"a file, with a command of old": {usersFile, KeysCommand{}, Candidate{Config: config, Command: command}, []string{config}},
		"a command":                     {"", asking, Candidate{Config: config, Command: command}, []string{command}},
		"both":                          {usersFile, asking, Candidate{Config: config, Command: command}, []string{config, command}},
		"neither":                       {"", KeysCommand{}, Candidate{Config: config}, []string{config}},
		"a command that is not there":   {"", asking, Candidate{Config: config}, []string{config}},
	} {
		var under []string
		for _, q := range (Subject{Keys: []PublicKey{key}, KeysFile: test.keysFile, Command: test.command}).keyQuestions(&test.candidate) {
			under = append(under, q.config)
		}
		if diff := cmp.Diff(test.want, under); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestEveryKeyHasToBeAcceptedInEveryPlace: the worst answer counts.
func TestEveryKeyHasToBeAcceptedInEveryPlace(t *testing.T) {
	t.Parallel()
	first, second := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ecdsa-256")
	m := newAsked(t, "", first)
	m.AuthorizedKeys(testUser, first.Line, second.Line)
	proof := m.proveBy(Policy{Keys: asking}, usersFile, asking, first, second)
	want := []Cause{{
		"key-refused", "key " + asked(second).Fingerprint() + ": the key is not accepted when AuthorizedKeysCommand alone is asked",
		"run sshd -d on another port and log in to see why",
	}}
	if diff := cmp.Diff(want, proof.Causes); diff != "" || proof.Key != Refused {
		t.Errorf("%s (-want +got):\n%s", proof.Key, diff)
	}
}

// TestTheOneTimeKeyComesFromNoCommand: nobody's program is asked about it.
func TestTheOneTimeKeyComesFromNoCommand(t *testing.T) {
	t.Parallel()
	m := newAsked(t, "")
	m.WriteFile("/tmp/argv", "", 0o666)
	m.WriteFile(helper, argvScript, 0o755)
	m.SSHDConfig("Include /etc/ssh/extra.conf\n" + testmachine.DefaultSSHDConfig)
	m.WriteFile("/etc/ssh/extra.conf", "Match User *\n"+asking.block(""), 0o644)
	candidate, err := m.sshd.Prepare(m.files(), Policy{Keys: asking, Closed: true})
	if err != nil {
		t.Fatal(err)
	}
	config, err := m.sshd.Effective(context.Background(), candidate.Logon, FromLoopback(testUser, 22))
	if err != nil || !cmp.Equal([]string{"none", asking.User}, commandOf(config)) && !cmp.Equal([]string{"none", "none"}, commandOf(config)) {
		t.Errorf("the command of the logon is %q (%v), want none", commandOf(config), err)
	}
	verdict, why, _ := m.sshd.LogonInetd(within(t, answerTimeout), candidate.Logon, testUser, candidate.Key)
	if argv := m.ReadFile("/tmp/argv"); verdict != Accepted || argv != "" {
		t.Errorf("%s (%s); the command was run with %q", verdict, why, argv)
	}
}

func TestAnotherCommandThanOursIsACause(t *testing.T) {
	t.Parallel()
	key := testmachine.NewKey(t, "ed25519")
	m := newAsked(t, "", key)
	for name, test := range map[string]struct {
		config, detail string
	}{
		"another command": {"AuthorizedKeysCommand /bin/cat /etc/keys\nAuthorizedKeysCommandUser nobody\n", "AuthorizedKeysCommand is /bin/cat /etc/keys, not " + asking.Command + " (/etc/ssh/sshd_config:LINE)"},
		"another user":    {"AuthorizedKeysCommand " + asking.Command + "\nAuthorizedKeysCommandUser daemon\n", "AuthorizedKeysCommandUser is daemon, not nobody (/etc/ssh/sshd_config:LINE)"},
		"from outside": {
			"Match Address 127.0.0.0/8\n\tAuthorizedKeysCommand " + asking.Command + "\n\tAuthorizedKeysCommandUser nobody\n",
			"AuthorizedKeysCommand is none, not " + asking.Command + ", for a logon from outside",
		},
	} {
		m.SSHDConfig(test.config)
		proof := m.proveBy(Policy{}, "", asking, key)
		if proof.Key != Accepted || len(proof.Causes) != 1 || proof.Causes[0].ID != "authorized-keys-command" {
			t.Errorf("%s: key %s, %+v", name, proof.Key, proof.Causes)
			continue
		}
		before, after, _ := strings.Cut(test.detail, "LINE")
		if got := proof.Causes[0].Detail; !strings.HasPrefix(got, before) || !strings.HasSuffix(got, after) {
			t.Errorf("%s: %s, want %s", name, got, test.detail)
		}
	}
}

// brokenCommands are the ways in which sshd gets nothing from a command, and the
// cause that each is told by.
var brokenCommands = map[string]struct {
	command, user string
	stage         func(m *machine) error
	cause         Cause
}{
	"fails": {
		stage: script("#!/bin/sh\n/bin/cat /etc/keys\nexit 3\n"),
		cause: Cause{"keys-command-failed", helper + " ended with status 3, so sshd took none of its keys", commandRunRemedy},
	},
	"says why": {
		stage: script("#!/bin/sh\necho latchkey-authorized-keys: the index is not root\\'s >&2\nexit 1\n"),
		cause: Cause{"keys-command-failed", "AuthorizedKeysCommand: the index is not root's", commandRunRemedy},
	},
	"is killed": {
		stage: script("#!/bin/sh\nkill -9 $$\n"),
		cause: Cause{"keys-command-failed", helper + " was ended by signal 9, so sshd took none of its keys", commandRunRemedy},
	},
	"has no interpreter": {
		stage: script("#!/nonesuch\n"),
		cause: Cause{"keys-command-failed", helper + " cannot be run: No such file or directory", "let everybody run it: chmod 755 " + helper},
	},
	"may not be run": {
		stage: func(m *machine) error { return os.Chmod(m.Path(helper), 0o700) },
		cause: Cause{"keys-command-failed", helper + " cannot be run: Permission denied", "let everybody run it: chmod 755 " + helper},
	},
	"is missing": {
		stage: func(m *machine) error { return os.Remove(m.Path(helper)) },
		cause: Cause{"keys-command-missing", "sshd finds no " + helper + ": No such file or directory", "install latchkey again"},
	},
	"others may write to it": {
		stage: func(m *machine) error { return os.Chmod(m.Path(helper), 0o777) },
		cause: Cause{"keys-command-unsafe", "sshd does not run " + helper + ": bad ownership or modes for file " + helper, commandPathRemedy},
	},
	"is somebody's": {
		stage: func(m *machine) error { return os.Chown(m.Path(helper), 1, 1) },
		cause: Cause{"keys-command-unsafe", "sshd does not run " + helper + ": bad ownership or modes for file " + helper, commandPathRemedy},
	},
	"is in a folder of others": {
		command: "/opt/keys/command %k",
		stage: func(m *machine) error {
			m.WriteFile("/opt/keys/command", printer, 0o755)
			return os.Chmod(m.Path("/opt/keys"), 0o777)
		},
		cause: Cause{"keys-command-unsafe", "sshd does not run /opt/keys/command: bad ownership or modes for directory /opt/keys", commandPathRemedy},
	},
	"is a folder": {
		command: "/usr/sbin %k",
		cause:   Cause{"keys-command-unsafe", "sshd does not run /usr/sbin: /usr/sbin is not a regular file", commandPathRemedy},
	},
	"is nobody's to run": {
		user:  "nonesuch",
		cause: Cause{"keys-command-user", "there is no account nonesuch to run AuthorizedKeysCommand", "make the account nonesuch: useradd --system --shell /usr/sbin/nologin nonesuch"},
	},
	"has an unknown token": {
		command: helper + " %u %Z",
		cause:   Cause{"keys-command-token", "AuthorizedKeysCommand has %Z, which this sshd does not know", "take %Z out of AuthorizedKeysCommand"},
	},
}

// script puts another program in the helper's place.
func script(text string) func(*machine) error {
	return func(m *machine) error { return os.WriteFile(m.Path(helper), []byte(text), 0o755) }
}

func TestWhatKeepsACommandFromAnsweringIsNamedAndNoKeyIs(t *testing.T) {
	t.Parallel()
	for _, suite := range []string{"", "bullseye", "trixie"} {
		t.Run("release "+suite, func(t *testing.T) {
			t.Parallel()
			key := testmachine.NewKey(t, "ed25519")
			blob := strings.Fields(key.Line)[1]
			for name, broken := range brokenCommands {
				m := newAsked(t, suite, key)
				keys := asking
				if broken.command != "" {
					keys.Command = broken.command
				}
				if broken.user != "" {
					keys.User = broken.user
				}
				if broken.stage != nil {
					if err := broken.stage(m); err != nil {
						t.Fatal(err)
					}
				}
				proof := m.proveBy(Policy{Keys: keys}, "", keys, key)
				if diff := cmp.Diff([]Cause{broken.cause}, proof.Causes); diff != "" || proof.Key == Accepted {
					t.Errorf("%s: key %s (-want +got):\n%s", name, proof.Key, diff)
				}
				if strings.Contains(fmt.Sprint(proof.Causes), blob) {
					t.Errorf("%s: the causes have the key in them", name)
				}
			}
		})
	}
}

// TestAnAdministratorsCommandMayFailWhereItIsNotOurs: the file's troubles are
// the cause then, as they were.
func TestAnAdministratorsCommandMayFailWhereItIsNotOurs(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	key := m.allow("ed25519")
	m.SSHDConfig("AuthorizedKeysCommand /bin/false\nAuthorizedKeysCommandUser nobody\n")
	m.Run(t, "chmod", "777", "/home/"+testUser+"/.ssh")
	proof := m.prove(Policy{}, key)
	if len(proof.Causes) != 1 || proof.Causes[0].ID != "strict-modes" {
		t.Errorf("%+v, want strict-modes alone", proof.Causes)
	}
}
