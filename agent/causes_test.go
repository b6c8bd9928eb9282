package agent

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// The releases that causes are looked for on: the one of the machine the test
// runs on, and an older and a newer one, whose logs and defaults differ.
const (
	here  = ""
	older = "bullseye" // OpenSSH 8.4
	newer = "trixie"   // OpenSSH 10.0
)

const keyFile = "/home/" + testUser + "/.ssh/authorized_keys"

func newRigOf(t *testing.T, release string) *rig {
	t.Helper()
	if release == here {
		return newRig(t)
	}
	return rigOn(t, testmachine.NewDebian(t, release))
}

// A causeCase is a machine on which a bound key would not log in, or not in
// every way. Passwords have to stay on there, and the cause has to be named.
type causeCase struct {
	name      string
	everyKind bool   // of release
	user, key string // testUser and ed25519 where left out
	stage     func(*rig)
	cure      func(*rig) // the next pass closes the door; nil: not tried
	fails     bool       // the pass cannot even be made
	lockedOut bool       // the password never let the user in either
	causes    []string   // IDs that status and doctor name, sorted
	doctor    []string   // IDs that only doctor names, sorted
	says      []string   // words in what they say
}

func TestPasswordsStayOnAndTheCauseIsNamed(t *testing.T) {
	t.Parallel()
	for _, c := range slices.Concat(configCauses, keysFileCauses, accountCauses, sessionCauses) {
		releases := []string{here}
		if c.everyKind {
			releases = append(releases, older, newer)
		}
		for _, release := range releases {
			t.Run(strings.TrimSpace(c.name+" "+release), func(t *testing.T) {
				t.Parallel()
				r := newRigOf(t, release)
				seen, key := c.check(t, r)
				if c.cure != nil && release == here {
					c.wantCured(t, r, seen, key)
				}
			})
		}
	}
}

// check stages the case and makes a pass.
func (c causeCase) check(t *testing.T, r *rig) (metadata.Binding, testmachine.Key) {
	t.Helper()
	if c.user != "" {
		r.config.Login.User = c.user
		r.AddUser(c.user, testPassword)
	}
	key := testmachine.NewKey(t, orElse(c.key, "ed25519"))
	seen := bound(t, key)
	c.stage(r)
	r.StartSSHD()
	before := r.door()

	_, err := r.agent().Pass(context.Background(), seen, How{})
	if (err != nil) != c.fails {
		t.Errorf("pass: %v, want it to fail: %v", err, c.fails)
	}
	if diff := cmp.Diff(before, r.door()); diff != "" {
		t.Errorf("the door for passwords is not as it was (-before +after):\n%s", diff)
	}
	if !c.lockedOut {
		r.wantPasswordTaken()
	}
	c.wantStatus(t, r, seen)
	c.wantDoctor(t, r, seen)
	return seen, key
}

// wantCured: once the cause is gone, the next pass closes the door.
func (c causeCase) wantCured(t *testing.T, r *rig, seen metadata.Binding, key testmachine.Key) {
	t.Helper()
	c.cure(r)
	outcome := r.pass(seen, How{Retry: true})
	if !outcome.Applied.PasswordClosed || len(outcome.Applied.Faults) > 0 {
		t.Errorf("after the cure: %+v, want passwords closed", outcome.Applied.Faults)
	}
	if err := r.Login(t, r.config.Login.User, key.Signer); err != nil {
		t.Errorf("after the cure the key does not log in: %v", err)
	}
	c.wantNothingLeft(t, r, seen)
}

// door is what decides over passwords, and what a client is offered.
type door struct {
	Config, DropIn string
	Methods        []string
}

func (r *rig) door() door {
	r.t.Helper()
	d := door{Config: r.ReadFile("/etc/ssh/sshd_config"), Methods: r.Methods(r.t, r.config.Login.User)}
	if data, err := os.ReadFile(r.Path(sshd.DropIn)); err == nil {
		d.DropIn = string(data)
	}
	return d
}

// wantPasswordTaken: a session may still fail, where it is the session that
// keeps the key from working.
func (r *rig) wantPasswordTaken() {
	r.t.Helper()
	err := r.LoginPassword(r.t, r.config.Login.User, testPassword)
	if _, refused := errors.AsType[*testmachine.AuthError](err); refused {
		r.t.Errorf("logon with the password: %v, want it taken as before", err)
	}
}

func (c causeCase) wantStatus(t *testing.T, r *rig, seen metadata.Binding) {
	t.Helper()
	report, err := r.agent().Report(seen)
	if err != nil {
		t.Fatal(err)
	}
	if report.Password == "off" {
		t.Error("status says that passwords are off")
	}
	var named []Check
	for _, f := range report.Faults {
		named = append(named, Check{f.ID, Fail, f.Detail, f.Remedy})
	}
	c.wantNamed(t, "status", named, c.causes)
}

func (c causeCase) wantDoctor(t *testing.T, r *rig, seen metadata.Binding) {
	t.Helper()
	checks, err := r.agent().Doctor(context.Background(), seen)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(slices.Values(slices.Concat(c.causes, c.doctor)))
	c.wantNamed(t, "doctor", findings(checks), want)
	c.wantPasswordExplained(t, checks)
}

// findings are the failed checks of a doctor that are about the instance's
// state as such; no agent runs in these tests.
func findings(checks []Check) []Check {
	return slices.DeleteFunc(slices.Clone(checks), func(c Check) bool {
		return c.Result == Pass || c.Name == "password" || c.Name == "agent"
	})
}

// wantPasswordExplained: where passwords are checked, the causes are given as
// the reason.
func (c causeCase) wantPasswordExplained(t *testing.T, checks []Check) {
	t.Helper()
	for _, check := range checks {
		if check.Name != "password" || check.Result != Fail {
			continue
		}
		for _, id := range c.causes {
			if !strings.Contains(check.Detail, id) {
				t.Errorf("doctor says that passwords are %q, want %s given as the reason", check.Detail, id)
			}
		}
	}
}

func (c causeCase) wantNamed(t *testing.T, who string, named []Check, want []string) {
	t.Helper()
	var ids, details []string
	for _, check := range named {
		ids, details = append(ids, check.Name), append(details, check.Detail)
		if check.Remedy == "" {
			t.Errorf("%s has no remedy for %s", who, check.Name)
		}
	}
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(ids))); diff != "" {
		t.Errorf("causes that %s names (-want +got):\n%s%s", who, diff, strings.Join(details, "\n"))
	}
	all := strings.Join(details, "\n")
	for _, words := range c.says {
		if !strings.Contains(all, words) {
			t.Errorf("%s does not say %q:\n%s", who, words, all)
		}
	}
}

// wantNothingLeft: a cause that is cured is named no more.
func (c causeCase) wantNothingLeft(t *testing.T, r *rig, seen metadata.Binding) {
	t.Helper()
	report, err := r.agent().Report(seen)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Faults) > 0 || report.Password != "off" {
		t.Errorf("after the cure status says password %s, faults %+v", report.Password, report.Faults)
	}
}

func orElse(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// Ways to stage and to cure.

// configured puts lines at the top of sshd's configuration.
func configured(lines string) func(*rig) {
	return func(r *rig) { r.SSHDConfig(lines + "\n" + testmachine.DefaultSSHDConfig) }
}

// matched puts lines at the end of sshd's configuration.
func matched(lines string) func(*rig) {
	return func(r *rig) { r.SSHDConfig(testmachine.DefaultSSHDConfig + lines + "\n") }
}

var untouched = configured("")

func command(name string, args ...string) func(*rig) {
	return func(r *rig) {
		r.t.Helper()
		r.Run(r.t, name, args...)
	}
}

func all(steps ...func(*rig)) func(*rig) {
	return func(r *rig) {
		r.t.Helper()
		for _, step := range steps {
			step(r)
		}
	}
}

func written(path, content string) func(*rig) {
	return func(r *rig) { r.WriteFile(path, content, 0o644) }
}

// withKeysFile gives the user a keys file of their own.
func withKeysFile(r *rig) { r.AuthorizedKeys(testUser, "# mine") }

// insteadOfKeysFile puts something else in the place of the keys file.
func insteadOfKeysFile(place func(path string) error) func(*rig) {
	return func(r *rig) {
		r.t.Helper()
		withKeysFile(r)
		if err := os.Remove(r.Path(keyFile)); err != nil {
			r.t.Fatal(err)
		}
		if err := place(r.Path(keyFile)); err != nil {
			r.t.Fatal(err)
		}
	}
}

func makeFIFO(path string) error   { return unix.Mkfifo(path, 0o600) }
func makeFolder(path string) error { return os.Mkdir(path, 0o700) }
func makeDevice(path string) error {
	return unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))
}
