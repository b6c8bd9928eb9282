package agent

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// A doorCase is a machine on which the key does log in, however it looks.
type doorCase struct {
	name      string
	everyKind bool   // of release
	key       string // ed25519 where left out
	stage     func(*rig)
	noLogin   bool // the password never let the user in
}

var doorCases = []doorCase{
	{name: "as installed", everyKind: true, stage: untouched},
	{name: "cloud-init says yes", everyKind: true, stage: written("/etc/ssh/sshd_config.d/50-cloud-init.conf", "PasswordAuthentication yes\n")},
	{name: "keyboard-interactive through PAM", everyKind: true, stage: configured("KbdInteractiveAuthentication yes")},
	{name: "keyboard-interactive by its old name", stage: configured("ChallengeResponseAuthentication yes")},
	{name: "main file without Include", everyKind: true, stage: func(r *rig) { r.SSHDConfig("UsePAM yes\nX11Forwarding yes\n") }},
	{name: "main file without Include or last newline, with Match", stage: func(r *rig) {
		r.SSHDConfig("UsePAM yes\nMatch User " + testUser + "\n\tPasswordAuthentication yes")
	}},
	{name: "Include below the password's own line", stage: func(r *rig) {
		r.SSHDConfig("PasswordAuthentication yes\n" + testmachine.DefaultSSHDConfig)
	}},
	{name: "Match block that reopens passwords", everyKind: true, stage: matched("Match User " + testUser + "\n\tPasswordAuthentication yes\n\tKbdInteractiveAuthentication yes")},
	{name: "Match block for everybody in a later drop-in", stage: written("/etc/ssh/sshd_config.d/99-site.conf", "Match all\n\tPasswordAuthentication yes\n")},
	{name: "keys read from a folder of root's", stage: configured("AuthorizedKeysFile /etc/ssh/authorized_keys/%u")},
	{name: "folder that a private group may write to", everyKind: true, stage: all(withKeysFile, command("chmod", "770", "/home/"+testUser+"/.ssh"))},
	{name: "file others may write to", stage: all(withKeysFile, command("chmod", "666", keyFile))},
	{name: "file of somebody else", stage: all(withKeysFile, command("chown", "daemon:", keyFile), command("chmod", "644", keyFile))},
	{name: "link to a sound file", stage: all(withKeysFile, command("mv", keyFile, "/home/"+testUser+"/.ssh/real"), command("ln", "-s", "real", keyFile))},
	{name: "locked, with PAM", everyKind: true, noLogin: true, stage: command("usermod", "--lock", testUser)},
	{name: "no password but not locked, without PAM", noLogin: true, stage: all(configured("UsePAM no"), command("usermod", "-p", "*", testUser))},
	{name: "Ed25519 not accepted", key: "ecdsa-256", stage: configured("PubkeyAcceptedKeyTypes ecdsa-sha2-nistp256")},
	{name: "either list of methods", stage: configured("AuthenticationMethods publickey password")},
}

func TestTheDoorClosesAndOpensAgain(t *testing.T) {
	t.Parallel()
	for _, c := range doorCases {
		releases := []string{here}
		if c.everyKind {
			releases = append(releases, older, newer)
		}
		for _, release := range releases {
			t.Run(strings.TrimSpace(c.name+" "+release), func(t *testing.T) {
				t.Parallel()
				c.check(t, newRigOf(t, release))
			})
		}
	}
}

func (c doorCase) check(t *testing.T, r *rig) {
	c.stage(r)
	r.StartSSHD()
	before, offered := r.sshdSays(), r.offered(t)
	files := r.sshdFiles()
	if !c.noLogin && !slices.Contains(offered, "password") {
		t.Fatalf("the client is offered %v before, want password among it", offered)
	}
	key := testmachine.NewKey(t, orElse(c.key, "ed25519"))

	if outcome := r.pass(bound(t, key), How{}); !outcome.Applied.PasswordClosed {
		t.Fatalf("passwords stay on: %+v", outcome.Applied.Faults)
	}
	r.wantKey(key, true)
	if diff := cmp.Diff([]string{"publickey"}, r.offered(t)); diff != "" {
		t.Errorf("methods that the client is offered (-want +got):\n%s", diff)
	}

	r.pass(unbound(), How{Now: true})
	if diff := cmp.Diff(files, r.sshdFiles()); diff != "" {
		t.Errorf("sshd's files are not what they were (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(before, r.sshdSays()); diff != "" {
		t.Errorf("effective configuration is not what it was (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(offered, r.offered(t)); diff != "" {
		t.Errorf("methods that the client is offered are not what they were (-before +after):\n%s", diff)
	}
}

// offered are the methods that OpenSSH's own client is offered when it has no
// key: those it names when it gives up.
func (r *rig) offered(t *testing.T) []string {
	t.Helper()
	out, err := r.OpenSSH(t, testUser, []string{"-o", "PubkeyAuthentication=no"}, "true").CombinedOutput()
	_, rest, refused := strings.Cut(string(out), "Permission denied (")
	methods, _, _ := strings.Cut(rest, ")")
	if err == nil || !refused {
		t.Fatalf("ssh without a key: %v, want permission denied\n%s", err, out)
	}
	return strings.Split(methods, ",")
}

// sshdSays is the whole effective configuration, for the user from outside.
func (r *rig) sshdSays() string {
	r.t.Helper()
	return r.Run(r.t, "/usr/sbin/sshd", "-T") +
		r.Run(r.t, "/usr/sbin/sshd", "-T", "-C", "user="+testUser+",host=client,addr=203.0.113.9,laddr=192.0.2.1,lport=22")
}

// sshdFiles are the contents of the files below /etc/ssh, by name.
func (r *rig) sshdFiles() map[string]string {
	r.t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(r.Path("/etc/ssh"), func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || filepath.Base(filepath.Dir(path)) == "authorized_keys" {
			return err
		}
		data, err := os.ReadFile(path)
		files[path] = string(data)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return files
}

// TestKeyboardInteractiveIsClosedToo: PAM takes the same password by another
// method.
func TestKeyboardInteractiveIsClosedToo(t *testing.T) {
	t.Parallel()
	for _, release := range []string{here, older, newer} {
		t.Run(orElse(release, "here"), func(t *testing.T) {
			t.Parallel()
			r := newRigOf(t, release)
			configured("KbdInteractiveAuthentication yes\nChallengeResponseAuthentication yes")(r)
			r.StartSSHD()
			if err := r.LoginInteractive(t, testUser, testPassword); err != nil {
				t.Fatalf("before: %v, want the password taken", err)
			}
			r.pass(bound(t, testmachine.NewKey(t, "ed25519")), How{})
			if err := r.LoginInteractive(t, testUser, testPassword); err == nil {
				t.Error("the password is still taken by keyboard-interactive")
			}
			r.wantPassword(false)
		})
	}
}

// TestBeforeSshdRunsTheDoorIsClosedByProofAlone: latchkeyd may be first at boot.
func TestBeforeSshdRunsTheDoorIsClosedByProofAlone(t *testing.T) {
	t.Parallel()
	for _, release := range []string{here, older, newer} {
		t.Run(orElse(release, "here"), func(t *testing.T) {
			t.Parallel()
			r := newRigOf(t, release)
			key := testmachine.NewKey(t, "ed25519")
			outcome := r.pass(bound(t, key), How{})
			if proof := outcome.Applied.Proof; !outcome.Applied.PasswordClosed || proof.Running || proof.Key != sshd.Accepted {
				t.Fatalf("applied %+v, want passwords closed without a listener", outcome.Applied)
			}
			r.StartSSHD()
			r.wantKey(key, true)
			if diff := cmp.Diff([]string{"publickey"}, r.offered(t)); diff != "" {
				t.Errorf("methods that the client is offered (-want +got):\n%s", diff)
			}
		})
	}
}

// TestForeignLineThatRefusesTheKeyDoesNotMatter: sshd goes on to the line of
// the block, though it says in its log that the first one refused.
func TestForeignLineThatRefusesTheKeyDoesNotMatter(t *testing.T) {
	t.Parallel()
	for _, options := range []string{`from="192.0.2.7"`, `expiry-time="20200101"`, `no-such-option`} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			key := testmachine.NewKey(t, "ed25519")
			r.AuthorizedKeys(testUser, options+" "+key.Line)
			r.StartSSHD()
			if outcome := r.pass(bound(t, key), How{}); !outcome.Applied.PasswordClosed {
				t.Errorf("passwords stay on: %+v", outcome.Applied.Faults)
			}
			r.wantKey(key, true)
		})
	}
}

// TestKeyRevokedBySshdIsNamed needs the key before the machine is staged.
func TestKeyRevokedBySshdIsNamed(t *testing.T) {
	t.Parallel()
	key := testmachine.NewKey(t, "ed25519")
	c := causeCase{
		causes: []string{"revoked-key"}, says: []string{"/etc/ssh/revoked", "/etc/ssh/sshd_config:3"},
	}
	r := newRig(t)
	all(written("/etc/ssh/revoked", key.Line+"\n"), configured("RevokedKeys /etc/ssh/revoked"))(r)
	r.StartSSHD()
	seen := bound(t, key)
	if outcome := r.pass(seen, How{}); outcome.Applied.PasswordClosed {
		t.Error("passwords are closed")
	}
	c.wantStatus(t, r, seen)
	c.wantDoctor(t, r, seen)
	r.wantPassword(true)
}

// TestWithoutASoundSshdNothingIsTouched: no program, or one that refuses its
// configuration.
func TestWithoutASoundSshdNothingIsTouched(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]causeCase{
		"missing": {
			stage: command("rm", "/usr/sbin/sshd"), causes: []string{"sshd-missing"}, says: []string{"/usr/sbin/sshd"},
		},
		"refuses its configuration": {
			stage: configured("NoSuchKeyword yes"), causes: []string{"sshd-config"}, says: []string{"/etc/ssh/sshd_config", "line 3", "NoSuchKeyword"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			c.stage(r)
			files := r.sshdFiles()
			seen := bound(t, testmachine.NewKey(t, "ed25519"))
			if _, err := r.agent().Pass(t.Context(), seen, How{}); err == nil {
				t.Error("pass went well, want an error")
			}
			if diff := cmp.Diff(files, r.sshdFiles()); diff != "" {
				t.Errorf("sshd's files are not what they were (-before +after):\n%s", diff)
			}
			if _, err := os.Lstat(r.Path(keyFile)); err == nil {
				t.Error("the keys file was written")
			}
			c.wantStatus(t, r, seen)
			c.wantDoctor(t, r, seen)
		})
	}
}
