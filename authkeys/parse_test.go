package authkeys_test

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// accepts is what a server that uses this package answers.
func accepts(file *authkeys.File, blob []byte) bool {
	for _, entry := range file.Keys() {
		if bytes.Equal(entry.Blob, blob) && entry.Permits(netip.MustParseAddr("127.0.0.1"), "", time.Now()) == nil {
			return true
		}
	}
	return false
}

func blobOf(t testing.TB, key string) []byte {
	t.Helper()
	entry, err := authkeys.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return entry.Blob
}

func TestEachLineIsReadAsDocumented(t *testing.T) {
	key := testKey(t, 'k')
	blob := blobOf(t, key)
	for _, test := range lineCases(key) {
		if got := accepts(authkeys.Parse([]byte(test.line)), blob); got != test.accept {
			t.Errorf("%s: accepted %v, want %v", test.name, got, test.accept)
		}
	}
}

func TestSameFileSameVerdictAsSSHD(t *testing.T) {
	machine := testmachine.New(t)
	machine.AddUser("alice", "correct horse")
	machine.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	line := strings.Join(strings.Fields(key.Line)[:2], " ")
	for _, test := range lineCases(line) {
		ours := accepts(authkeys.Parse([]byte(test.line+"\n")), key.Signer.PublicKey().Marshal())
		machine.AuthorizedKeys("alice", test.line)
		if theirs := isWelcome(t, machine, key.Signer.PublicKey()); ours != theirs {
			t.Errorf("%s: sshd accepts: %v, we: %v", test.name, theirs, ours)
		}
	}
}

// isWelcome asks sshd about a key without proving that one has it.
func isWelcome(t *testing.T, machine *testmachine.Machine, key ssh.PublicKey) bool {
	t.Helper()
	asked := &asker{key: key}
	if err := machine.Login(t, "alice", asked); err == nil {
		t.Fatal("logged in without a signature")
	}
	return asked.welcome
}

// An asker is asked for a signature only if its key was accepted.
type asker struct {
	key     ssh.PublicKey
	welcome bool
}

func (a *asker) PublicKey() ssh.PublicKey { return a.key }

func (a *asker) Sign(io.Reader, []byte) (*ssh.Signature, error) {
	a.welcome = true
	return nil, errors.New("only asking")
}

func TestEachBlobIsReadAsDocumented(t *testing.T) {
	for _, test := range blobCases() {
		line := authkeys.Parse([]byte(test.line())).Lines[0]
		if got := line.Kind == authkeys.Key; got != test.valid {
			t.Errorf("%s: a key: %v (%v), want %v", test.name, got, line.Err, test.valid)
		}
	}
}

func TestSameKeysAndFingerprintsAsSSHKeygen(t *testing.T) {
	keygen := testmachine.RequireProgram(t, "ssh-keygen")
	path := filepath.Join(t.TempDir(), "line")
	check := func(name, line string) {
		if strings.Contains(line, "\n") {
			return // one line at a time
		}
		if err := os.WriteFile(path, []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		out, _ := exec.Command(keygen, "-l", "-f", path).Output()
		theirs := ""
		if fields := strings.Fields(string(out)); len(fields) > 1 {
			theirs = fields[1]
		}
		if ours := fingerprintOf(line); ours != theirs {
			t.Errorf("%s: ours %q, ssh-keygen's %q", name, ours, theirs)
		}
	}
	for _, test := range lineCases(testKey(t, 'k')) {
		check(test.name, test.line)
	}
	for _, test := range blobCases() {
		check(test.name, test.line())
	}
}

// fingerprintOf looks at the key only: ssh-keygen does not read options.
func fingerprintOf(line string) string {
	parsed := authkeys.Parse([]byte(line + "\n")).Lines[0]
	if parsed.Kind == authkeys.Bad && strings.HasPrefix(parsed.Err.Error(), "options: ") && !strings.Contains(parsed.Err.Error(), "double quote is not closed") {
		key := line[strings.Index(line, "ssh-ed25519 A"):]
		parsed = authkeys.Parse([]byte(key)).Lines[0]
	}
	if parsed.Kind != authkeys.Key {
		return ""
	}
	return parsed.Entry.Fingerprint()
}

func TestOptionsAreInForceLeftToRight(t *testing.T) {
	type flags struct{ Port, Agent, X11, PTY, UserRC bool }
	all, none := flags{true, true, true, true, true}, flags{}
	for options, want := range map[string]flags{
		"pty":                         all,
		"restrict":                    none,
		"restrict,pty":                {PTY: true},
		"pty,restrict":                none,
		"restrict,no-pty,PTY,user-rc": {PTY: true, UserRC: true},
		"no-x11-forwarding":           {true, true, false, true, true},
		"no-port-forwarding,restrict,X11-forwarding,agent-forwarding": {Agent: true, X11: true},
	} {
		o := parseOne(t, options).Options
		got := flags{o.PortForwarding, o.AgentForwarding, o.X11Forwarding, o.PTY, o.UserRC}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", options, diff)
		}
	}
}

func parseOne(t *testing.T, options string) *authkeys.Entry {
	t.Helper()
	line := authkeys.Parse([]byte(options + " " + testKey(t, 'k') + " me")).Lines[0]
	if line.Err != nil {
		t.Fatalf("%s: %v", options, line.Err)
	}
	return line.Entry
}

func TestOptionValuesAreTyped(t *testing.T) {
	ptr := func(s string) *string { return &s }
	device := 7
	want := authkeys.Options{
		PortForwarding: true, AgentForwarding: true, X11Forwarding: true, PTY: true, UserRC: true,
		NoTouchRequired: true, VerifyRequired: true,
		Command:      ptr(`say "hi" \ there`),
		From:         ptr("10.0.0.0/8,*.example.org"),
		Environment:  []string{"A=1", "B=2"},
		ExpiryTime:   time.Date(2030, 3, 3, 4, 5, 0, 0, time.UTC),
		PermitOpen:   []authkeys.HostPort{{Host: "h", Port: 22}, {Host: "[::1]", Port: 0}},
		PermitListen: []authkeys.HostPort{{Host: "*", Port: 8080}},
		Tunnel:       &device,
	}
	got := parseOne(t, `no-touch-required,verify-required,command="say \"hi\" \ there",from="10.0.0.0/8,*.example.org",`+
		`environment="A=1",environment="B=2",environment="A=3",expiry-time="20310101Z",expiry-time="203002310405Z",`+
		`permitopen="h:22",permitopen="[::1]:*",permitlisten="8080",tunnel="7"`).Options
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAuthorityAndPrincipalsAreRead(t *testing.T) {
	o := parseOne(t, `cert-authority,principals="a,b"`).Options
	if !o.CertAuthority || o.Principals == nil || *o.Principals != "a,b" {
		t.Errorf("%+v", o)
	}
}

func TestTimeWithoutZoneIsLocal(t *testing.T) {
	got := parseOne(t, `expiry-time="203007010203"`).Options.ExpiryTime
	if want := time.Date(2030, 7, 1, 2, 3, 0, 0, time.Local); !got.Equal(want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestPermitsTellsTheReason(t *testing.T) {
	end := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		options, addr, host string
		now                 time.Time
		want                error
	}{
		{`pty`, "10.1.2.3", "", end, nil},
		{`expiry-time="20300101Z"`, "10.1.2.3", "", end, nil}, // the last second counts
		{`expiry-time="20300101Z"`, "10.1.2.3", "", end.Add(time.Second), authkeys.ErrExpired},
		{`from="10.0.0.0/8"`, "10.1.2.3", "", end, nil},
		{`from="10.0.0.0/8"`, "::ffff:10.1.2.3", "", end, nil},
		{`from="10.0.0.0/8"`, "11.1.2.3", "", end, authkeys.ErrFrom},
		{`from="10.0.0.1/8"`, "10.1.2.3", "", end, authkeys.ErrBadFrom},
		{`from="2001:db8::/32"`, "2001:db8::1", "", end, nil},
		{`from="*.Example.org"`, "10.1.2.3", "WWW.example.ORG", end, nil},
		{`from="*.example.org,!bad.example.org"`, "10.1.2.3", "bad.example.org", end, authkeys.ErrFrom},
		{`from="10.*,!bad.example.org"`, "10.1.2.3", "bad.example.org", end, authkeys.ErrFrom},
		{`from="www.example.org"`, "10.1.2.3", "", end, authkeys.ErrFrom},
		{`cert-authority`, "10.1.2.3", "", end, authkeys.ErrCertAuthority},
		{`principals="a"`, "10.1.2.3", "", end, authkeys.ErrPrincipals},
	}
	for _, test := range tests {
		err := parseOne(t, test.options).Permits(netip.MustParseAddr(test.addr), test.host, test.now)
		if !errors.Is(err, test.want) {
			t.Errorf("%s from %s %s: %v, want %v", test.options, test.addr, test.host, err, test.want)
		}
	}
}

func TestForwardingIsMatchedByHostAndPort(t *testing.T) {
	for _, test := range []struct {
		allowed authkeys.HostPort
		host    string
		port    int
		want    bool
	}{
		{authkeys.HostPort{Host: "h", Port: 22}, "h", 22, true},
		{authkeys.HostPort{Host: "h", Port: 22}, "h", 23, false},
		{authkeys.HostPort{Host: "h", Port: 22}, "i", 22, false},
		{authkeys.HostPort{Host: "h"}, "h", 5, true},
		{authkeys.HostPort{Host: "*", Port: 22}, "i", 22, true},
		{authkeys.HostPort{Host: "[::1]", Port: 22}, "::1", 22, true},
	} {
		if got := test.allowed.Matches(test.host, test.port); got != test.want {
			t.Errorf("%+v matches %s %d: %v", test.allowed, test.host, test.port, got)
		}
	}
}

func TestBadLineTellsTheReasonAndNoKey(t *testing.T) {
	key := testKey(t, 'k')
	blob := strings.Fields(key)[1]
	for line, want := range map[string]string{
		"garbage":                  "no key",
		"ssh-foo " + blob:          `unknown key type "ssh-foo"`,
		"ssh-rsa " + blob:          "the label is ssh-rsa",
		"ssh-ed25519 " + blob[:20]: "cut short",
		"ssh-ed25519 !" + blob:     "base64 is damaged",
		"pty ssh-ed25519":          "no key",
		"frob " + key:              `"frob"`,
		`command="x ` + key:        "quote",
		"ssh-ed25519-cert-v01@openssh.com " + blob: "certificate",
		blob + " " + key: "no such option",
	} {
		got := authkeys.Parse([]byte(line)).Lines[0]
		if got.Kind != authkeys.Bad || !strings.Contains(got.Err.Error(), want) || strings.Contains(got.Err.Error(), blob[20:]) {
			t.Errorf("%.30q: %v %v, want %q", line, got.Kind, got.Err, want)
		}
	}
}

// A hostile file must not hold the reader up: each of these is as large as a
// file may be, and took minutes where a scan was repeated.
func TestLargestLinesAreReadInNoTime(t *testing.T) {
	key := testKey(t, 'k')
	for name, line := range map[string]string{
		"commas":      strings.Repeat(",", authkeys.MaxSize) + " " + key,
		"flags":       strings.Repeat("pty,", authkeys.MaxSize/4) + "pty " + key,
		"environment": strings.Repeat(`environment="A=1",`, authkeys.MaxSize/18) + "pty " + key,
		"word":        strings.Repeat("x", authkeys.MaxSize) + " " + key,
		"stars":       `from="` + strings.Repeat("*", authkeys.MaxSize) + `x" ` + key,
		"blanks":      strings.Repeat(" ", authkeys.MaxSize) + key,
	} {
		start := time.Now()
		accepts(authkeys.Parse([]byte(line)), blobOf(t, key))
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%s: %v", name, took)
		} else {
			t.Logf("%s: %v", name, took)
		}
	}
}
