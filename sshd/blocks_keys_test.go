package sshd

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// besideOurs is an administrator's text whose lines are like ours.
const besideOurs = "UsePAM yes\n" + "AuthorizedKeysCommand /usr/bin/own %u\nAuthorizedKeysCommandUser nobody\n" +
	"Match User ecs-user\n\tAuthorizedKeysCommand /usr/bin/own %u\n\tAuthorizedKeysCommandUser daemon\n" +
	"Match all\n\tPasswordAuthentication no\n"

// commandLines are those that the block of the keys command consists of.
func commandLines() []string {
	return strings.Split(strings.TrimSuffix(markedKeys(asking.block(""), false), "\n"), "\n")
}

func TestADamagedKeysCommandBlockGoesWhollyAndAlone(t *testing.T) {
	t.Parallel()
	for _, policy := range commandPolicies {
		whole := string(withBlocks([]byte(besideOurs), policy))
		damages := map[string]string{
			"whole":                         whole,
			"twice":                         string(withBlocks([]byte(whole), policy)),
			"two commands":                  string(withBlocks([]byte(whole), Policy{Keys: KeysCommand{For: "root", Command: helper, User: "daemon"}})),
			"other white space":             strings.ReplaceAll(whole, "\tAuthorizedKeysCommand "+helper, "    AuthorizedKeysCommand "+helper),
			"a block of an Include as well": string(withInclude([]byte(whole))),
			"another command in it":         strings.Replace(whole, asking.Command, "/usr/bin/mine %u", 1),
			"another user in it":            strings.Replace(whole, "\nMatch User ecs-user\n", "\nMatch User root\n", 1),
		}
		for _, line := range commandLines() {
			damages["without "+line] = strings.Replace(whole, line+"\n", "", 1)
		}
		for name, damaged := range damages {
			if damaged == whole && name != "whole" {
				t.Errorf("%s: not staged", name)
			}
			if diff := cmp.Diff(besideOurs, string(withoutBlocks([]byte(damaged)))); diff != "" {
				t.Errorf("%+v: %s (-want +got):\n%s\nof\n%s", policy, name, diff, damaged)
			}
		}
		crlf := strings.NewReplacer("\n", "\r\n")
		if diff := cmp.Diff(crlf.Replace(besideOurs), string(withoutBlocks([]byte(crlf.Replace(whole))))); diff != "" {
			t.Errorf("saved with CRLF (-want +got):\n%s", diff)
		}
	}
}

// TestAMarkAloneTakesNobodysLines: what follows it is the administrator's.
func TestAMarkAloneTakesNobodysLines(t *testing.T) {
	t.Parallel()
	const foreign = "Match User alice\n\tAuthorizedKeysCommand " + helper + " %u\n\tAuthorizedKeysCommandUser daemon\nMatch Address 10.0.0.0/8\n\tBanner none\n"
	all := commandLines()
	for name, text := range map[string]string{
		"the first": all[0] + "\n" + foreign,
		"the last":  foreign + all[len(all)-1] + "\n",
		"both":      all[0] + "\n" + all[len(all)-1] + "\n" + foreign,
	} {
		if diff := cmp.Diff(foreign, string(withoutBlocks([]byte(text)))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestALineWrittenIntoTheKeysCommandBlockIsKept(t *testing.T) {
	t.Parallel()
	whole := string(withBlocks([]byte("UsePAM yes\n"), Policy{Keys: asking}))
	edited := strings.Replace(whole, "\tAuthorizedKeysCommandUser nobody\n", "\tMaxAuthTries 3\n\tAuthorizedKeysCommandUser nobody\n", 1)
	if diff := cmp.Diff("UsePAM yes\n\tMaxAuthTries 3\n", string(withoutBlocks([]byte(edited)))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestWhatFollowsTheKeysCommandBlockIsForEverybody: as it would be without it.
func TestWhatFollowsTheKeysCommandBlockIsForEverybody(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	written{main: "UsePAM yes"}.on(t, m.Root)
	m.write(Policy{Keys: asking})
	m.WriteFile(DefaultConfig, m.ReadFile(DefaultConfig)+"MaxAuthTries 3\nX11Forwarding yes\n"+admins(""), 0o644)
	everyone := m.everyone()
	for i, config := range everyone {
		if config.Get("maxauthtries") != "3" || config.Get("x11forwarding") != "yes" {
			t.Errorf("%s: MaxAuthTries %s, X11Forwarding %s", visitors()[i].arg(), config.Get("maxauthtries"), config.Get("x11forwarding"))
		}
	}
	if command := commandOf(everyone[2]); command[1] != "daemon" {
		t.Errorf("root's command is %q", command)
	}
	want := KeysCommand{For: testUser, Command: "/usr/bin/admins-own  %u \"a b\"", User: "daemon"}
	if admin, err := m.files().AdminKeysCommand(testUser, nil); err != nil || admin != want {
		t.Errorf("the administrator's command is %+v (%v), want %+v", admin, err, want)
	}
	m.write(Policy{})
	if diff := cmp.Diff("UsePAM yes\nMaxAuthTries 3\nX11Forwarding yes\n"+admins(""), m.ReadFile(DefaultConfig)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// commandConfigLines draws lines as they may stand around a keys command.
func commandConfigLines() *rapid.Generator[string] {
	return rapid.OneOf(configLines(), rapid.Custom(func(t *rapid.T) string {
		line := rapid.SampledFrom([]string{
			"AuthorizedKeysCommand " + helper, "AuthorizedKeysCommandUser nobody", "Match User ecs-user", "\tAuthorizedKeysCommand none",
			"# BEGIN latchkey", "# BEGIN latchkey keys command", "# END latchkey keys command -", "Match User *",
		}).Draw(t, "line")
		return line + rapid.SampledFrom([]string{"\n", "\n", "\n", "\r\n", ""}).Draw(t, "end")
	}))
}

func TestAskingACommandAndNoMoreIsNothingToAnyText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		original := strings.Join(rapid.SliceOf(commandConfigLines()).Draw(t, "lines"), "")
		policy := rapid.SampledFrom(commandPolicies).Draw(t, "policy")
		if diff := cmp.Diff(original, string(withoutBlocks(withBlocks([]byte(original), policy)))); diff != "" {
			t.Errorf("(-before +after):\n%s", diff)
		}
		if diff := cmp.Diff(original, string(withoutBlocks([]byte(original)))); diff != "" {
			t.Errorf("without a block (-before +after):\n%s", diff)
		}
	})
}

// TestNoDamageTakesALineOfSomebodyElses: whichever lines of ours are lost.
func TestNoDamageTakesALineOfSomebodyElses(t *testing.T) {
	t.Parallel()
	const mine = "MaxSessions 3\n"
	all := commandLines()
	rapid.Check(t, func(t *rapid.T) {
		var damaged, left strings.Builder
		for _, line := range all {
			switch rapid.SampledFrom([]string{"keep", "keep", "lose", "write above"}).Draw(t, line) {
			case "write above":
				damaged.WriteString(mine)
				left.WriteString(mine)
				fallthrough
			case "keep":
				damaged.WriteString(line + "\n")
			}
		}
		got := string(withoutBlocks([]byte(besideOurs + damaged.String() + mine)))
		if !strings.HasPrefix(got, besideOurs) || strings.Count(got, mine) != strings.Count(left.String()+mine, mine) {
			t.Errorf("of\n%s\nis left\n%s", damaged.String(), got)
		}
	})
}
