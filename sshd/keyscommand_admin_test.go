package sshd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestTheAdministratorsCommandIsTheOneThatIsInForce(t *testing.T) {
	t.Parallel()
	const one, two = "\tAuthorizedKeysCommand /one\n\tAuthorizedKeysCommandUser u1\n", "\tAuthorizedKeysCommand /two %u\n\tAuthorizedKeysCommandUser u2\n"
	for name, test := range map[string]struct {
		text string
		want []string // command and user
		err  string
	}{
		"nothing":                           {"UsePAM yes\n", nil, ""},
		"global":                            {one + two, []string{"/one", "u1"}, ""},
		"none":                              {"AuthorizedKeysCommand None\nAuthorizedKeysCommandUser u1\n" + one, nil, ""},
		"without a user":                    {"AuthorizedKeysCommand /one a  b\n", []string{"/one a  b", ""}, ""},
		"in a Match for the user":           {one + "Match User ecs-*\n" + two, []string{"/two %u", "u2"}, ""},
		"in a Match for another":            {one + "Match User root,!ecs-user\n" + two, []string{"/one", "u1"}, ""},
		"in a Match for a group":            {one + "Match Group wheel\n" + two, []string{"/two %u", "u2"}, ""},
		"in a Match for another group":      {one + "Match Group staff\n" + two, []string{"/one", "u1"}, ""},
		"in a Match for all":                {one + "Match all\n" + two, []string{"/two %u", "u2"}, ""},
		"in a Match for those who are not":  {one + "Match invalid-user\n" + two, []string{"/one", "u1"}, ""},
		"none in a Match":                   {one + "Match User ecs-user\n\tAuthorizedKeysCommand none\n", nil, ""},
		"the command here, its user there":  {"AuthorizedKeysCommandUser u1\nMatch User ecs-user\n\tAuthorizedKeysCommand /two\n", []string{"/two", "u1"}, ""},
		"from some addresses":               {one + "Match Address 10.0.0.0/8\n" + two, nil, "/etc/ssh/sshd_config:4 Match address 10.0.0.0/8"},
		"from some, of this user":           {one + "Match User ecs-user LocalPort 22\n" + two, nil, "/etc/ssh/sshd_config:4 Match user ecs-user localport 22"},
		"from some, of another user":        {one + "Match Host a User root\n" + two, []string{"/one", "u1"}, ""},
		"the user from some addresses":      {one + "Match Address 10.0.0.0/8\n\tAuthorizedKeysCommandUser u2\n", nil, "/etc/ssh/sshd_config:4 Match address 10.0.0.0/8"},
		"such a user, of no command":        {"Match Address 10.0.0.0/8\n\tAuthorizedKeysCommandUser u2\n", nil, ""},
		"by a criterion of tomorrow":        {"Match Moon full\n" + one, nil, "/etc/ssh/sshd_config:2 Match moon full"},
		"decided before some addresses are": {"Match User ecs-user\n" + one + "Match Address 10.0.0.0/8\n" + two, []string{"/one", "u1"}, ""},
		"other things from some addresses":  {one + "Match Address 10.0.0.0/8\n\tMaxAuthTries 1\n", []string{"/one", "u1"}, ""},
		"in a file that a Match takes in":   {one + "Match User ecs-user\nInclude /etc/ssh/extra.conf\n", []string{"/extra", "u3"}, ""},
		"taken in by a Match for some":      {one + "Match Address 10.0.0.0/8\nInclude /etc/ssh/extra.conf\n", nil, "/etc/ssh/extra.conf:2 Match user *"},
		// of groups that only sshd may see the user in, sshd is asked, but not from everywhere
		"from some, of a group not seen":       {one + "Match Group directory Address 10.0.0.0/8\n" + two, nil, "/etc/ssh/sshd_config:4 Match group directory address 10.0.0.0/8"},
		"the same the other way round":         {one + "Match LocalPort 22 Group directory\n" + two, nil, "/etc/ssh/sshd_config:4 Match localport 22 group directory"},
		"for whose user there is such a line":  {one + "Match Group directory Host a\n\tAuthorizedKeysCommandUser u2\n", nil, "/etc/ssh/sshd_config:4 Match group directory host a"},
		"in a file of a group not seen":        {one + "Match Group directory\nInclude /etc/ssh/some.conf\n", nil, "/etc/ssh/some.conf:2 Match address 10.0.0.0/8"},
		"a group not seen, of another user":    {one + "Match Group directory User root Address 10.0.0.0/8\n" + two, []string{"/one", "u1"}, ""},
		"from some, of a group but the user's": {one + "Match Group directory,!wheel Address 10.0.0.0/8\n" + two, []string{"/one", "u1"}, ""},
		"from some, of no group":               {one + "Match Address 10.0.0.0/8 Group !directory\n" + two, []string{"/one", "u1"}, ""},
		"from some, of a group seen but for":   {one + "Match Group wheel,!directory RDomain a\n" + two, nil, "/etc/ssh/sshd_config:4 Match group wheel,!directory rdomain a"},
		"from some, of one who is not":         {one + "Match Invalid-User Address 10.0.0.0/8\n" + two, []string{"/one", "u1"}, ""},
		"the command with a Match of its own":  {"Match User ecs-user Group wheel\n" + one, []string{"/one", "u1"}, ""},
	} {
		var want KeysCommand
		if test.want != nil {
			want = KeysCommand{testUser, test.want[0], test.want[1]}
		}
		got, err := filesOf(t, test.text).AdminKeysCommand(testUser, []string{"users", "wheel"})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		var some *PerConnectionError
		var says string
		if errors.As(err, &some) {
			says = some.Position + " " + some.Match
		}
		if says != test.err || (err == nil) != (test.err == "") {
			t.Errorf("%s: %v (%s), want %s", name, err, says, test.err)
		}
	}
}

// filesOf are the files of a configuration without anything of ours.
func filesOf(t *testing.T, main string) *Files {
	t.Helper()
	text := readText(t, map[string]string{
		DefaultConfig:         main,
		"/etc/ssh/some.conf":  "Match Address 10.0.0.0/8\n\tAuthorizedKeysCommand /some\n",
		"/etc/ssh/extra.conf": "Match User *\n\tAuthorizedKeysCommand /extra\n\tAuthorizedKeysCommandUser u3\n",
	})
	return &Files{Main: []byte(main), config: DefaultConfig, text: text, ours: ownLines([]byte(main))}
}

// TestALineBehindOurBlocksIsGlobal: as it would be without them, so that an
// earlier one is the administrator's.
func TestALineBehindOurBlocksIsGlobal(t *testing.T) {
	t.Parallel()
	const first, second = "AuthorizedKeysCommand /first\nAuthorizedKeysCommandUser u1\n", "AuthorizedKeysCommand /second\nAuthorizedKeysCommandUser u2\n"
	for _, policy := range commandPolicies {
		got, err := filesOf(t, string(withBlocks([]byte(first), policy))+second).AdminKeysCommand(testUser, nil)
		if want := (KeysCommand{testUser, "/first", "u1"}); err != nil || got != want {
			t.Errorf("%+v: %+v (%v), want %+v", policy, got, err, want)
		}
	}
}

// commandConfigurations draws whole configurations with keys commands in them.
func commandConfigurations() *rapid.Generator[written] {
	pair := func(program, user string) string {
		return fmt.Sprintf("AuthorizedKeysCommand %s\nAuthorizedKeysCommandUser %s", program, user)
	}
	lines := rapid.OneOf(matchable(), matches(), rapid.SampledFrom([]string{
		pair("/usr/bin/one", "daemon"), pair(`/usr/bin/two  "a b" %u`, "nobody"), pair("none", "root"), "AuthorizedKeysCommand none",
		"AuthorizedKeysFile none", "Match User ecs-*", "Match Group ecs-user User *",
	}))
	return rapid.Custom(func(t *rapid.T) written {
		w := written{others: map[string]string{}}
		w.main = texts(rapid.OneOf(lines, lines, includes()), 10).Draw(t, "main")
		for _, name := range []string{"extra.conf", "sshd_config.d/00-early.conf", "sshd_config.d/50-cloud-init.conf"} {
			if rapid.Bool().Draw(t, "has "+name) {
				w.others[name] = texts(lines, 4).Draw(t, name)
			}
		}
		return w
	})
}

// TestAKeysCommandIsTheUsersAloneWhateverIsConfigured: what the candidate says,
// the instance says; others keep theirs; the administrator's is known before and
// after; and taking it away leaves no trace.
func TestAKeysCommandIsTheUsersAloneWhateverIsConfigured(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	taken, layouts := 0, map[Layout]int{}
	for seed := range generated {
		w := commandConfigurations().Example(seed)
		w.on(t, m.Root)
		if m.sshd.Test(context.Background(), DefaultConfig) != nil {
			continue // sshd refuses it as it is
		}
		taken++
		admin := m.wantAdminsCommand()
		before := m.everyone()
		for _, policy := range []Policy{{Keys: asking}, guarded, {Keys: asking, Closed: true, Guard: true}} {
			layouts[m.files().Layout(policy)]++
			m.applyLikeTheCandidate(t, policy)
			after := m.everyone()
			if policy.Keys != (KeysCommand{}) && !cmp.Equal(commandOf(after[0]), []string{asking.Command, asking.User}) {
				t.Errorf("%+v: asked is %q", policy, commandOf(after[0]))
			}
			if diff := cmp.Diff(commandOf(before[2]), commandOf(after[2])); diff != "" {
				t.Errorf("%+v: root's command (-before +after):\n%s", policy, diff)
			}
			if again := m.adminsCommand(); again != admin {
				t.Errorf("%+v: the administrator's command is %q, was %q", policy, again, admin)
			}
		}
		m.write(Policy{})
		if m.wantAsWritten("generated", w); t.Failed() {
			t.Fatalf("with %#v (seed %d)", w, seed)
		}
	}
	if taken < generated/2 || len(layouts) < 3 {
		t.Errorf("sshd takes %d of %d generated configurations, the layouts are %v", taken, generated, layouts)
	}
}

// adminsCommand is the administrator's command for the test user, or the error.
func (m *machine) adminsCommand() string {
	m.t.Helper()
	admin, err := m.files().AdminKeysCommand(testUser, []string{testUser})
	var some *PerConnectionError
	if errors.As(err, &some) {
		return "depends on " + some.Match
	}
	if admin == (KeysCommand{}) || admin.User == "" {
		return "none"
	}
	return admin.Command + "|" + admin.User
}

// wantAdminsCommand is the same, where sshd agrees.
func (m *machine) wantAdminsCommand() string {
	m.t.Helper()
	says := m.adminsCommand()
	for i, config := range m.everyone()[:2] {
		is := strings.Join(commandOf(config), "|")
		if strings.HasPrefix(is, "none|") || strings.HasSuffix(is, "|none") {
			is = "none"
		}
		if is != says && !strings.HasPrefix(says, "depends on ") {
			m.t.Errorf("%s: the command is %q, and taken for %q", visitors()[i].arg(), is, says)
		}
	}
	return says
}
