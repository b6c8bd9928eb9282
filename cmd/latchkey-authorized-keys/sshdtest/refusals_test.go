package sshdtest

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

const (
	boundIndex = index.Bound
	usersIndex = index.Users
)

// spoil is one way in which a file or folder stops being what may be trusted, and the way back.
type spoil struct{ path, name, script, undo string }

// spoilsOfEach are all ways for the first path, and a single one, of each in turn, for those that follow:
// folders are looked at alike.
func (r *rig) spoilsOfEach(paths ...string) []spoil {
	r.t.Helper()
	all := r.spoils(paths[0])
	for i, path := range paths[1:] {
		ways := r.spoils(path)
		all = append(all, ways[i%len(ways)])
	}
	return all
}

// spoils are the ways in which a path of root's, with that mode, stops being root's alone.
func (r *rig) spoils(path string) []spoil {
	r.t.Helper()
	undo := strings.Fields(r.Run(r.t, "stat", "-c", "chown %u:%g PATH ; chmod %a PATH", path))
	all := []spoil{
		{path, path + " of another owner", "chown daemon PATH", ""},
		{path, path + " writable by all", "chmod o+w PATH", ""},
		{path, path + " writable by all, and sticky", "chmod o+w,+t PATH", ""},
		{path, path + " writable by a group", "chgrp daemon PATH; chmod g+w PATH", ""},
	}
	for i := range all {
		all[i].script = strings.ReplaceAll(all[i].script, "PATH", path)
		all[i].undo = strings.ReplaceAll(strings.Join(undo, " "), "PATH", path)
	}
	return all
}

// folders are those above a path, up to the root.
func folders(path string) []string {
	above := filepath.Dir(path)
	if above == "/" {
		return []string{above}
	}
	return append([]string{above}, folders(above)...)
}

// refusal is a machine on which alice can log in with a key by way of the program, and
// with her password.
type refusal struct {
	*rig
	journal *journal
	key     testmachine.Key
}

func newRefusal(t *testing.T, suite, more string) *refusal {
	t.Helper()
	r := &refusal{newRig(t, suite), nil, testmachine.NewKey(t, "ed25519")}
	r.journal = r.rig.journal()
	r.bind(user, r.key.Line)
	r.start(byCommandAlone + more)
	return r
}

// refuses spoils something, and holds that the key is then refused, that the log, sshd's or the journal,
// has these reasons, and that all is well again after the way back.
func (r *refusal) refuses(t *testing.T, s spoil, reasons ...string) {
	t.Helper()
	logged := len(r.SSHDLog())
	r.journal.read()
	r.shell(s.script)
	r.want(t, false, r.key.Signer)
	entries := r.journal.read()
	for _, reason := range reasons { // sshd's log comes to us through a pipe, a moment later
		waitFor(t, "a log has "+reason, func() bool { return strings.Contains(r.SSHDLog()[logged:]+entries, reason) })
	}
	r.journal.wantNone(t, strings.Fields(r.key.Line)[1]) // sshd's own log has the words of the command
	r.shell(s.undo)
	if !r.accepts(t, user, r.key.Signer) {
		t.Errorf("after %s: refused", s.undo)
	}
}

func TestThePasswordLogsInWhenTheIndexIsRefused(t *testing.T) {
	t.Parallel()
	r := newRefusal(t, "", "")
	r.shell(r.spoils(boundIndex)[0].script)
	r.want(t, false, r.key.Signer)
	if err := r.LoginPassword(t, user, password); err != nil {
		t.Error(err)
	}
}

func TestAProgramThatOthersCanChangeIsNotRun(t *testing.T) {
	t.Parallel()
	r := newRefusal(t, "", "")
	for _, s := range r.spoilsOfEach(append([]string{program}, folders(program)...)...) {
		t.Run(s.name, func(t *testing.T) { r.refuses(t, s, "Unsafe AuthorizedKeysCommand") })
	}
	for _, s := range []spoil{
		{program, "not executable by its user", "chmod 744 " + program, "chmod 755 " + program},
		{program, "of a format that cannot be run", "cp -p " + program + " /run/kept; : >" + program, "cp -p /run/kept " + program},
	} {
		t.Run(s.name, func(t *testing.T) { r.refuses(t, s, "AuthorizedKeysCommand "+program) })
	}
}

// voided is what sshd logs of a command that it does not believe a word of.
const voided = "failed, status 1"

func TestAnIndexThatOthersCanChangeRefusesAll(t *testing.T) {
	t.Parallel()
	r := newRefusal(t, "", "")
	r.index("somebody", testmachine.NewKey(t, "ed25519").Line)
	above := folders(boundIndex)
	above = above[:len(above)-1] // not /, for which sshd does not even run the program
	for _, s := range append(r.spoilsOfEach(append([]string{boundIndex}, above...)...), r.spoils(usersIndex)...) {
		t.Run(s.name, func(t *testing.T) { r.refuses(t, s, s.path, voided) })
	}
}

// TestAnIndexThatIsNoneRefusesAll: also when the key is in the other index.
func TestAnIndexThatIsNoneRefusesAll(t *testing.T) {
	t.Parallel()
	r := newRefusal(t, "", "")
	r.index("somebody", testmachine.NewKey(t, "ed25519").Line)
	for _, path := range []string{boundIndex, usersIndex} {
		for name, script := range map[string]string{
			"unreadable":         "chmod 600 PATH",
			"empty":              ": >PATH",
			"cut short":          "truncate -s -1 PATH",
			"too long":           "echo >>PATH",
			"of another kind":    "head -c 5000 /dev/zero >PATH",
			"a link":             "mv PATH /usr/sbin/there; ln -s /usr/sbin/there PATH",
			"a link to nothing":  "rm PATH; ln -s /nothing PATH",
			"a FIFO":             "rm PATH; mkfifo -m 644 PATH",
			"a folder":           "rm PATH; mkdir -m 755 PATH",
			"a device":           "rm PATH; mknod -m 644 PATH c 1 3",
			"in a closed folder": "chmod 700 " + index.Dir,
		} {
			t.Run(path+" "+name, func(t *testing.T) {
				script := strings.ReplaceAll("cp -p PATH /run/kept; "+script, "PATH", path)
				undo := strings.ReplaceAll("rm -rf PATH; cp -p /run/kept PATH; chmod 755 "+index.Dir, "PATH", path)
				r.refuses(t, spoil{script: script, undo: undo}, index.Dir, voided)
			})
		}
	}
	t.Run("folder behind a link", func(t *testing.T) {
		r.shell("mv " + filepath.Dir(index.Dir) + " /srv/real; ln -s /srv/real " + filepath.Dir(index.Dir))
		for _, s := range r.spoils("/srv") {
			r.refuses(t, s, "/srv", voided)
		}
		r.shell("rm " + filepath.Dir(index.Dir) + "; mv /srv/real " + filepath.Dir(index.Dir))
	})
	t.Run("missing is empty", func(t *testing.T) {
		r.shell("rm " + usersIndex)
		r.want(t, true, r.key.Signer)
		r.journal.want(t, "")
		r.shell("rm -r " + index.Dir)
		r.want(t, false, r.key.Signer)
		r.journal.want(t, "there is no key index")
	})
}

// TestADamagedLineVoidsTheSoundOnesBefore: so many that they are printed before the damage is met.
func TestADamagedLineVoidsTheSoundOnesBefore(t *testing.T) {
	t.Parallel()
	r := newRefusal(t, "", "")
	r.bind(user, slices.Repeat([]string{r.key.Line}, 3000)...)
	r.want(t, true, r.key.Signer)
	damaged := []byte(r.ReadFile(boundIndex))
	damaged[bytes.LastIndex(damaged, []byte(r.key.Line))] ^= 1
	logged := len(r.SSHDLog())
	r.WriteFile(boundIndex, string(damaged), 0o644)
	r.want(t, false, r.key.Signer)
	waitFor(t, "sshd has voided them", func() bool { return strings.Contains(r.SSHDLog()[logged:], voided) })
	r.journal.want(t, boundIndex)
}

// TestADamagedByteNeverLetsAnybodyElseIn flips each byte of an index in turn, and asks sshd about a
// few of them: what lets nobody in is right, and so is what lets in who was let in before.
func TestADamagedByteNeverLetsAnybodyElseIn(t *testing.T) {
	t.Parallel()
	r := newRefusal(t, "", "")
	other := testmachine.NewKey(t, "ed25519")
	sound := r.ReadFile(boundIndex)
	for at := 0; at < len(sound); at += max(1, len(sound)/40) {
		damaged := []byte(sound)
		damaged[at] ^= 0x20
		r.WriteFile(boundIndex, string(damaged), 0o644)
		if r.accepts(t, user, other.Signer) {
			t.Errorf("byte %d: another key is accepted", at)
		}
	}
	r.WriteFile(boundIndex, sound, 0o644)
	r.want(t, true, r.key.Signer)
}
