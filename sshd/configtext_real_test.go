package sshd

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// configDumper answers what sshd -T -C says about a configuration that is written to files.
type configDumper struct {
	program, dir, hostKey string
}

func newConfigDumper(t *testing.T) *configDumper {
	t.Helper()
	testmachine.RequireRoot(t)
	r := &configDumper{program: testmachine.RequireProgram(t, "sshd"), dir: t.TempDir()}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	r.hostKey = filepath.Join(r.dir, "host_key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", r.hostKey).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return r
}

// write puts the files of a configuration, whose main file is "main", into the folder that "@" stands for.
func (r *configDumper) write(files map[string]string) (string, error) {
	for name, content := range files {
		content = strings.ReplaceAll(content, "@", r.dir)
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o600); err != nil {
			return "", err
		}
	}
	return filepath.Join(r.dir, "main"), nil
}

// compared are the keywords that decide who logs in with what, and sshd's default for each.
var compared = map[string]string{
	"passwordauthentication":       "yes",
	"kbdinteractiveauthentication": "yes",
	"pubkeyauthentication":         "yes",
	"permitrootlogin":              "prohibit-password",
	"authorizedkeysfile":           ".ssh/authorized_keys .ssh/authorized_keys2",
	"authenticationmethods":        "any",
	"maxauthtries":                 "6",
	"allowusers":                   "",
	"forcecommand":                 "none",
}

// says is what sshd -T tells for the compared keywords, nil if it refuses the configuration.
func (r *configDumper) says(config string, conn Connection) (map[string]string, string) {
	cmd := exec.Command(r.program, "-T", "-h", r.hostKey, "-f", config, "-C", conn.arg())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, stderr.String()
	}
	values := map[string]string{"allowusers": ""}
	for line := range strings.Lines(string(out)) {
		keyword, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		keyword = strings.ToLower(keyword)
		if _, ok := compared[keyword]; !ok {
			continue
		}
		if keyword == "allowusers" && values[keyword] != "" {
			value = values[keyword] + " " + value
		}
		values[keyword] = modern(value)
	}
	return values, ""
}

// textSays is the same from the text.
func textSays(config string, conn Connection) (map[string]string, error) {
	text, err := ReadText("/", config)
	if err != nil {
		return nil, err
	}
	effective, err := text.Effective(conn)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for keyword, value := range compared {
		if args, set := effective[keyword]; set {
			value = strings.Join(args, " ")
		}
		if yes := strings.ToLower(value); yes == "yes" || yes == "no" {
			value = yes
		}
		values[keyword] = modern(value)
	}
	return values, nil
}

func modern(value string) string {
	if strings.EqualFold(value, "without-password") {
		return "prohibit-password"
	}
	return value
}

var askedConnections = []Connection{
	{User: "root", Groups: []string{"root"}, Host: "localhost", Addr: "127.0.0.1", LAddr: "127.0.0.1", LPort: 22},
	{User: "nobody", Groups: []string{"nogroup"}, Host: "client.example.org", Addr: "203.0.113.77", LAddr: "192.0.2.1", LPort: 2222},
	{User: "daemon", Groups: []string{"daemon"}, Host: "h", Addr: "2001:db8::7", LAddr: "::1", LPort: 22, RDomain: "red"},
}

// compareText fails when sshd and the reader differ on a configuration, and tells whether sshd takes it.
func compareText(t interface{ Errorf(string, ...any) }, r *configDumper, config string) bool {
	taken := true
	for _, conn := range askedConnections {
		want, refusal := r.says(config, conn)
		got, err := textSays(config, conn)
		switch {
		case want == nil:
			taken = false
			// The reader leaves keywords and values to sshd -t: it may accept what sshd refuses.
		case err != nil:
			t.Errorf("%s: sshd takes it, the reader says: %v", conn.arg(), err)
		default:
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-sshd +text):\n%s%s", conn.arg(), diff, refusal)
			}
		}
	}
	return taken
}

func TestTextAgreesWithSshd(t *testing.T) {
	real := newConfigDumper(t)
	for _, test := range []struct {
		name    string
		files   map[string]string
		refused bool
	}{
		{name: "empty", files: map[string]string{"main": ""}},
		{name: "first wins", files: map[string]string{"main": "PasswordAuthentication no\nPasswordAuthentication yes\n"}},
		{name: "no last newline, CRLF", files: map[string]string{"main": "PasswordAuthentication no\r\nKbdInteractiveAuthentication no\r"}},
		{name: "equals and quotes", files: map[string]string{"main": "PasswordAuthentication=no\n\"KbdInteractiveAuthentication\" \"no\"\nMaxAuthTries\t=\t3\n"}},
		{name: "space and equals in odd places", files: map[string]string{"main": " \t =MaxAuthTries 3\n"}},
		{name: "equals after a quoted keyword", files: map[string]string{"main": "\"MaxAuthTries\" = 3\n"}, refused: true},
		{name: "form feed at the end", files: map[string]string{"main": "PasswordAuthentication no \f\n"}},
		{name: "form feed in front", files: map[string]string{"main": "\fPasswordAuthentication no\n"}, refused: true},
		{name: "old names", files: map[string]string{"main": "ChallengeResponseAuthentication no\nKbdInteractiveAuthentication yes\nDSAAuthentication no\n"}},
		{name: "skey", files: map[string]string{"main": "SkeyAuthentication no\n"}},
		{name: "values in capitals", files: map[string]string{"main": "PASSWORDAUTHENTICATION NO\n"}},
		{name: "quoted paths", files: map[string]string{"main": "AuthorizedKeysFile \"/k/a b\" '/k/c' /k/d\\ e\\\"f # x\n"}},
		{name: "backslash before a space in quotes", files: map[string]string{"main": "AuthorizedKeysFile \"/k/a\\ b\" '/c\\'d'\n"}},
		{name: "comment sign in a word", files: map[string]string{"main": "AuthorizedKeysFile /k/a#b #c\n"}},
		{name: "open quote", files: map[string]string{"main": "AuthorizedKeysFile \"/k\n"}, refused: true},
		{name: "command as written", files: map[string]string{"main": "ForceCommand=\techo \"a  b\" 'c' # d \nForceCommand none\n"}},
		{name: "methods", files: map[string]string{"main": "AuthenticationMethods publickey,password publickey\n"}},
		{name: "collected", files: map[string]string{"main": "AllowUsers a b\nAllowUsers c\nMatch User root\nAllowUsers d\nAllowUsers e\nMatch all\nAllowUsers f\n"}},
		{name: "Match", files: map[string]string{"main": "PasswordAuthentication no\nMatch User root\nPasswordAuthentication yes\nMatch User nobody,root\nPasswordAuthentication no\nMaxAuthTries 2\n"}},
		{name: "Match all in front", files: map[string]string{"main": "Match all\nPasswordAuthentication no\nMatch User root\nPasswordAuthentication yes\n"}},
		{name: "Match with equals, quotes, comment", files: map[string]string{"main": "Match=User=\"root\" Address 127.0.0.0/8 # x y\nPasswordAuthentication no\n"}},
		{name: "Match group and host", files: map[string]string{"main": "Match Group nogroup\nPasswordAuthentication no\nMatch Host *.EXAMPLE.org,!h\nMaxAuthTries 2\n"}},
		{name: "Match negated group", files: map[string]string{"main": "Match Group *,!daemon\nPasswordAuthentication no\n"}},
		{name: "Match addresses", files: map[string]string{"main": "Match Address 203.0.113.0/24,!203.0.113.78\nPasswordAuthentication no\nMatch Address 2001:db8::/32\nMaxAuthTries 2\nMatch LocalAddress 127.0.0.?\nMaxAuthTries 3\n"}},
		{name: "Match address with host bits", files: map[string]string{"main": "Match Address 203.0.113.1/24\nPasswordAuthentication no\n"}, refused: true},
		{name: "Match address nonsense is a pattern", files: map[string]string{"main": "Match Address 203.*,10.0.0.0/x\nPasswordAuthentication no\n"}},
		{name: "Match address negation first", files: map[string]string{"main": "Match Address !127.0.0.1,*\nPasswordAuthentication no\n"}},
		{name: "Match port and domain", files: map[string]string{"main": "Match LocalPort 2222\nPasswordAuthentication no\nMatch RDomain r*\nMaxAuthTries 2\n"}},
		{name: "Match unknown", files: map[string]string{"main": "Match Moon full\nPasswordAuthentication no\n"}, refused: true},
		{name: "Match all and more", files: map[string]string{"main": "Match all User root\nPasswordAuthentication no\n"}, refused: true},
		{name: "global keyword under Match all", files: map[string]string{"main": "UsePAM no\nMatch all\nUsePAM yes\nPasswordAuthentication no\n"}},
		{name: "Include", files: map[string]string{"main": "Include @/inc-*\nPasswordAuthentication yes\n", "inc-1": "Match User root\nMaxAuthTries 2\n", "inc-2": "PasswordAuthentication no\n", ".inc-3": "MaxAuthTries 9\n"}},
		{name: "Include nothing", files: map[string]string{"main": "Include @/nothing @/no*\nMaxAuthTries 2\n"}},
		{name: "Include in Match", files: map[string]string{"main": "Match User root\nInclude @/inc\nMatch User nobody\nInclude @/inc\n", "inc": "PasswordAuthentication no\nMatch Address 127.0.0.1\nMaxAuthTries 2\nMatch all\nKbdInteractiveAuthentication no\n"}},
		{name: "Include classes", files: map[string]string{"main": "Include @/[!k]-a @/[]x]-b @/k[-a\n", "j-a": "MaxAuthTries 2\n", "k-a": "PasswordAuthentication no\n", "]-b": "KbdInteractiveAuthentication no\n", "k[-a": "PubkeyAuthentication no\n"}},
		{name: "Include of a folder", files: map[string]string{"main": "Include @\nMaxAuthTries 2\n"}},
		{name: "Include of itself", files: map[string]string{"main": "Include @/main\n"}, refused: true},
		{name: "pattern lists with empty entries", files: map[string]string{"main": "Match User ,root,\nPasswordAuthentication no\nMatch User nobody,,x\nMaxAuthTries 2\n"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, err := real.write(test.files)
			if err != nil {
				t.Fatal(err)
			}
			if taken := compareText(t, real, config); taken == test.refused {
				_, why := real.says(config, askedConnections[0])
				t.Errorf("sshd takes it: %v: %s", taken, why)
			}
		})
	}
}

func TestAnyTextAgreesWithSshd(t *testing.T) {
	real := newConfigDumper(t)
	taken := 0
	rapid.Check(t, func(t *rapid.T) {
		files := map[string]string{"main": drawConfig(t, 2), "inc-a": drawConfig(t, 1), "inc-b": drawConfig(t, 0)}
		config, err := real.write(files)
		if err != nil {
			t.Fatal(err)
		}
		if compareText(t, real, config) {
			taken++
		}
	})
	if taken == 0 {
		t.Error("sshd took none of the configurations: nothing was compared")
	}
}

// drawConfig draws a configuration that may include those of lower depth.
func drawConfig(t *rapid.T, depth int) string {
	lines := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string { return drawLine(t, depth) }), 0, 8).Draw(t, "lines")
	return strings.Join(lines, "\n")
}

func drawLine(t *rapid.T, depth int) string {
	pick := func(of ...string) string { return rapid.SampledFrom(of).Draw(t, "pick") }
	space := pick(" ", "  ", "\t", "=", " = ", " =")
	end := pick("", "", " ", "\r", " # x", "\t#", "\f")
	quote := pick("", "", "", `"`)
	word := func(s string) string { return quote + s + quote }
	line := pick("", "", " ", "\t")
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		return line + pick("#", "", " # PasswordAuthentication no")
	case 1, 2:
		line += "Match" + space + drawCriterion(t, pick, word)
		if rapid.Bool().Draw(t, "two") {
			line += " " + drawCriterion(t, pick, word)
		}
		return line + pick("", "", " ", " # x")
	case 3:
		if depth > 0 {
			names := [][]string{{"inc-b"}, {"inc-[ab]", "inc-?", "inc-a", "inc-[!a]", "none"}}
			return line + "Include" + space + word("@/"+pick(names[depth-1]...)) + end
		}
		fallthrough
	case 4:
		return line + "MaxAuthTries" + space + word(fmt.Sprint(rapid.IntRange(1, 9).Draw(t, "tries"))) + end
	case 5:
		return line + "AuthorizedKeysFile" + space + pick("none", "/k/%u", "/a '/b c'", `/d\ e`, `"/f#g" #h`) + end
	case 6:
		return line + "PermitRootLogin" + space + word(pick("yes", "no", "prohibit-password", "without-password", "forced-commands-only")) + end
	case 7:
		return line + "AllowUsers" + space + pick("a", "b c", "root@10.0.0.1") + end
	}
	keyword := pick("PasswordAuthentication", "passwordauthentication", "KbdInteractiveAuthentication",
		"ChallengeResponseAuthentication", "PubkeyAuthentication")
	return line + keyword + space + word(pick("yes", "no")) + end
}

func drawCriterion(t *rapid.T, pick func(...string) string, word func(string) string) string {
	space := pick(" ", "=", "  ")
	switch rapid.IntRange(0, 6).Draw(t, "criterion") {
	case 0:
		return pick("all", "ALL")
	case 1:
		return "User" + space + word(pick("root", "*", "r*,!root", "nobody,daemon", "!root,*"))
	case 2:
		return "Group" + space + word(pick("root", "nogroup,daemon", "*,!root", "!root"))
	case 3:
		return "Host" + space + word(pick("localhost", "*.Example.ORG", "?", "*,!h"))
	case 4:
		return "Address" + space + word(pick("127.0.0.1", "10.0.0.0/8,203.0.113.0/24", "!127.0.0.1,*", "2001:db8::/32", "::/0", "0.0.0.0/0", "203.0.113.*"))
	case 5:
		return "LocalAddress" + space + word(pick("127.0.0.0/8", "192.0.2.1", "::1", "*"))
	}
	return "LocalPort" + space + word(pick("22", "2222", "1"))
}
