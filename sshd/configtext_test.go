package sshd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// textRoot writes files (path inside the instance: content) and returns its root.
func textRoot(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const mainConfig = "/etc/ssh/sshd_config"

func readText(t testing.TB, files map[string]string) *Text {
	t.Helper()
	text, err := ReadText(textRoot(t, files), mainConfig)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestLinesAreReadAsSshdReadsThem(t *testing.T) {
	for _, test := range []struct {
		name, line string
		keyword    string
		args       []string
	}{
		{"plain", "PasswordAuthentication no", "passwordauthentication", []string{"no"}},
		{"indented, tabs, CR", "\t  Port\t 22 \r", "port", []string{"22"}},
		{"equals", "Port=22", "port", []string{"22"}},
		{"equals with space", "Port = 22", "port", []string{"22"}},
		{"only one equals is taken", "Banner ==x", "banner", []string{"=x"}},
		{"quoted keyword", `"Port" 22`, "port", []string{"22"}},
		{"quoted argument", `AuthorizedKeysFile "a b" c`, "authorizedkeysfile", []string{"a b", "c"}},
		{"single quotes, quote within a word", `AuthorizedKeysFile 'a "b'c`, "authorizedkeysfile", []string{`a "bc`}},
		{"escapes", `AuthorizedKeysFile a\ b\"\x\\`, "authorizedkeysfile", []string{`a b"\x\`}},
		{"comment after", "Port 22 # not 23", "port", []string{"22"}},
		{"number sign within a word", "Banner /etc/a#b", "banner", []string{"/etc/a#b"}},
		{"empty argument", `Banner ""`, "banner", []string{""}},
		{"command as written", `ForceCommand  echo "a  b" # c`, "forcecommand", []string{`echo "a  b" # c`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := readText(t, map[string]string{mainConfig: "# head\n\n" + test.line + "\n"})
			want := []Directive{{File: mainConfig, Line: 3, Keyword: test.keyword, Args: test.args}}
			if diff := cmp.Diff(want, text.Directives); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatSshdRefusesNamesFileAndLine(t *testing.T) {
	for _, test := range []struct{ name, config, want string }{
		{"no argument", "\nPort\n", "sshd_config:2: no argument after Port"},
		{"open quote", `Banner "x`, "sshd_config:1: quote without its end"},
		{"Match without pattern", "Match User", "sshd_config:1: no argument after Match|no pattern after Match User"},
		{"Match without criteria", "Match #x", "sshd_config:1: no criteria after Match"},
		{"all with others", "Match all User x", "sshd_config:1: all together"},
		{"NUL", "Port 22\nPort 2\x003\n", "sshd_config:2: NUL byte"},
		{"includes itself", "Include sshd_config", "more than 16 levels"},
		{"empty Include", `Include ""`, "sshd_config:1: empty file name"},
		{"too large", strings.Repeat("#", maxConfigBytes+1), "larger than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ReadText(textRoot(t, map[string]string{mainConfig: test.config}), mainConfig)
			if err == nil {
				t.Fatal("accepted")
			}
			for want := range strings.SplitSeq(test.want, "|") {
				if strings.Contains(err.Error(), want) {
					return
				}
			}
			t.Errorf("error %q, want %q", err, test.want)
		})
	}
}

func TestIncludesAreExpandedInPlace(t *testing.T) {
	text := readText(t, map[string]string{
		mainConfig:                       "Port 1\nInclude conf.d/*.conf /nowhere/*.conf\nPort 4\nMatch User a\nInclude in-match\nBanner m\n",
		"/etc/ssh/conf.d/50-b.conf":      "Match User b\nBanner b\n",
		"/etc/ssh/conf.d/10-a.conf":      "Port 2\n",
		"/etc/ssh/conf.d/60-c.conf":      "Port 3\n",
		"/etc/ssh/conf.d/.hidden.conf":   "Port 9\n",
		"/etc/ssh/conf.d/other.disabled": "Port 9\n",
		"/etc/ssh/in-match":              "Banner i\nMatch Group g\nBanner j\n",
	})
	var got []string
	for _, d := range text.Directives {
		line := filepath.Base(d.File) + " " + d.Keyword + " " + d.Args[0]
		for block := d.Match; block != nil; block = block.Within {
			line += " < " + block.String()
		}
		got = append(got, line)
	}
	want := []string{
		"sshd_config port 1",
		"sshd_config include conf.d/*.conf",
		"10-a.conf port 2",
		"50-b.conf banner b < Match user b",
		"60-c.conf port 3",
		"sshd_config port 4",
		"sshd_config include in-match < Match user a",
		"in-match banner i < Match user a",
		"in-match banner j < Match group g < Match user a",
		"sshd_config banner m < Match user a",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	wantFiles := []string{
		mainConfig, "/etc/ssh/conf.d/10-a.conf", "/etc/ssh/conf.d/50-b.conf", "/etc/ssh/conf.d/60-c.conf", "/etc/ssh/in-match",
	}
	if diff := cmp.Diff(wantFiles, text.Files); diff != "" {
		t.Error("files:", diff)
	}
	if diff := cmp.Diff([]string{"/etc/ssh/conf.d/*.conf", "/nowhere/*.conf", "/etc/ssh/in-match"}, text.Globs); diff != "" {
		t.Error("patterns:", diff)
	}
}

func TestIncludedFilesAreSortedByTheirWholePath(t *testing.T) {
	text := readText(t, map[string]string{
		mainConfig: "Include d*/x\n", "/etc/ssh/d/x": "", "/etc/ssh/d-1/x": "", "/etc/ssh/D/x": "",
	})
	want := []string{mainConfig, "/etc/ssh/d-1/x", "/etc/ssh/d/x"} // '-' comes before '/'
	if diff := cmp.Diff(want, text.Files); diff != "" {
		t.Error(diff)
	}
}

func TestOneDeniedGroupIsEnough(t *testing.T) {
	for _, test := range []struct {
		groups []string
		want   bool
	}{
		{[]string{"staff"}, true},
		{[]string{"staff", "guests"}, false},
		{[]string{"guests", "staff"}, false},
		{nil, false},
	} {
		if got := matchesGroups(test.groups, "*,!guests"); got != test.want {
			t.Errorf("%v: %v", test.groups, got)
		}
	}
}

func TestNoLinkLeadsOutOfTheInstance(t *testing.T) {
	root := textRoot(t, map[string]string{mainConfig: "Include secret\n"})
	if err := os.Symlink("/etc/passwd", filepath.Join(root, "etc/ssh/secret")); err != nil {
		t.Fatal(err)
	}
	text, err := ReadText(root, mainConfig)
	if err == nil && len(text.Files) > 1 {
		t.Errorf("read %v", text.Files)
	}
}

func TestReopenersAreFoundForConnectionsNobodyAskedAbout(t *testing.T) {
	text := readText(t, map[string]string{
		mainConfig: `PasswordAuthentication yes
Match Address 10.0.0.0/8
  PasswordAuthentication YES
Match User deploy
  PasswordAuthentication no
  Include more
`,
		"/etc/ssh/more": "ChallengeResponseAuthentication yes\n",
	})
	var got []string
	for _, d := range text.PasswordReopeners() {
		got = append(got, d.Position()+" "+d.Match.String())
	}
	want := []string{mainConfig + ":3 Match address 10.0.0.0/8", "/etc/ssh/more:1 Match user deploy"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyAGlobalIncludeOfTheMainFileReachesTheDropIn(t *testing.T) {
	const dir = "/etc/ssh/sshd_config.d"
	for _, test := range []struct {
		name, config string
		line         int // 0: none
	}{
		{"Debian", "\nInclude /etc/ssh/sshd_config.d/*.conf\nInclude /etc/ssh/sshd_config.d/00*\n", 2},
		{"relative", "Include sshd_config.d/*.conf", 1},
		{"second pattern", "Include other.d/* sshd_config.d/*", 1},
		{"class", "Include sshd_config.d/[!1-9]*", 1},
		{"other suffix", "Include sshd_config.d/*.cfg", 0},
		{"one file", "Include sshd_config.d/50-cloud-init.conf", 0},
		{"below the folder", "Include sshd_config.d/*/*.conf", 0},
		{"in a Match block", "Match User root\nInclude sshd_config.d/*.conf", 0},
		{"in another file", "Include nested", 0},
		{"none", "Port 22", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := readText(t, map[string]string{mainConfig: test.config, "/etc/ssh/nested": "Include sshd_config.d/*.conf"})
			d, ok := text.IncludeReaching(dir)
			if d.Line != test.line || ok != (test.line > 0) {
				t.Errorf("line %d, %v; want line %d", d.Line, ok, test.line)
			}
		})
	}
}

func TestMatchBlocksBeatGlobalLinesAndTheFirstWins(t *testing.T) {
	text := readText(t, map[string]string{mainConfig: `
PasswordAuthentication yes
PasswordAuthentication no
AllowUsers a
AllowUsers b c
Match User root Address 10.0.0.0/8,!10.1.0.0/16
  PasswordAuthentication no
  X11Forwarding no
Match Group wheel
  PasswordAuthentication yes
  X11Forwarding yes
Match all
  UsePAM yes
`})
	for _, test := range []struct {
		name     string
		conn     Connection
		password string
	}{
		{"no block", Connection{User: "u", Addr: "10.0.0.1"}, "yes"},
		{"first block", Connection{User: "root", Addr: "10.0.0.1", Groups: []string{"wheel"}}, "no"},
		{"one criterion short", Connection{User: "root", Addr: "11.0.0.1"}, "yes"},
		{"negated", Connection{User: "root", Addr: "10.1.0.1"}, "yes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := text.Effective(test.conn)
			if err != nil {
				t.Fatal(err)
			}
			want := []string{test.password}
			if diff := cmp.Diff(want, got["passwordauthentication"]); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{"a", "b", "c"}, got["allowusers"]); diff != "" {
				t.Error("AllowUsers:", diff)
			}
		})
	}
}

func TestAddressesAreReadAsGetaddrinfoDoes(t *testing.T) {
	for entry, want := range map[string]bool{
		"0/0": true, "127.1": true, "2130706433": true, "0177.0.0.1": true, "127.0.0.0x1": true, "0127.0.0.1": false,
		"!0/0,*": false, "10.0.0.0/8": false, "127.*": true, "::/0": false,
	} {
		if got, err := MatchesAddress("127.0.0.1", entry); got != want || err != nil {
			t.Errorf("%s: %v, %v", entry, got, err)
		}
	}
	if _, err := MatchesAddress("127.0.0.1", "127/8"); err == nil {
		t.Error("127/8 is 0.0.0.127/8, which sshd refuses")
	}
	text := readText(t, map[string]string{mainConfig: "PermitRootLogin no\nMatch Address 0/0\nPermitRootLogin yes\n"})
	if d, ok := text.deciding("permitrootlogin", Connection{User: "root", Addr: "127.0.0.1"}); !ok || d.Line != 3 {
		t.Errorf("the line that decides is %d, want 3", d.Line)
	}
}

func TestUnknownCriterionIsAnErrorNeverANo(t *testing.T) {
	for _, line := range []string{
		"Match Moon full", "Match Address 10.0.0.1/8", "Match LocalPort ssh", "Match Address 10.0.0.1,,10.0.0.2",
	} {
		text := readText(t, map[string]string{mainConfig: line + "\nPasswordAuthentication yes\n"})
		_, err := text.Effective(Connection{User: "root", Addr: "192.0.2.1"})
		if err == nil || !strings.Contains(err.Error(), mainConfig+":1: match ") {
			t.Errorf("%s: error %v, want one that names the line", line, err)
		}
	}
}

func TestPatternsMatchAsInSSHConfig(t *testing.T) {
	for _, test := range []struct {
		s, list string
		want    bool
	}{
		{"root", "root", true},
		{"root", "r*t", true},
		{"root", "r??t", true},
		{"root", "r?t", false},
		{"root", "*,!root", false},
		{"root", "!root,*", false},
		{"bob", "!root", false},
		{"bob", "!root,*", true},
		{"", "*", true},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", strings.Repeat("a*", 15) + "c", false},
		{"x", "x" + strings.Repeat("*", maxPattern), false},
	} {
		if got := MatchesList(test.s, test.list); got != test.want {
			t.Errorf("MatchesList(%q, %.40q) = %v", test.s, test.list, got)
		}
	}
}

func FuzzReadText(f *testing.F) {
	for _, seed := range []string{
		"Port 22\nMatch all\nPasswordAuthentication no\n",
		"Match User \"a b\" Address 10.0.0.0/8,!10.1.0.0/16 #x\nInclude [!a]*.conf b[ c[]] \\",
		"\"Port\" = 'x' \\ \f\r\nMatch=all", "Include ~ [[:alpha:]]", "Match LocalPort 0 RDomain * Invalid-User",
	} {
		f.Add(seed)
	}
	root := textRoot(f, map[string]string{"/etc/ssh/a.conf": "Match User a\nBanner x\n"})
	config := filepath.Join(root, mainConfig)
	f.Fuzz(func(t *testing.T, data string) {
		if err := os.WriteFile(config, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		text, err := ReadText(root, mainConfig)
		if err != nil {
			return
		}
		text.PasswordReopeners()
		text.IncludeReaching("/etc/ssh/sshd_config.d")
		if _, err := text.Effective(FromLoopback("root", 22)); err != nil && !strings.Contains(err.Error(), ": match ") {
			t.Errorf("error without its line: %v", err)
		}
	})
}
