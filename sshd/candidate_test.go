package sshd

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// matchable draws lines that may stand in a Match block as well, so that sshd
// takes whatever comes out.
func matchable() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{
		"PasswordAuthentication yes", "PasswordAuthentication no", "KbdInteractiveAuthentication yes",
		"KbdInteractiveAuthentication no", "ChallengeResponseAuthentication yes", "LogLevel VERBOSE",
		"AuthorizedKeysFile /etc/keys/%u", "PermitRootLogin yes", "# PasswordAuthentication yes", "", "MaxAuthTries 3",
		"AllowUsers ecs-user root", "X11Forwarding yes",
	})
}

func matches() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{
		"Match User ecs-user", "Match User root", "Match all", "Match Address 203.0.113.0/24", "Match Address 127.0.0.1",
		"Match LocalPort 22", "Match Group ecs-user", "match=user=ecs-user", "Match Host *", "Match LocalAddress 127.0.0.1 User root",
	})
}

func includes() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{
		"Include /etc/ssh/sshd_config.d/*.conf", "Include sshd_config.d/*.conf", "Include extra.conf",
		"Include extra.conf /etc/ssh/sshd_config.d/*.conf", "Include /etc/ssh/sshd_config.d/*", "include=/etc/ssh/extra*.conf",
		"Include /etc/ssh/sshd_config.d/0*.conf", "Include /etc/ssh/nothing-there/*.conf", "Include \"/etc/ssh/sshd_config.d/*.conf\" # all",
	})
}

// texts draws the text of one file.
func texts(line *rapid.Generator[string], most int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		newline := rapid.SampledFrom([]string{"\n", "\n", "\r\n"}).Draw(t, "newline")
		text := strings.Join(rapid.SliceOfN(line, 0, most).Draw(t, "lines"), newline)
		if text == "" || rapid.Bool().Draw(t, "unended") {
			return text
		}
		return text + newline
	})
}

// configurations draws a whole configuration.
func configurations() *rapid.Generator[written] {
	return rapid.Custom(func(t *rapid.T) written {
		w := written{others: map[string]string{}}
		w.main = texts(rapid.OneOf(matchable(), includes(), matches()), 10).Draw(t, "main")
		some := texts(rapid.OneOf(matchable(), matches()), 4)
		for _, name := range []string{"extra.conf", "sshd_config.d/00-early.conf", "sshd_config.d/50-cloud-init.conf", "sshd_config.d/99 last.conf"} {
			if rapid.Bool().Draw(t, "has "+name) {
				w.others[name] = some.Draw(t, name)
			}
		}
		return w
	})
}

// generated is how many configurations a run tries: each costs a dozen runs of
// sshd -T. They are the same in every run.
const generated = 25

// TestTheCandidateSaysWhatTheInstanceWillSay: for whatever is configured, and
// for whatever policy is there before; passwords are closed to everybody; and
// opening them again leaves no trace.
func TestTheCandidateSaysWhatTheInstanceWillSay(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	taken := 0
	for seed := range generated {
		w := configurations().Example(seed)
		w.on(t, m.Root)
		if m.sshd.Test(context.Background(), DefaultConfig) != nil {
			continue // sshd refuses it as it is
		}
		taken++
		before := m.effectiveFor(t, DefaultConfig)
		for _, policy := range []Policy{guarded, {Closed: true}, {}} {
			m.applyLikeTheCandidate(t, policy)
		}
		if diff := cmp.Diff(before, m.effectiveFor(t, DefaultConfig)); diff != "" {
			t.Errorf("not as it was (-before +after):\n%s", diff)
		}
		if m.wantAsWritten("generated", w); t.Failed() {
			t.Fatalf("with %#v (seed %d)", w, seed)
		}
	}
	if taken < generated/2 {
		t.Errorf("sshd takes only %d of %d generated configurations", taken, generated)
	}
}

// effectiveFor is what a visitor from loopback and one from outside would meet.
func (m *machine) effectiveFor(t *testing.T, file string) []Config {
	t.Helper()
	configs, err := m.sshd.BothEffective(context.Background(), file, testUser)
	if err != nil {
		t.Fatal(err)
	}
	return configs
}

// applyLikeTheCandidate writes a policy and compares with its candidate.
func (m *machine) applyLikeTheCandidate(t *testing.T, policy Policy) {
	t.Helper()
	files, err := m.sshd.ReadFiles()
	if err != nil {
		t.Fatal(err)
	}
	candidate, err := m.sshd.Prepare(files, policy)
	if err != nil {
		t.Fatal(err)
	}
	promised := m.effectiveFor(t, candidate.Config)
	if err := m.sshd.Write(files, files.With(policy)); err != nil {
		t.Fatal(err)
	}
	kept := m.effectiveFor(t, DefaultConfig)
	if diff := cmp.Diff(promised, kept); diff != "" {
		t.Errorf("%+v (-candidate +instance):\n%s", policy, diff)
	}
	if policy.Guard && (kept[0].AllowsPassword() || kept[1].AllowsPassword()) {
		t.Errorf("a password is still good: %s", m.ReadFile(DefaultConfig))
	}
	again, err := m.sshd.ReadFiles()
	if err != nil {
		t.Fatal(err)
	}
	if !again.With(policy).Equal(again) {
		t.Errorf("%+v: a second look would write again", policy)
	}
}

// TestTheCandidateIsTakenAway: and nobody but root reads it while it is there.
func TestTheCandidateIsTakenAway(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	candidate, err := m.sshd.Prepare(m.files(), guarded)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{candidate.Config, candidate.Logon} {
		info, err := os.Stat(m.Path(name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v (%v), want 0600", name, info, err)
		}
	}
	if err := m.sshd.Discard(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(m.Path("/run/latchkey"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v (%v)", left, err)
	}
}

// TestWhatACrashLeftBehindDoesNoHarm: the next candidate is written over it.
func TestWhatACrashLeftBehindDoesNoHarm(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	key := m.allow("ed25519")
	for _, name := range []string{candidateConfig, candidateDropIn, logonConfig, logonDropIn, logonKeys} {
		m.WriteFile("/run/latchkey/candidate/"+name, "Nonsense yes\n", 0o644)
	}
	if proof := m.prove(guarded, key); !proof.Closes() {
		t.Errorf("not proved: %v", proof.Causes)
	}
}
