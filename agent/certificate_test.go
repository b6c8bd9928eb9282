package agent

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// certify is the key with a certificate's line in the place of its own. The private half
// is the plain key's.
func certify(t *testing.T, key testmachine.Key, edit func(*ssh.Certificate)) testmachine.Key {
	t.Helper()
	key.Line = certificateOver(t, key.Signer.PublicKey(), edit)
	return key
}

// certificateOver is the line of a certificate over the key, for ever unless edited.
func certificateOver(t *testing.T, key ssh.PublicKey, edit func(*ssh.Certificate)) string {
	t.Helper()
	c := &ssh.Certificate{Key: key, CertType: ssh.UserCert, KeyId: "test", ValidBefore: ssh.CertTimeInfinity}
	edit(c)
	noError(t, c.SignCert(rand.Reader, testmachine.NewKey(t, "ed25519").Signer))
	return lineOf(c)
}

func lineOf(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// newCertificate is one over a new ed25519 key.
func newCertificate(t *testing.T, edit func(*ssh.Certificate)) testmachine.Key {
	t.Helper()
	return certify(t, testmachine.NewKey(t, "ed25519"), edit)
}

func validFor(d time.Duration) func(*ssh.Certificate) {
	return func(c *ssh.Certificate) { c.ValidBefore = uint64(time.Now().Add(d).Unix()) }
}

func critical(name, value string) func(*ssh.Certificate) {
	return func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{name: value} }
}

// asks runs a command on the machine with OpenSSH's client, and tells what came of it.
func (r *rig) asks(key testmachine.Key, options []string, command ...string) (string, error) {
	r.t.Helper()
	out, err := r.OpenSSH(r.t, testUser, append([]string{"-i", key.PEM, "-o", "LogLevel=ERROR"}, options...), command...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// line is the one line between the marks.
func (r *rig) line() string {
	r.t.Helper()
	lines := strings.Split(r.ReadFile(keyFile), "\n")
	if len(lines) < 3 {
		return ""
	}
	return lines[1]
}

func TestABoundCertificateLetsItsKeyInWithinItsBounds(t *testing.T) {
	t.Parallel()
	for _, release := range []string{here, older, newer, "by command"} {
		t.Run(orElse(release, "here"), func(t *testing.T) {
			t.Parallel()
			var r *rig
			if release == "by command" {
				r = newRig(t)
				r.deliverBy(ByCommand)
			} else {
				r = newRigOf(t, release)
			}
			r.StartSSHD()
			key := newCertificate(t, func(c *ssh.Certificate) {
				c.ValidPrincipals = []string{"somebody", testUser}
				c.CriticalOptions = map[string]string{"force-command": `echo "in bounds: $SSH_ORIGINAL_COMMAND"`, "source-address": "127.0.0.0/8,198.51.100.0/24"}
				c.ValidBefore = uint64(time.Now().Add(time.Hour).Unix())
			})
			outcome := r.pass(bound(t, key), How{})
			if !outcome.Applied.PasswordClosed || len(outcome.Applied.Faults) > 0 {
				t.Fatalf("faults %+v, want passwords closed", outcome.Applied.Faults)
			}
			r.wantPassword(false)
			said, err := r.asks(key, nil, "id", "-u")
			if err != nil || said != "in bounds: id -u" {
				t.Errorf("the forced command: %q, %v", said, err)
			}
			said, err = r.asks(key, []string{"-tt"}, "tty")
			if !strings.Contains(said, "PTY allocation request failed") {
				t.Errorf("a terminal that the certificate does not permit: %q, %v", said, err)
			}
			if out, err := r.asks(key, []string{"-W", "127.0.0.1:" + strings.TrimPrefix(r.Address(), "127.0.0.1:")}); err == nil {
				t.Errorf("a forwarding that the certificate does not permit: %q", out)
			}
			r.wantKeysOfAnotherPassUnchanged(bound(t, key))
			r.pass(unbound(), How{Now: true})
			r.wantPassword(true)
			if _, err := r.asks(key, nil, "id"); err == nil {
				t.Error("after the unbind the key still logs in")
			}
		})
	}
}

// wantKeysOfAnotherPassUnchanged: invariant 4.
func (r *rig) wantKeysOfAnotherPassUnchanged(seen metadata.Binding) {
	r.t.Helper()
	before := r.traces(instance...)
	if outcome := r.pass(seen, How{}); len(outcome.Done) > 0 {
		r.t.Errorf("a second pass took %v", outcome.verbs())
	}
	r.wantUntouched(before, instance...)
}

func TestACertificateThatPermitsLetsDoThat(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	key := newCertificate(t, func(c *ssh.Certificate) { c.Extensions = map[string]string{"permit-pty": ""} })
	r.pass(bound(t, key), How{})
	said, err := r.asks(key, []string{"-tt"}, "tty")
	if err != nil || !strings.HasPrefix(said, "/dev/") {
		t.Errorf("a terminal: %q, %v", said, err)
	}
	r.wantPassword(false)
}

// What is wrong with a certificate is said, passwords stay on, and nothing of it is
// written.
func TestACertificateThatCannotBeUsedIsAFaultAndPasswordsStayOn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		id   string
		edit func(*ssh.Certificate)
		says string
	}{
		{"certificate-expired", validFor(-time.Minute), "expired"},
		{"certificate-not-yet-valid", func(c *ssh.Certificate) { c.ValidAfter = uint64(time.Now().Add(time.Hour).Unix()) }, "only from"},
		{"certificate-principals", func(c *ssh.Certificate) { c.ValidPrincipals = []string{"root", "ada"} }, testUser + ", only root, ada"},
		{"certificate-host", func(c *ssh.Certificate) { c.CertType = ssh.HostCert }, "host"},
		{"certificate-restriction", critical("tomorrow@example.org", ""), "tomorrow@example.org"},
		{"certificate-signature", nil, "signature"},
	} {
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.StartSSHD()
			r.AuthorizedKeys(testUser, "# mine")
			seen := bound(t, newCertificate(t, orPlain(c.edit)))
			if c.edit == nil {
				seen.Keys[0].Blob[len(seen.Keys[0].Blob)-1] ^= 1
			}
			outcome := r.pass(seen, How{})
			wantFault(t, outcome.Applied.Faults, c.id, c.says)
			r.wantPassword(true)
			if got := r.ReadFile(keyFile); got != "# mine\n" {
				t.Errorf("written:\n%s", got)
			}
			_, checks := r.doctor(seen)
			if i := slices.IndexFunc(checks, func(check Check) bool { return check.Name == c.id }); i < 0 || checks[i].Remedy == "" {
				t.Errorf("doctor says %+v, want %s with a remedy", checks, c.id)
			}
			r.wantKeysOfAnotherPassUnchanged(seen)
			r.pass(unbound(), How{Now: true})
			r.wantPassword(true)
		})
	}
}

func orPlain(edit func(*ssh.Certificate)) func(*ssh.Certificate) {
	if edit == nil {
		return func(*ssh.Certificate) {}
	}
	return edit
}

// wantFault checks that this is the one fault, with a remedy.
func wantFault(t *testing.T, faults []sshd.Cause, id, says string) {
	t.Helper()
	if len(faults) != 1 || faults[0].ID != id || !strings.Contains(faults[0].Detail, says) || faults[0].Remedy == "" {
		t.Errorf("faults %+v, want %s that says %q, with a remedy", faults, id, says)
	}
}

// sshd is asked from this machine, so a key that must not come from here cannot be
// proved.
func TestACertificateThatShutsTheProofOutKeepsPasswordsOn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ addresses, says string }{
		"other addresses": {"198.51.100.0/24", "cannot be proved"},
		"one of ours":     {"127.0.0.1,198.51.100.0/24", "cannot be proved"},
		"none but ours":   {"127.0.0.0/8", "this instance alone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.StartSSHD()
			key := newCertificate(t, critical("source-address", c.addresses))
			seen := bound(t, key)
			outcome := r.pass(seen, How{})
			wantFault(t, outcome.Applied.Faults, "certificate-source-address", c.says)
			r.wantPassword(true)
			r.wantKey(key, !strings.HasPrefix(c.addresses, "198")) // this machine is 127.0.0.1
			if line := r.line(); !strings.HasPrefix(line, `restrict,from="`+c.addresses+`" ssh-ed25519 `) {
				t.Errorf("written: %s", line)
			}
			_, checks := r.doctor(seen)
			if !slices.ContainsFunc(checks, func(check Check) bool { return check.Name == "certificate-source-address" }) {
				t.Errorf("doctor says %+v", checks)
			}
		})
	}
}

// The key stops by its expiry-time; the next pass says so, takes the line away and
// opens passwords, since it was latchkey that wrote the end onto the line.
func TestACertificateThatExpiresInForceOpensPasswordsAgain(t *testing.T) {
	t.Parallel()
	for _, delivery := range []Delivery{ByFile, ByCommand} {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.deliverBy(delivery)
			r.wantPasswordsOpenedByTheEnd()
		})
	}
}

func (r *rig) wantPasswordsOpenedByTheEnd() {
	t := r.t
	t.Helper()
	r.StartSSHD()
	const lasts = 8 * time.Second
	key := newCertificate(t, validFor(lasts))
	seen := bound(t, key)
	outcome := r.pass(seen, How{})
	if !outcome.Applied.PasswordClosed {
		t.Fatalf("faults %+v, want passwords closed", outcome.Applied.Faults)
	}
	if due := outcome.Plan.turns(); time.Until(due) > lasts || due.IsZero() {
		t.Errorf("the next pass is due at %v, want it when the certificate ends", due)
	}
	poll(t, "sshd takes the key no more", func() bool { return r.Login(t, testUser, key.Signer) != nil })
	r.wantPassword(false)
	report, err := r.agent().Report(seen)
	noError(t, err)
	wantFault(t, report.Faults, "certificate-expired", "expired")

	outcome = r.pass(unknown(), How{})
	want := []Verb{WriteKeys, OpenPassword, Reload, Record}
	if diff := cmp.Diff(want, outcome.verbs()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, planVerbs(outcome)); diff != "" {
		t.Errorf("planned (-want +got):\n%s", diff)
	}
	wantFault(t, outcome.Applied.Faults, "certificate-expired", "expired")
	r.wantPassword(true)
	if r.exists(keyFile) && r.ReadFile(keyFile) != "" || r.exists(index.Bound) {
		t.Error("the key is still in the keys file, or in the index")
	}
}

func planVerbs(o *Outcome) []Verb {
	var verbs []Verb
	for _, step := range o.Plan.Steps {
		verbs = append(verbs, step.Verb)
	}
	return verbs
}

// TestTheDaemonActsWhenACertificateEnds: nothing else happens meanwhile.
func TestTheDaemonActsWhenACertificateEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	r.daemon(newEndpoint(t, newCertificate(t, validFor(8*time.Second))))
	if !r.exists(dropIn) {
		t.Fatal("passwords are not turned off")
	}
	poll(t, "passwords are on again", func() bool {
		return !r.exists(dropIn) && r.LoginPassword(t, testUser, testPassword) == nil
	})
}

func TestOfSeveralKeysTheOthersKeepPasswordsOffWhenACertificateEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	plain, certificate := testmachine.NewKey(t, "ed25519"), newCertificate(t, validFor(8*time.Second))
	seen := bound(t, plain, certificate)
	if outcome := r.pass(seen, How{}); !outcome.Applied.PasswordClosed {
		t.Fatalf("faults %+v, want passwords closed", outcome.Applied.Faults)
	}
	poll(t, "the certificate has ended", func() bool { return r.Login(t, testUser, certificate.Signer) != nil })
	for range 2 {
		outcome := r.pass(unknown(), How{Retry: true})
		wantFault(t, outcome.Applied.Faults, "certificate-expired", "expired")
		r.wantPassword(false)
		r.wantKey(plain, true)
	}
}

// A key that was bound before stays the way in while the certificate cannot be used.
func TestTheKeyBoundBeforeStaysWhileACertificateCannotBeUsed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	before := newCertificate(t, critical("force-command", "echo bounded"))
	r.pass(bound(t, before), How{})
	r.reboot()
	outcome := r.pass(bound(t, newCertificate(t, validFor(-time.Minute))), How{})
	ids := strings.Fields(causeIDs(outcome.Applied.Faults))
	if diff := cmp.Diff([]string{"certificate-expired", "older-key-stays"}, ids); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	r.wantPassword(false)
	if said, err := r.asks(before, nil, "id"); err != nil || said != "bounded" {
		t.Errorf("the key bound before: %q, %v; want it in, within its own bounds", said, err)
	}
}

// A new certificate over the same key replaces the old bounds.
func TestACertificateThatIsRenewedReplacesTheOldBounds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	key := testmachine.NewKey(t, "ed25519")
	r.pass(bound(t, certify(t, key, critical("force-command", "echo first"))), How{})
	renewed := bound(t, certify(t, key, critical("force-command", "echo second")))
	r.pass(renewed, How{Now: true})
	if said, err := r.asks(key, nil, "id"); err != nil || said != "second" {
		t.Errorf("%q, %v", said, err)
	}
	r.wantPassword(false)
	if _, err := r.agent().Release(context.Background(), ReleaseHow{}); err != nil {
		t.Fatal(err)
	}
	if said, err := r.asks(key, nil, "id"); err != nil || said != "second" {
		t.Errorf("after the release: %q, %v; want the key in, within its bounds", said, err)
	}
}

// The zone decides what an expiry-time means to sshd. These have no summer time.
func TestTheExpiryIsTheSameInstantInEveryZone(t *testing.T) {
	t.Parallel()
	for _, release := range []string{here, older} {
		r := newRigOf(t, release)
		r.StartSSHD()
		key := newCertificate(t, validFor(time.Hour))
		for _, zone := range []string{"Pacific/Honolulu", "Asia/Tokyo", "Etc/UTC"} {
			r.Run(t, "ln", "-sf", "/usr/share/zoneinfo/"+zone, "/etc/localtime")
			if outcome := r.pass(bound(t, key), How{}); !outcome.Applied.PasswordClosed {
				t.Errorf("%s: faults %+v", zone, outcome.Applied.Faults)
			}
			r.wantKey(key, true)
			location, err := time.LoadLocation(zone)
			noError(t, err)
			_, text, _ := strings.Cut(r.line(), `expiry-time="`)
			end, err := time.ParseInLocation("20060102150405", text[:14], location)
			noError(t, err)
			if left := time.Until(end); left > time.Hour || left < 50*time.Minute {
				t.Errorf("%s: %s is in %v", zone, text[:14], left)
			}
		}
	}
}

// A client that has the certificate too offers it first; sshd passes over it.
func TestAClientThatHoldsTheCertificateLogsInAsWell(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	key := newCertificate(t, critical("force-command", "echo bounded"))
	r.pass(bound(t, key), How{})
	file := filepath.Join(t.TempDir(), "key-cert.pub")
	noError(t, os.WriteFile(file, []byte(key.Line+"\n"), 0o600))
	said, err := r.asks(key, []string{"-o", "CertificateFile=" + file}, "id")
	if err != nil || said != "bounded" {
		t.Errorf("%q, %v", said, err)
	}
}
