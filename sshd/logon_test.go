package sshd

import (
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// logon is question (c) alone, under the configuration as it is.
func (m *machine) logon(config string) (Verdict, string, string) {
	m.t.Helper()
	m.SSHDConfig(config)
	candidate, err := m.sshd.Prepare(m.files(), Policy{})
	if err != nil {
		m.t.Fatal(err)
	}
	verdict, why, log := m.sshd.LogonInetd(within(m.t, 30*time.Second), candidate.Logon, testUser, candidate.Key)
	return verdict, why, strings.Join(log, "\n")
}

func TestAWholeLogonProvesTheAccount(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, config string
		stage        func(t *testing.T, m *machine)
		want         Verdict
	}{
		{name: "sound", want: Accepted},
		{name: "sound, with Debian's configuration", config: testmachine.DefaultSSHDConfig, want: Accepted},
		{name: "keys in a place of their own", config: "AuthorizedKeysFile none\n", want: Accepted},
		{name: "keys in a place of their own for some", config: "Match User " + testUser + "\n\tAuthorizedKeysFile none\n", want: Accepted},
		{name: "keys from a command", config: "AuthorizedKeysCommand /bin/false\nAuthorizedKeysCommandUser nobody\n", want: Accepted},
		{name: "nologin shell", config: "UsePAM yes\n", stage: userCommand("usermod", "-s", "/usr/sbin/nologin", testUser), want: Refused},
		{name: "expired", config: "UsePAM yes\n", stage: userCommand("usermod", "-e", "2001-01-01", testUser), want: Refused},
		{name: "password must be changed", config: "UsePAM yes\n", stage: userCommand("chage", "-d", "0", testUser), want: Refused},
		{name: "locked is no matter with PAM", config: "UsePAM yes\n", stage: userCommand("usermod", "-L", testUser), want: Accepted},
		{name: "locked without PAM", config: "UsePAM no\n", stage: userCommand("usermod", "-L", testUser), want: Refused},
		{name: "/etc/nologin", stage: func(_ *testing.T, m *machine) { m.WriteFile("/etc/nologin", "closed\n", 0o644) }, want: Refused},
		{name: "second factor", config: "AuthenticationMethods publickey,password\n", want: Refused},
		{name: "ForceCommand", config: "ForceCommand /bin/false\n", want: Refused},
		{name: "bad ChrootDirectory", config: "ChrootDirectory /home/" + testUser + "\n", want: Refused},
		{name: "publickey off", config: "PubkeyAuthentication no\n", want: Refused},
		{name: "no way of speaking with us", config: "KexAlgorithms sntrup761x25519-sha512@openssh.com\n", want: Unknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			if test.stage != nil {
				test.stage(t, m)
			}
			if got, why, log := m.logon(test.config); got != test.want || (why == "") != (got == Accepted) {
				t.Errorf("%s (%s), want %s\n%s", got, why, test.want, log)
			}
		})
	}
}

func userCommand(name string, args ...string) func(*testing.T, *machine) {
	return func(t *testing.T, m *machine) {
		t.Helper()
		m.Run(t, name, args...)
	}
}

// TestTheOneTimeKeyOpensNothingElse: it is known to the logon candidate alone.
func TestTheOneTimeKeyOpensNothingElse(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.StartSSHD()
	candidate, err := m.sshd.Prepare(m.files(), Policy{Closed: true, Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Login(t, testUser, candidate.Key.signers[0]); err == nil {
		t.Error("the running sshd lets the one-time key in")
	}
	if verdict, _, _ := m.sshd.LogonInetd(within(t, 20*time.Second), candidate.Config, testUser, candidate.Key); verdict != Refused {
		t.Errorf("under the candidate itself: %s, want refused", verdict)
	}
	other, err := NewOneTimeKey()
	if err != nil {
		t.Fatal(err)
	}
	if verdict, _, _ := m.sshd.LogonInetd(within(t, 20*time.Second), candidate.Logon, testUser, other); verdict != Refused {
		t.Errorf("another one-time key: %s, want refused", verdict)
	}
	if err := m.sshd.Discard(); err != nil {
		t.Error(err)
	}
}
