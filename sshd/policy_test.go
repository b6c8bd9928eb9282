package sshd

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

var guarded = Policy{Closed: true, Guard: true}

func TestTheDropInSaysWhatItIsAndClosesBothMethods(t *testing.T) {
	t.Parallel()
	const globals = "PasswordAuthentication no\nKbdInteractiveAuthentication no\nChallengeResponseAuthentication no\n"
	const guard = "Match all\n\tPasswordAuthentication no\n\tKbdInteractiveAuthentication no\n"
	for _, test := range []struct {
		name   string
		policy Policy
		want   string
	}{
		{"open", Policy{}, ""},
		{"open, with the guard wanted", Policy{Guard: true}, ""},
		{"closed", Policy{Closed: true}, dropInPreamble + globals},
		{"closed and guarded", guarded, dropInPreamble + globals + guard},
	} {
		got := test.policy.dropIn()
		if diff := cmp.Diff(test.want, string(got)); diff != "" || (got == nil) != (test.want == "") {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// written is a configuration as somebody else wrote it: "main", and the other
// files by their names below /etc/ssh.
type written struct {
	main   string
	others map[string]string
}

// on puts the configuration below a root folder, in place of any before.
func (w written) on(t interface{ Fatal(...any) }, root string) {
	dir := root + "/etc/ssh/"
	err := os.RemoveAll(dir + "sshd_config.d")
	if err == nil {
		err = os.MkdirAll(dir+"sshd_config.d", 0o755)
	}
	for name, text := range w.others {
		if err == nil {
			err = os.WriteFile(dir+name, []byte(text), 0o644)
		}
	}
	if err == nil {
		err = os.WriteFile(dir+"sshd_config", []byte(w.main), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

const (
	debianInclude = "Include /etc/ssh/sshd_config.d/*.conf\n"
	reopen        = "Match User ecs-user\n\tPasswordAuthentication yes\n\tKbdInteractiveAuthentication yes\n"
)

// nasty are configurations that a policy could come to nothing on.
var nasty = []struct {
	name    string
	written written
	layout  Layout
}{
	{"Debian", written{main: testmachine.DefaultSSHDConfig}, LayoutDropIn},
	{"empty", written{main: ""}, LayoutMainFile},
	{"no Include", written{main: "UsePAM yes\nPasswordAuthentication yes\n"}, LayoutMainFile},
	{"no newline at the end", written{main: "UsePAM yes\nPasswordAuthentication yes"}, LayoutMainFile},
	{"no Include, and a Match", written{main: "PasswordAuthentication yes\n" + reopen}, LayoutMainFile},
	{"a Match without a newline at the end", written{main: "UsePAM yes\n" + strings.TrimSuffix(reopen, "\n")}, LayoutMainFile},
	{"a Match alone", written{main: "Match all"}, LayoutMainFile},
	{"Match spelled oddly", written{main: "UsePAM yes\n  mAtCh\tUser=\"ecs-user\"\nPasswordAuthentication yes\n"}, LayoutMainFile},
	{"Match in a comment", written{main: "# Match all\nUsePAM yes\n" + reopen}, LayoutMainFile},
	{"CRLF", written{main: strings.ReplaceAll("UsePAM yes\nPasswordAuthentication yes\n"+reopen, "\n", "\r\n")}, LayoutMainFile},
	{"CRLF and an Include", written{main: strings.ReplaceAll(debianInclude+reopen, "\n", "\r\n")}, LayoutDropIn},
	{"Include after a value", written{main: "PasswordAuthentication yes\n" + debianInclude}, LayoutDropIn},
	{"Include after the old keyword", written{main: "ChallengeResponseAuthentication yes\n" + debianInclude + reopen}, LayoutOwnInclude},
	{"the old keyword, and a Match in the folder", written{
		"ChallengeResponseAuthentication yes\n" + debianInclude,
		map[string]string{"sshd_config.d/60-local.conf": reopen},
	}, LayoutOwnInclude},
	{"Include in a Match", written{main: "Match User nobody\n" + debianInclude + reopen}, LayoutOwnInclude},
	{"Include of another folder", written{
		"Include /etc/ssh/extra*.conf\n", map[string]string{"extra.conf": reopen},
	}, LayoutOwnInclude},
	{"another Include with a Match ahead", written{
		"Include /etc/ssh/extra.conf\n" + debianInclude, map[string]string{"extra.conf": reopen},
	}, LayoutOwnInclude},
	{"another Include with a value ahead", written{
		"Include /etc/ssh/extra.conf\n" + debianInclude, map[string]string{"extra.conf": "PasswordAuthentication yes\n"},
	}, LayoutDropIn},
	{"several patterns in one Include", written{
		"Include /etc/ssh/extra.conf /etc/ssh/sshd_config.d/*.conf\n" + reopen, map[string]string{"extra.conf": reopen},
	}, LayoutOwnInclude},
	{"several patterns, ours first", written{
		"Include sshd_config.d/*.conf extra.conf\n" + reopen, map[string]string{"extra.conf": reopen},
	}, LayoutDropIn},
	{"a name that sorts before ours", written{debianInclude, map[string]string{"sshd_config.d/00-early.conf": reopen}}, LayoutOwnInclude},
	{"names that sort after ours", written{debianInclude, map[string]string{
		"sshd_config.d/01-permitrootlogin.conf": "PermitRootLogin yes\n",
		"sshd_config.d/50-cloud-init.conf":      "PasswordAuthentication yes\n",
		"sshd_config.d/50-redhat.conf":          "KbdInteractiveAuthentication yes\nUsePAM yes\n" + reopen,
	}}, LayoutDropIn},
	{"an Include in an included file", written{
		"Include /etc/ssh/extra.conf\nPasswordAuthentication yes\n", map[string]string{"extra.conf": debianInclude + reopen},
	}, LayoutOwnInclude},
	{"a name with a blank", written{debianInclude, map[string]string{"sshd_config.d/50 local.conf": "PasswordAuthentication yes\n" + reopen}}, LayoutDropIn},
	{"Include as the last line, cut short", written{main: "PasswordAuthentication yes\n" + strings.TrimSuffix(debianInclude, "\n")}, LayoutDropIn},
	{"a Match on the port", written{main: debianInclude + "Match LocalPort 22\n\tPasswordAuthentication yes\nMatch LocalAddress 127.0.0.1\n\tKbdInteractiveAuthentication yes\n"}, LayoutDropIn},
	{"a Match on everything there is", written{main: debianInclude +
		"Match User * Group * Host * Address * LocalAddress * LocalPort 22\n\tPasswordAuthentication yes\nMatch all\n\tPasswordAuthentication yes\n"}, LayoutDropIn},
}

// visitors are logons that Match blocks treat unlike.
func visitors() []Connection {
	return []Connection{FromLoopback(testUser, 22), FromOutside(testUser, 22), FromLoopback("root", 2222)}
}

func TestAPolicyHasEffectOnEveryConfiguration(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for _, test := range nasty {
		test.written.on(t, m.Root)
		if got := m.files().Layout(guarded); got != test.layout {
			t.Errorf("%s: layout %s, want %s", test.name, got, test.layout)
		}
		before := m.everyone()
		m.write(guarded)
		for i, config := range m.everyone() {
			if config.AllowsPassword() {
				t.Errorf("%s: %s may still use a password\n%s", test.name, visitors()[i].arg(), m.files().Main)
			}
		}
		if files := m.files(); !files.Closed() || !files.With(guarded).Equal(files) {
			t.Errorf("%s: the layout is another one once the policy is written", test.name)
		}
		m.write(Policy{})
		if diff := cmp.Diff(before, m.everyone()); diff != "" {
			t.Errorf("%s: not as before (-before +after):\n%s", test.name, diff)
		}
		m.wantAsWritten(test.name, test.written)
	}
}

// everyone is the effective configuration of each of the visitors.
func (m *machine) everyone() []Config {
	m.t.Helper()
	var configs []Config
	for _, visitor := range visitors() {
		config, err := m.sshd.Effective(context.Background(), DefaultConfig, visitor)
		if err != nil {
			m.t.Fatal(err)
		}
		configs = append(configs, config)
	}
	return configs
}

// wantAsWritten checks that nothing of ours is left, to the byte.
func (m *machine) wantAsWritten(name string, w written) {
	m.t.Helper()
	if diff := cmp.Diff(w.main, m.ReadFile("/etc/ssh/sshd_config")); diff != "" {
		m.t.Errorf("%s: the main file is not as it was (-before +after):\n%s", name, diff)
	}
	for other, text := range w.others {
		if diff := cmp.Diff(text, m.ReadFile("/etc/ssh/"+other)); diff != "" {
			m.t.Errorf("%s: %s is not as it was (-before +after):\n%s", name, other, diff)
		}
	}
	if _, err := os.Stat(m.Path(DropIn)); err == nil {
		m.t.Errorf("%s: the drop-in is still there", name)
	}
}

// TestWithoutTheGuardAMatchBlockKeepsItsSay: that is an administrator's choice.
func TestWithoutTheGuardAMatchBlockKeepsItsSay(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for _, main := range []string{debianInclude + reopen, reopen} {
		written{main: "KbdInteractiveAuthentication no\n" + main}.on(t, m.Root)
		m.write(Policy{Closed: true})
		configs := m.everyone()
		if !configs[0].AllowsPassword() || configs[2].AllowsPassword() {
			t.Errorf("%q: password for %s: %v, for root: %v; want it for the first alone",
				main, testUser, configs[0].AllowsPassword(), configs[2].AllowsPassword())
		}
		m.write(Policy{})
	}
}

// TestAMainFileThatGetsAnIncludeIsUpgraded: the blocks give way to the drop-in.
func TestAMainFileThatGetsAnIncludeIsUpgraded(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	written{main: "UsePAM yes\n" + reopen}.on(t, m.Root)
	m.write(guarded)
	m.WriteFile("/etc/ssh/sshd_config", debianInclude+m.ReadFile("/etc/ssh/sshd_config"), 0o644)
	files := m.files()
	if got := files.Layout(guarded); got != LayoutDropIn {
		t.Errorf("layout %s, want the drop-in", got)
	}
	m.write(guarded)
	if diff := cmp.Diff(debianInclude+"UsePAM yes\n"+reopen, m.ReadFile("/etc/ssh/sshd_config")); diff != "" {
		t.Errorf("blocks are left in the main file (-want +got):\n%s", diff)
	}
	if m.everyone()[0].AllowsPassword() {
		t.Error("passwords are open after the upgrade")
	}
}

func TestADamagedBlockGoesWhollyAndAlone(t *testing.T) {
	t.Parallel()
	const original = "UsePAM yes\n\nPasswordAuthentication no\n" + reopen + "Match all\n\tPasswordAuthentication no\n"
	closed := string(withBlocks([]byte(original), guarded))
	without := func(line string) string {
		if strings.Count(closed, line+"\n") == 0 {
			t.Fatalf("%q is not in the block", line)
		}
		return strings.Replace(closed, line+"\n", "", 1)
	}
	for name, damaged := range map[string]string{
		"whole":                         closed,
		"no begin":                      without(policyBegin),
		"no end":                        without(policyEnd),
		"no begin of the guard":         without(guardBegin),
		"no end of the guard":           without(guardEnd),
		"a line less":                   without("KbdInteractiveAuthentication no"),
		"marks alone":                   strings.Replace(closed, "PasswordAuthentication no\nKbdInteractiveAuthentication no\nChallengeResponseAuthentication no\n", "", 1),
		"other white space":             strings.ReplaceAll(closed, "\tKbdInteractiveAuthentication no", "    KbdInteractiveAuthentication no"),
		"twice":                         string(withBlocks([]byte(closed), guarded)),
		"a block of an Include as well": string(withInclude([]byte(closed))),
	} {
		if diff := cmp.Diff(original, string(withoutBlocks([]byte(damaged)))); diff != "" {
			t.Errorf("%s (-want +got):\n%s\nof\n%s", name, diff, damaged)
		}
	}
	crlf := strings.ReplaceAll(closed, "\n", "\r\n")
	if diff := cmp.Diff(strings.ReplaceAll(original, "\n", "\r\n"), string(withoutBlocks([]byte(crlf)))); diff != "" {
		t.Errorf("saved with CRLF (-want +got):\n%s", diff)
	}
}

// TestALineWrittenIntoABlockIsKept: it is the administrator's.
func TestALineWrittenIntoABlockIsKept(t *testing.T) {
	t.Parallel()
	closed := string(withBlocks([]byte("UsePAM yes\n"), guarded))
	edited := strings.Replace(closed, "KbdInteractiveAuthentication no\n", "KbdInteractiveAuthentication no\nMaxAuthTries 3\n", 1)
	if diff := cmp.Diff("MaxAuthTries 3\nUsePAM yes\n", string(withoutBlocks([]byte(edited)))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestALineAfterTheGuardStaysALine: the newline before the guard is ours, but
// not once something follows.
func TestALineAfterTheGuardStaysALine(t *testing.T) {
	t.Parallel()
	closed := string(withBlocks([]byte("UsePAM yes"), guarded))
	if diff := cmp.Diff("UsePAM yes\nAllowUsers bob\n", string(withoutBlocks([]byte(closed+"AllowUsers bob\n")))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// configLines draws lines of any sort: sound, odd and nonsense.
func configLines() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		line := rapid.SampledFrom([]string{
			"", "# a comment", "UsePAM yes", "PasswordAuthentication yes", "PasswordAuthentication no", "Match all",
			"\tPasswordAuthentication no", "KbdInteractiveAuthentication no", "ChallengeResponseAuthentication no",
			"Match User bob", "match=all", "Include /etc/ssh/sshd_config.d/*.conf", " \t", "\x00\xff", "Banner \"a b\"", "# BEGIN", "# END",
		}).Draw(t, "line")
		return line + rapid.SampledFrom([]string{"\n", "\n", "\n", "\r\n", ""}).Draw(t, "end")
	})
}

func TestClosingAndOpeningAgainIsNothingToAnyText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		original := strings.Join(rapid.SliceOf(configLines()).Draw(t, "lines"), "")
		policy := Policy{Closed: true, Guard: rapid.Bool().Draw(t, "guard")}
		for name, closed := range map[string][]byte{
			"blocks": withBlocks([]byte(original), policy), "include": withInclude([]byte(original)),
		} {
			if diff := cmp.Diff(original, string(withoutBlocks(closed))); diff != "" {
				t.Errorf("%s (-before +after):\n%s", name, diff)
			}
		}
	})
}

func TestTextWithoutBlocksIsLeftAlone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		original := strings.Join(rapid.SliceOf(configLines()).Draw(t, "lines"), "")
		if diff := cmp.Diff(original, string(withoutBlocks([]byte(original)))); diff != "" {
			t.Errorf("(-before +after):\n%s", diff)
		}
	})
}

// TestAConfigurationThatSshdRefusesIsPutBackToTheByte: invariant 10 from the
// side of the files.
func TestAConfigurationThatSshdRefusesIsPutBackToTheByte(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	const broken = "UsePAM yes\nNonsense yes"
	written{main: broken}.on(t, m.Root)
	before := m.files()
	next := before.With(guarded)
	if err := m.sshd.Write(before, next); err != nil {
		t.Fatal(err)
	}
	if err := m.sshd.Test(context.Background(), DefaultConfig); err == nil {
		t.Fatal("sshd -t takes nonsense")
	}
	if err := m.sshd.Write(next, before); err != nil {
		t.Fatal(err)
	}
	m.wantAsWritten("put back", written{main: broken})
}

func TestModeAndLinkOfTheMainFileStay(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.WriteFile("/etc/ssh/kept-elsewhere", "UsePAM yes\n", 0o600)
	if err := os.Remove(m.Path(DefaultConfig)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("kept-elsewhere", m.Path(DefaultConfig)); err != nil {
		t.Fatal(err)
	}
	m.write(guarded)
	if target, err := os.Readlink(m.Path(DefaultConfig)); err != nil || target != "kept-elsewhere" {
		t.Errorf("the link leads to %q (%v)", target, err)
	}
	info, err := os.Stat(m.Path("/etc/ssh/kept-elsewhere"))
	if err != nil || info.Mode().Perm() != 0o600 || !strings.HasPrefix(m.ReadFile("/etc/ssh/kept-elsewhere"), policyBegin) {
		t.Errorf("the file is %v (%v), want 0600 and the policy in it", info, err)
	}
}
