package authkeys_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/authkeys"
)

// certNow is when the certificates of these tests are looked at.
var certNow = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// authority signs certificates for tests.
type authority struct {
	t      testing.TB
	signer ssh.Signer
	key    ssh.PublicKey // the plain key that is certified
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	_, ca, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	signer, err := ssh.NewSignerFromKey(ca)
	must(t, err)
	public, _, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	key, err := ssh.NewPublicKey(public)
	must(t, err)
	return &authority{t, signer, key}
}

// plain is the certified key as a line.
func (a *authority) plain() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(a.key)))
}

// certificate is a user's for ever, changed by edit and then signed.
func (a *authority) certificate(edit func(*ssh.Certificate)) string {
	a.t.Helper()
	c := &ssh.Certificate{Key: a.key, CertType: ssh.UserCert, KeyId: "id", ValidBefore: ssh.CertTimeInfinity}
	edit(c)
	must(a.t, c.SignCert(rand.Reader, a.signer))
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(c)))
}

func parseCertificate(t testing.TB, line string) *authkeys.Certificate {
	t.Helper()
	c, err := authkeys.ParseCertificate(line)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestACertificateBecomesItsPlainKeyWithinItsBounds(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	options := func(options map[string]string) func(*ssh.Certificate) {
		return func(c *ssh.Certificate) { c.CriticalOptions = options }
	}
	extensions := func(names ...string) func(*ssh.Certificate) {
		return func(c *ssh.Certificate) {
			c.Extensions = map[string]string{}
			for _, name := range names {
				c.Extensions[name] = ""
			}
		}
	}
	tests := []struct {
		name string
		edit func(*ssh.Certificate)
		want string
	}{
		{"nothing permitted", func(*ssh.Certificate) {}, "restrict"},
		{
			"what ssh-keygen permits", extensions("permit-X11-forwarding", "permit-agent-forwarding", "permit-port-forwarding", "permit-pty", "permit-user-rc"),
			"restrict,X11-forwarding,agent-forwarding,port-forwarding,pty,user-rc",
		},
		{"one permission", extensions("permit-pty"), "restrict,pty"},
		{"an extension that nobody knows", extensions("permit-pty", "tomorrow@example.org"), "restrict,pty"},
		{"security key", extensions("no-touch-required"), "restrict,no-touch-required"},
		{"verification", options(map[string]string{"verify-required": ""}), "restrict,verify-required"},
		{"command", options(map[string]string{"force-command": `echo "a b" \n '$x'`}), `restrict,command="echo \"a b\" \n '$x'"`},
		{"command with an escaped quote", options(map[string]string{"force-command": `printf \"`}), `restrict,command="printf \\""`},
		{
			"addresses", options(map[string]string{"source-address": "10.0.0.0/8,192.0.2.1,2001:db8::/32"}),
			`restrict,from="10.0.0.0/8,192.0.2.1,2001:db8::/32"`,
		},
		{"end", func(c *ssh.Certificate) { c.ValidBefore = uint64(certNow.Add(time.Hour).Unix()) }, `restrict,expiry-time="20260701125959"`},
		{"end that no text can say", func(c *ssh.Certificate) { c.ValidBefore = 1 << 62 }, `restrict,expiry-time="99991229235959"`},
		{
			"all at once", func(c *ssh.Certificate) {
				extensions("permit-pty", "permit-user-rc")(c)
				options(map[string]string{"force-command": "id", "source-address": "10.0.0.1"})(c)
				c.ValidBefore = uint64(certNow.Add(24 * time.Hour).Unix())
				c.ValidPrincipals = []string{"other", "root"}
			},
			`restrict,pty,user-rc,expiry-time="20260702115959",from="10.0.0.1",command="id"`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			line, err := parseCertificate(t, a.certificate(test.edit)+" comment").AuthorizedKey("root", certNow, time.UTC)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want+" "+a.plain()+" comment", line); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			wantHeld(t, line)
		})
	}
}

// wantHeld checks that the managed block takes the line, and gives it back as it is.
func wantHeld(t *testing.T, line string) {
	t.Helper()
	foreign := "# mine\n" + testKey(t, 'u') + "\n"
	data := withManaged(t, foreign, line)
	if !strings.Contains(data, "\n"+line+"\n") {
		t.Errorf("the block does not hold the line:\n%s", data)
	}
	want := []string{strings.TrimSuffix(line, " comment")}
	if diff := cmp.Diff(want, authkeys.Parse([]byte(data)).ManagedLines()); diff != "" {
		t.Errorf("lines of the block (-want +got)\n%s", diff)
	}
	if again := withManaged(t, data, line); again != data {
		t.Errorf("a second time:\n%s", again)
	}
	if gone := withManaged(t, data); gone != foreign {
		t.Errorf("unbound:\n%s", gone)
	}
	damaged := data[:strings.Index(data, "# END")] + foreign
	if gone := withManaged(t, damaged); gone != foreign {
		t.Errorf("unbound, the block damaged:\n%s", gone)
	}
}

func TestACertificateThatCannotBeKeptToIsRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	option := func(name, value string) func(*ssh.Certificate) {
		return func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{name: value} }
	}
	tests := map[string]struct {
		edit func(*ssh.Certificate)
		want error
		says string
	}{
		"expired":                      {func(c *ssh.Certificate) { c.ValidBefore = uint64(certNow.Unix()) }, authkeys.ErrCertificateExpired, "2026-07-01T12:00:00Z"},
		"never valid":                  {func(c *ssh.Certificate) { c.ValidBefore = 0 }, authkeys.ErrCertificateExpired, "1970"},
		"not yet valid":                {func(c *ssh.Certificate) { c.ValidAfter = uint64(certNow.Unix() + 1) }, authkeys.ErrCertificateNotYet, "2026-07-01T12:00:01Z"},
		"valid in 2^63":                {func(c *ssh.Certificate) { c.ValidAfter = 1 << 63 }, authkeys.ErrCertificateNotYet, "9999"},
		"host":                         {func(c *ssh.Certificate) { c.CertType = ssh.HostCert }, authkeys.ErrHostCertificate, "host"},
		"other user":                   {func(c *ssh.Certificate) { c.ValidPrincipals = []string{"ada", "b\x1b"} }, authkeys.ErrCertificatePrincipal, `root, only ada, b\x1b`},
		"unknown option":               {option("tomorrow@example.org", ""), authkeys.ErrCertificateRestriction, "tomorrow@example.org: it is not known"},
		"command of two lines":         {option("force-command", "a\nb"), authkeys.ErrCertificateRestriction, "force-command"},
		"command that ends in \\":      {option("force-command", `a\`), authkeys.ErrCertificateRestriction, "force-command"},
		"command that is no text":      {option("force-command", "\xff"), authkeys.ErrCertificateRestriction, "force-command"},
		"addresses with a wildcard":    {option("source-address", "10.*"), authkeys.ErrCertificateRestriction, "source-address"},
		"addresses with a negation":    {option("source-address", "!10.0.0.1"), authkeys.ErrCertificateRestriction, "source-address"},
		"addresses with a host":        {option("source-address", "cafe"), authkeys.ErrCertificateRestriction, "source-address"},
		"addresses with another value": {option("source-address", `10.0.0.1",command="id`), authkeys.ErrCertificateRestriction, "source-address"},
		"address that is empty":        {option("source-address", "10.0.0.1,"), authkeys.ErrCertificateRestriction, "source-address"},
		"network with host bits":       {option("source-address", "10.0.0.1/8"), authkeys.ErrCertificateRestriction, "source-address"},
		"flag with a value":            {option("verify-required", "x"), authkeys.ErrCertificateRestriction, "verify-required"},
		"permission with a value": {
			func(c *ssh.Certificate) { c.Extensions = map[string]string{"permit-pty": "x"} },
			authkeys.ErrCertificateRestriction, "permit-pty",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			line, err := parseCertificate(t, a.certificate(test.edit)).AuthorizedKey("root", certNow, time.UTC)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) || line != "" {
				t.Errorf("got %q, %v; want %v that says %q", line, err, test.want, test.says)
			}
		})
	}
}

func TestOneByteOfACertificateChangedIsRefused(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	label, encoded, _ := strings.Cut(a.certificate(func(c *ssh.Certificate) {
		c.ValidPrincipals, c.CriticalOptions = []string{"root"}, map[string]string{"force-command": "id"}
	}), " ")
	blob, err := base64.StdEncoding.DecodeString(encoded)
	must(t, err)
	for i := range blob {
		for _, changed := range [][]byte{append(append([]byte{}, blob[:i]...), blob[i+1:]...), flipped(blob, i)} {
			_, err := authkeys.ParseCertificate(label + " " + base64.StdEncoding.EncodeToString(changed))
			if !errors.Is(err, authkeys.ErrCertificate) && !errors.Is(err, authkeys.ErrCertificateSignature) {
				t.Fatalf("byte %d changed: %v, want it refused", i, err)
			}
		}
	}
	for _, line := range []string{
		label + " " + encoded + "\n" + label + " " + encoded, "no-pty " + label + " " + encoded, encoded, label,
		"ssh-rsa-cert-v01@openssh.com " + encoded, "ssh-ed25519-cert-v00@openssh.com " + encoded,
	} {
		if _, err := authkeys.ParseCertificate(line); !errors.Is(err, authkeys.ErrCertificate) || strings.Contains(err.Error(), encoded[:40]) {
			t.Errorf("%.40s…: %v, want ErrCertificate without the line", line, err)
		}
	}
}

func flipped(blob []byte, i int) []byte {
	changed := append([]byte{}, blob...)
	changed[i] ^= 1
	return changed
}

// sshd reads local time as standard time, whatever the season: (*Location) of Go does not.
func TestTheExpiryTimeIsNeverLaterThanTheCertificates(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for _, test := range []struct{ zone, end, want string }{
		{"UTC", "2026-07-01T12:00:00Z", "20260701115959"},
		{"Europe/Berlin", "2026-12-01T12:00:00Z", "20261201125959"},
		{"Europe/Berlin", "2026-07-01T13:00:00Z", "20260701135959"},
		{"Europe/Berlin", "2026-10-25T00:30:00Z", "20261025012959"}, // the hour that comes twice
		{"America/Los_Angeles", "2026-07-01T20:00:00Z", "20260701115959"},
		{"Australia/Lord_Howe", "2026-12-01T12:00:00Z", "20261201222959"},
		{"Europe/Dublin", "2026-07-01T13:00:00Z", "20260701125959"}, // standard time in summer: an hour early
	} {
		zone, err := time.LoadLocation(test.zone)
		must(t, err)
		end, err := time.Parse(time.RFC3339, test.end)
		must(t, err)
		c := parseCertificate(t, a.certificate(func(c *ssh.Certificate) { c.ValidBefore = uint64(end.Unix()) }))
		line, err := c.AuthorizedKey("root", end.Add(-time.Hour), zone)
		must(t, err)
		if want := `restrict,expiry-time="` + test.want + `" ` + a.plain(); line != want {
			t.Errorf("%s in %s: %s, want %s", test.end, test.zone, line, want)
		}
	}
}

// Invariant 8.
func TestTheBlockTakesNoOptionsButACertificatesBounds(t *testing.T) {
	t.Parallel()
	key := testKey(t, '1')
	for _, options := range []string{
		"no-pty", "cert-authority", `command="id"`, `from="10.0.0.1"`, "restrict,no-pty", "pty,restrict", "restrict,pty,pty",
		"RESTRICT", "restrict,", `restrict,environment="A=b"`, `restrict,permitopen="a:1"`, `restrict,tunnel="1"`,
		"restrict,cert-authority", `restrict,principals="a"`, `restrict,from="*"`, `restrict,from="!10.0.0.1"`, `restrict,from="host"`,
		`restrict,from=""`, `restrict,expiry-time="20260101"`, `restrict,expiry-time="20260101000000Z"`,
		`restrict,command="a",from="10.0.0.1"`, `restrict,command="a",command="b"`, `restrict,command="a`, "restrict\t,pty",
	} {
		if out, err := authkeys.Parse(nil).WithManaged([]string{options + " " + key}); err == nil {
			t.Errorf("%s: taken as\n%s", options, out)
		}
	}
	two := "restrict " + key + "\n" + key
	if _, err := authkeys.Parse(nil).WithManaged([]string{two}); err == nil {
		t.Error("two lines were taken")
	}
}

func FuzzParseCertificate(f *testing.F) {
	a := newAuthority(f)
	f.Add(a.certificate(func(*ssh.Certificate) {}))
	f.Add(a.certificate(func(c *ssh.Certificate) {
		c.CriticalOptions, c.ValidPrincipals = map[string]string{"force-command": `a"\`, "source-address": "10/8"}, []string{"root"}
	}))
	for _, key := range legacyKeys(f) {
		f.Add(legacyCertificate(f, key, map[string]string{"permit-pty": ""}, "root"))
	}
	f.Fuzz(func(t *testing.T, line string) {
		c, err := authkeys.ParseCertificate(line)
		if err != nil {
			return
		}
		out, err := c.AuthorizedKey("root", certNow, time.UTC)
		if err != nil {
			return
		}
		data, err := authkeys.Parse(nil).WithManaged([]string{out})
		if err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if entries := authkeys.Parse(data).Managed(); len(entries) != 1 || !entries[0].Options.Restricted {
			t.Errorf("%q is not one restricted key", data)
		}
	})
}
