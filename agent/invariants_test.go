package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// The invariants, in the order of the design. Each is shown here from end to
// end, with real files and a real sshd; the packages below show theirs in
// detail.

// oddLines are lines that an editor is tempted to mend: CRLF, blanks, a bad
// line, one that looks like a marker, no newline at the end.
const oddLines = "# mine\r\n\n   \tssh-rsa not-base64 x\n\xff\xfe binary\n# BEGIN latchkeys\n" +
	"command=\"echo \\\"hi\\\"\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAbBcccccccccccccccccccccccccccccccccccccccccc x\n" +
	"# the end has no newline"

func TestForeignLinesOfAuthorizedKeysComeThroughByteForByte(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.AuthorizedKeys(testUser)
	r.WriteFile(keysFile, oddLines, 0o600)
	first, second := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ecdsa-256")
	for _, seen := range []metadata.Binding{bound(t, first), bound(t, second), bound(t, first, second), unbound()} {
		r.pass(seen, How{Now: true})
		if diff := cmp.Diff(oddLines, r.foreign()); diff != "" {
			t.Errorf("%s: foreign lines (-want +got):\n%s", seen.State, diff)
		}
	}
	if diff := cmp.Diff(oddLines, r.ReadFile(keysFile)); diff != "" {
		t.Errorf("after unbinding, the file (-want +got):\n%s", diff)
	}
}

func TestAuthorizedKeysIsNeverMissingEmptyHalfWrittenOrReadableByOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.AuthorizedKeys(testUser)
	r.WriteFile(keysFile, oddLines, 0o600)
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if err := soundKeysFile(r.Path(keysFile)); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	keys := []testmachine.Key{testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ecdsa-256")}
	for i := range 4 {
		r.pass(bound(t, keys[i%2]), How{Now: true})
	}
	r.pass(unbound(), How{Now: true})
	close(done)
	group.Wait()
}

// soundKeysFile tells what is wrong with a keys file whose foreign lines are
// oddLines.
func soundKeysFile(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Mode() != 0o600 {
		return fmt.Errorf("%s has mode %v, want 0600", name, info.Mode())
	}
	data := make([]byte, info.Size())
	if _, err := file.ReadAt(data, 0); err != nil {
		return err
	}
	foreign, err := authkeys.Parse(data).WithManaged(nil)
	if err != nil || string(foreign) != oddLines {
		return fmt.Errorf("%s is not whole: %w\n%q", name, err, data)
	}
	return nil
}

// troubles keep a bound key from logging in, or the proof from being made.
var troubles = map[string]func(r *rig){
	"another user is allowed":       func(r *rig) { r.SSHDConfig("AllowUsers nobody\n" + testmachine.DefaultSSHDConfig) },
	"keys are looked for elsewhere": func(r *rig) { r.SSHDConfig("Match Address 127.0.0.1\n\tAuthorizedKeysFile /nowhere\n") },
	"a second factor is asked": func(r *rig) {
		r.SSHDConfig("AuthenticationMethods publickey,password\n" + testmachine.DefaultSSHDConfig)
	},
	"everybody may write to the home": func(r *rig) { r.Run(r.t, "chmod", "0777", "/home/"+testUser) },
	"the account has expired":         func(r *rig) { r.Run(r.t, "chage", "-E", "1", testUser) },
	"nobody may log in":               func(r *rig) { r.WriteFile("/etc/nologin", "maintenance\n", 0o644) },
	"sshd is broken":                  func(r *rig) { r.wrapSSHD(`case "$*" in *-R*) ;; *) exit 1;; esac`) },
	"sshd dies when it is asked":      func(r *rig) { r.wrapSSHD(`case "$*" in *-i*) kill -9 $$;; esac`) },
	"sshd has no host keys":           func(r *rig) { r.wrapSSHD(`case "$*" in *-i*) set -- "$@" -o HostKey=/nowhere;; esac`) },
	"sshd_config has an error":        func(r *rig) { r.SSHDConfig("NoSuchKeyword yes\n" + testmachine.DefaultSSHDConfig) },
}

func TestPasswordsAreNeverClosedUnlessARealSSHDHasJustAcceptedTheKey(t *testing.T) {
	t.Parallel()
	for name, stage := range troubles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.StartSSHD()
			key := testmachine.NewKey(t, "ed25519")
			before := r.pidFile()
			stage(r)
			watched := r.watchFor(dropIn)
			outcome, err := r.agent().Pass(context.Background(), bound(t, key), How{})
			if watched() {
				t.Errorf("the drop-in was written, and be it for a moment")
			}
			if err == nil && (outcome.Applied.PasswordClosed || len(outcome.Applied.Faults) == 0) {
				t.Errorf("applied %+v, want passwords open and a fault", outcome.Applied)
			}
			if !cmp.Equal(before, r.pidFile()) {
				t.Error("sshd was reloaded")
			}
			if !r.offersPassword() {
				t.Error("sshd offers no password")
			}
		})
	}
}

func TestPasswordsAreClosedAfterTheProofAndNotBefore(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	calls := r.wrapSSHD("[ -e " + dropIn + " ] && echo closed >>/tmp/sshd-calls")
	r.pass(bound(t, testmachine.NewKey(t, "ed25519")), How{})
	var asked, closed int
	for _, call := range calls() {
		switch {
		case strings.HasPrefix(call, "closed"):
			closed++
		case strings.Contains(call, "-i") && closed == 0:
			asked++
		}
	}
	if asked != 2 || closed == 0 {
		t.Errorf("sshd -i was run %d times before passwords were closed, want 2 (query and logon):\n%s", asked, strings.Join(calls(), ""))
	}
}

// TestPasswordsAreNeverLeftClosedWithoutAWayIn binds and unbinds while
// something is wrong with the world. After each pass, and after the
// administrator has made good what was broken, there is a way in.
func TestPasswordsAreNeverLeftClosedWithoutAWayIn(t *testing.T) {
	t.Parallel()
	for _, trouble := range reversibleTroubles {
		t.Run(trouble.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.AuthorizedKeys(testUser)
			r.StartSSHD()
			first, second := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ecdsa-256")
			wayIn := func() bool { return r.offersPassword() || r.logsIn(first) || r.logsIn(second) }
			for _, seen := range []metadata.Binding{bound(t, first), bound(t, second), unbound(), bound(t, first)} {
				trouble.stage(r)
				_, err := r.agent().Pass(context.Background(), seen, How{Now: true})
				trouble.mend(r)
				if !wayIn() {
					t.Fatalf("after %s (%v): no password is offered and no key logs in", seen.State, err)
				}
				if seen.State == metadata.Bound {
					r.pass(seen, How{Now: true})
					r.wantPassword(false)
				}
			}
			r.wantKey(first, true)
			r.wantKey(second, false)
		})
	}
}

// reversibleTroubles come and go. The listener learns of them as it would from
// an administrator.
var reversibleTroubles = []struct {
	name        string
	stage, mend func(r *rig)
}{
	{
		"another user is allowed", func(r *rig) { r.reconfigure("AllowUsers nobody\n") },
		func(r *rig) { r.reconfigure("") },
	},
	{
		"the user's keys folder is everybody's", func(r *rig) { r.Run(r.t, "chmod", "0777", "/home/"+testUser+"/.ssh") },
		func(r *rig) { r.Run(r.t, "chmod", "0700", "/home/"+testUser+"/.ssh") },
	},
	{"sshd is not running", func(r *rig) { r.StopSSHD() }, func(r *rig) { r.StartSSHD() }},
	{
		"sshd cannot answer", func(r *rig) { r.SSHDConfig("NoSuchKeyword yes\n" + testmachine.DefaultSSHDConfig) },
		func(r *rig) { r.SSHDConfig(testmachine.DefaultSSHDConfig) },
	},
	{
		"the drop-in is gone", func(r *rig) { r.remove(dropIn) },
		func(*rig) {},
	},
	{
		"the drop-in says yes", func(r *rig) { r.WriteFile(dropIn, "PasswordAuthentication yes\n", 0o644) },
		func(*rig) {},
	},
	{
		"the state is lost", func(r *rig) { r.remove(StateDir) },
		func(*rig) {},
	},
	{
		"the state is cut off", func(r *rig) { r.WriteFile(StateDir+"/"+stateFile, "{", 0o600) },
		func(*rig) {},
	},
}

// reconfigure gives sshd its configuration with lines before it, and makes it
// load that.
func (r *rig) reconfigure(lines string) {
	r.t.Helper()
	r.SSHDConfig(lines + testmachine.DefaultSSHDConfig)
	r.hangUp()
}

func TestUnknownChangesNothing(t *testing.T) {
	t.Parallel()
	stages := map[string]func(r *rig){
		"never known": func(*rig) {},
		"bound":       func(r *rig) { r.pass(bound(t, testmachine.NewKey(t, "ed25519")), How{}) },
		"unbound":     func(r *rig) { r.pass(unbound(), How{}) },
		"bound, and restarted since": func(r *rig) {
			r.pass(bound(t, testmachine.NewKey(t, "ed25519")), How{})
			r.reboot()
		},
		"bound, and unbinding waits for the restart": func(r *rig) {
			r.pass(bound(t, testmachine.NewKey(t, "ed25519")), How{})
			r.pass(unbound(), How{})
			r.reboot()
		},
	}
	for name, stage := range stages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.StartSSHD()
			stage(r)
			offers := r.offersPassword()
			before, loaded := r.traces("/etc", "/home", "/root"), r.pidFile()
			for _, how := range []How{{}, {Now: true}, {Retry: true}} {
				r.pass(unknown(), how)
			}
			r.wantUntouched(before, "/etc", "/home", "/root")
			if !cmp.Equal(loaded, r.pidFile()) || r.offersPassword() != offers {
				t.Error("sshd was reloaded, or offers something else")
			}
		})
	}
}

func TestAnEditMadeBySomeoneElseMeanwhileIsNotLost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.AuthorizedKeys(testUser)
	r.WriteFile(keysFile, "# first\n", 0o600)
	done := make(chan struct{})
	var group sync.WaitGroup
	lines := 0
	group.Go(func() {
		for ; ; lines++ {
			select {
			case <-done:
				return
			default:
				if err := appendByRename(r.Path(keysFile), fmt.Sprintf("# line %d\n", lines)); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	keys := []testmachine.Key{testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ecdsa-256")}
	for i := range 6 {
		// An editor that never rests may well win each time: that is an error, which
		// loses nothing.
		_, _ = r.agent().Pass(context.Background(), bound(t, keys[i%2]), How{Now: true})
	}
	close(done)
	group.Wait()
	var want strings.Builder
	want.WriteString("# first\n")
	for i := range lines {
		fmt.Fprintf(&want, "# line %d\n", i)
	}
	if diff := cmp.Diff(want.String(), r.foreign()); diff != "" {
		t.Errorf("foreign lines (-want +got):\n%s", diff)
	}
	r.pass(bound(t, keys[0]), How{Now: true})
	if holds, n := r.blockHolds(keys[0]); !holds || n != 1 {
		t.Errorf("the block holds the key: %v, of %d; want it alone", holds, n)
	}
}

// appendByRename appends as a careful editor does: to a copy that takes the
// file's place.
func appendByRename(name, line string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(filepath.Dir(name))
	if err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(name), "edited")
	if err := os.WriteFile(temp, append(data, line...), 0o600); err != nil {
		return err
	}
	if err := os.Chown(temp, int(ownerOf(info)), -1); err != nil {
		return err
	}
	return os.Rename(temp, name)
}

func TestAKeyFromTheEndpointIsOneKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	good := bound(t, testmachine.NewKey(t, "ed25519"))
	before := r.traces("/etc", "/home", "/root")
	spoils := map[string]func(k *metadata.Key){
		"a second line in the comment": func(k *metadata.Key) { k.Comment = "x\nssh-ed25519 AAAA evil" },
		"a carriage return":            func(k *metadata.Key) { k.Comment = "x\rssh-ed25519 AAAA evil" },
		"a NUL":                        func(k *metadata.Key) { k.Comment = "x\x00" },
		"options as its type":          func(k *metadata.Key) { k.Type = `command="id" ssh-ed25519` },
		"another type than its blob":   func(k *metadata.Key) { k.Type = "ssh-rsa" },
		"a blob with more after it":    func(k *metadata.Key) { k.Blob = append(slices.Clone(k.Blob), 0) },
		"no blob":                      func(k *metadata.Key) { k.Blob = nil },
	}
	for name, spoil := range spoils {
		seen := good
		seen.Keys = slices.Clone(good.Keys)
		spoil(&seen.Keys[0])
		if _, err := r.agent().Pass(context.Background(), seen, How{Now: true}); err == nil {
			t.Errorf("%s: the pass was made, want an error", name)
		}
	}
	r.wantUntouched(before, "/etc", "/home", "/root")
}

func TestAfterUnbindTheEffectiveConfigurationIsWhatItWas(t *testing.T) {
	t.Parallel()
	configs := map[string]string{
		"Debian's own":           testmachine.DefaultSSHDConfig,
		"no Include":             "UsePAM yes\nPasswordAuthentication yes\n",
		"no newline at the end":  "UsePAM yes\nMatch User nobody\n\tPasswordAuthentication yes",
		"yes before the Include": "PasswordAuthentication yes\nChallengeResponseAuthentication yes\n" + testmachine.DefaultSSHDConfig,
		"CRLF":                   "UsePAM yes\r\nMatch Address 10.0.0.0/8\r\n\tPasswordAuthentication yes\r\n",
	}
	for name, config := range configs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.SSHDConfig(config)
			r.WriteFile("/etc/ssh/sshd_config.d/50-cloud-init.conf", "PasswordAuthentication yes\n", 0o600)
			r.StartSSHD()
			text, before := r.ReadFile(mainFile), r.effective()
			r.pass(bound(t, testmachine.NewKey(t, "ed25519")), How{Now: true})
			if cmp.Equal(before, r.effective()) {
				t.Fatal("binding has changed nothing")
			}
			r.wantPassword(false)
			r.pass(unbound(), How{Now: true})
			if diff := cmp.Diff(before, r.effective()); diff != "" {
				t.Errorf("effective configuration (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff(text, r.ReadFile(mainFile)); diff != "" || r.exists(dropIn) {
				t.Errorf("sshd_config (-before +after), drop-in there: %v:\n%s", r.exists(dropIn), diff)
			}
			r.wantPassword(true)
		})
	}
}

// effective is what sshd -T says for the user from several addresses.
func (r *rig) effective() []string {
	r.t.Helper()
	var all []string
	for _, conn := range []sshd.Connection{sshd.FromLoopback(testUser, r.Port), sshd.FromOutside(testUser, r.Port), sshd.FromOutside("nobody", r.Port)} {
		all = append(all, r.Run(r.t, "/usr/sbin/sshd", "-T", "-C", fmt.Sprintf(
			"user=%s,host=%s,addr=%s,laddr=%s,lport=%d,rdomain=", conn.User, conn.Host, conn.Addr, conn.LAddr, conn.LPort)))
	}
	return all
}

func TestSSHDIsNeverReloadedWithAConfigurationThatItRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.StartSSHD()
	r.wrapSSHD(`case "$*" in *-t*) [ -e ` + dropIn + ` ] && { echo "no, thank you" >&2; exit 255; };; esac`)
	key, loaded := testmachine.NewKey(t, "ed25519"), r.pidFile()
	_, err := r.agent().Pass(context.Background(), bound(t, key), How{})
	if err == nil || !strings.Contains(err.Error(), "no, thank you") {
		t.Errorf("pass: %v, want what sshd -t said", err)
	}
	if !cmp.Equal(loaded, r.pidFile()) || r.exists(dropIn) {
		t.Errorf("sshd was reloaded, or the drop-in is there: %v", r.exists(dropIn))
	}
	r.wantPassword(true)

	r.wrapSSHD("")
	r.pass(bound(t, key), How{})
	r.wantPassword(false)

	loaded = r.pidFile()
	r.SSHDConfig("NoSuchKeyword yes\n" + testmachine.DefaultSSHDConfig)
	if _, err := r.agent().Pass(context.Background(), unbound(), How{Now: true}); err == nil || !strings.Contains(err.Error(), "NoSuchKeyword") {
		t.Errorf("unbinding: %v, want what sshd says", err)
	}
	if !cmp.Equal(loaded, r.pidFile()) {
		t.Error("sshd was reloaded with a configuration that it refuses")
	}
}
