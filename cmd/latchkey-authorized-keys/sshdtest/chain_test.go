package sshdtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

const admins = "/usr/sbin/admins-command"

// chained is the configuration in which the administrator's command, with these words
// behind it, is asked after the program.
func chained(words string) string { return command(program + " " + tokens + " -- " + words) }

// chainKeys are keys by where they are listed.
type chainKeys struct {
	bound      testmachine.Key // in our index, on a plain line
	restricted testmachine.Key // in our index, on a line with options
	theirs     testmachine.Key // what the administrator's command prints
}

// newChain is a machine with such keys. The file /run/theirs has the administrator's line.
func newChain(t *testing.T, suite string) (*rig, chainKeys) {
	t.Helper()
	r := newRig(t, suite)
	all := newKeys(t, 3)
	keys := chainKeys{all[0], all[1], all[2]}
	r.bind(user, keys.bound.Line, "no-pty "+keys.restricted.Line)
	r.WriteFile("/run/theirs", keys.theirs.Line+"\n", 0o644)
	r.WriteFile(runs, "", 0o666)
	return r, keys
}

// TestTheAdministratorsCommandIsAskedToo: whatever it does, our keys log in. Ours has options here, since
// nobody else is asked for a key on a plain line.
func TestTheAdministratorsCommandIsAskedToo(t *testing.T) {
	t.Parallel()
	r, keys := newChain(t, "")
	journal := r.journal()
	const prints = "cat /run/theirs"
	configured := ""
	for _, test := range []struct {
		name   string
		script []string // of the command
		words  string   // in sshd_config; the command alone when empty
		lay    string   // done by root's shell before
		theirs bool     // whether their key logs in
		logged string   // a part of what the journal has, when something has to be there
	}{
		{name: "sound", script: []string{prints}, theirs: true},
		{name: "prints nothing", script: []string{"true"}},
		{name: "slow", script: []string{"sleep 0.3", prints}, theirs: true},
		{name: "has lines before", script: []string{"echo garbage", "echo", "echo '# note'", prints}, theirs: true},
		{name: "ends its output without a newline", script: []string{"printf %s \"$(cat /run/theirs)\""}, theirs: true},
		{name: "exit 3", script: []string{prints, "exit 3"}, logged: "3"},
		{name: "killed", script: []string{prints, "kill -KILL $$"}, logged: "signal"},
		{name: "closes its output at once", script: []string{"exec >&-", "sleep 0.2"}},
		{name: "reads its input", script: []string{"cat", prints}, theirs: true},
		{name: "prints 15 MiB", script: []string{prints, "head -c 15728640 /dev/zero | tr '\\0' x"}, theirs: true},
		{name: "prints 17 MiB", script: []string{prints, "head -c 17825792 /dev/zero | tr '\\0' x"}, logged: "prints more than"},
		{name: "prints without end", script: []string{prints, "exec yes"}, logged: "prints more than"},
		{name: "missing", script: []string{prints}, lay: "mv " + admins + " /run/away", logged: "no such file"},
		{name: "not executable", script: []string{prints}, lay: "chmod 644 " + admins, logged: admins},
		{name: "not to be read by its user", script: []string{prints}, lay: "chmod 711 " + admins, logged: admins},
		{name: "not in a format that can be run", lay: "printf 'cat /run/theirs' >" + admins + "; chmod 755 " + admins, logged: admins},
		{name: "folder", lay: "mkdir " + admins, logged: admins},
		{name: "FIFO", lay: "mkfifo -m 755 " + admins, logged: admins},
		{name: "relative path", script: []string{prints}, words: "admins-command", logged: "admins-command"},
		{name: "of another owner", script: []string{prints}, lay: "chown daemon " + admins, logged: admins},
		{name: "writable by all", script: []string{prints}, lay: "chmod 757 " + admins, logged: admins},
		{name: "writable by a group", script: []string{prints}, lay: "chgrp daemon " + admins + "; chmod 775 " + admins, logged: admins},
		{name: "in a folder of another owner", script: []string{prints}, lay: "mkdir /srv/theirs; mv " + admins + " /srv/theirs/c; chown daemon /srv/theirs", words: "/srv/theirs/c", logged: "/srv/theirs"},
		{name: "below a folder writable by all", script: []string{prints}, lay: "mkdir -p -m 755 /srv/theirs/a; chmod 1777 /srv/theirs; mv " + admins + " /srv/theirs/a/c", words: "/srv/theirs/a/c", logged: "/srv/theirs"},
		{name: "a link to a sound one", script: []string{prints}, lay: "mv " + admins + " /usr/sbin/there; ln -s there " + admins, theirs: true},
		{name: "a link to an unsound one", script: []string{prints}, lay: "mv " + admins + " /usr/sbin/there; chmod 757 /usr/sbin/there; ln -s there " + admins, logged: admins},
		{name: "a link through a folder writable by all", script: []string{prints}, lay: "mkdir /srv/theirs; chmod 777 /srv/theirs; mv " + admins + " /usr/sbin/there; ln -s /usr/sbin/there /srv/theirs/c", words: "/srv/theirs/c", theirs: true},
		{name: "kills its group", script: []string{prints, "kill -KILL 0"}, logged: "signal"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r.shell("rm -rf " + admins + " /usr/sbin/there /srv/theirs")
			if test.script != nil {
				r.script(admins, test.script...)
			}
			if test.lay != "" {
				r.shell(test.lay)
			}
			words := test.words
			if words == "" {
				words = admins
			}
			if words != configured {
				r.restart(chained(words))
				configured = words
			}
			journal.read()
			r.want(t, test.theirs, keys.theirs.Signer)
			r.want(t, true, keys.restricted.Signer)
			journal.want(t, test.logged)
			for _, key := range []testmachine.Key{keys.theirs, keys.restricted} {
				journal.wantNone(t, strings.Fields(key.Line)[1])
			}
			r.wantNoneLeft(t)
		})
	}
}

// wantNoneLeft waits until nothing runs as the program's user.
func (r *rig) wantNoneLeft(t *testing.T) {
	t.Helper()
	uid := strings.TrimSpace(r.Run(t, "id", "-u", runsAs))
	waitFor(t, "nothing of the command is left", func() bool { return !r.runsAs(t, uid) })
}

// runsAs tells whether something runs in the machine as a user. Other machines use the same numbers.
func (r *rig) runsAs(t *testing.T, uid string) bool {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/root")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if root, err := os.Readlink(link); err != nil || root != r.Root {
			continue
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(link), "status"))
		if err == nil && strings.Contains(string(status), "\nUid:\t"+uid+"\t") {
			return true
		}
	}
	return false
}

// TestAPlainLineOfOursIsNotHeldUp: sshd takes it whatever comes after, so nobody else is asked.
func TestAPlainLineOfOursIsNotHeldUp(t *testing.T) {
	t.Parallel()
	r, keys := newChain(t, "")
	r.script(admins, "echo asked >>"+runs)
	r.start(chained(admins))
	r.want(t, true, keys.bound.Signer)
	if got := r.ran(); len(got) > 0 {
		t.Errorf("a plain line: the administrator's command ran %d times", len(got))
	}
	r.want(t, true, keys.restricted.Signer)
	if got := r.ran(); len(got) != 2 {
		t.Errorf("a line with options: the administrator's command ran %d times, want 2", len(got))
	}
}

// TestAChildThatTheCommandLeavesDoesNotHoldALogonUp: sshd itself would wait for it, since it has the output.
func TestAChildThatTheCommandLeavesDoesNotHoldALogonUp(t *testing.T) {
	t.Parallel()
	r, keys := newChain(t, "")
	r.script(admins, "sleep 600 &", "cat /run/theirs")
	r.start(chained(admins))
	began := time.Now()
	r.want(t, true, keys.theirs.Signer)
	r.want(t, true, keys.restricted.Signer)
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("two logons took %v", took)
	}
}

// TestALineOfOursThatRefusesLeavesTheAdministratorsToAccept is what asking after it is for.
func TestALineOfOursThatRefusesLeavesTheAdministratorsToAccept(t *testing.T) {
	t.Parallel()
	r, keys := newChain(t, "")
	r.bind(user, `expiry-time="20200101" `+keys.theirs.Line)
	r.script(admins, "cat /run/theirs")
	r.start(chained(admins))
	r.want(t, true, keys.theirs.Signer)
}

// TestAHungCommandHoldsALogonUpForSecondsOnly takes them once.
func TestAHungCommandHoldsALogonUpForSecondsOnly(t *testing.T) {
	t.Parallel()
	r, keys := newChain(t, "")
	journal := r.journal()
	r.script(admins, "trap '' TERM INT HUP", "cat /run/theirs", "sleep 100 & sleep 100")
	r.start(chained(admins))
	began := time.Now()
	if !r.accepts(t, user, keys.restricted.Signer) {
		t.Error("our key is refused")
	}
	if took := time.Since(began); took < 3*time.Second || took > 9*time.Second {
		t.Errorf("answered after %v, want about 5 s", took)
	}
	journal.want(t, admins)
	r.wantNoneLeft(t)
	began = time.Now()
	r.want(t, true, keys.bound.Signer)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the bound key took %v", took)
	}
}

// TestAnIndexThatIsRefusedRefusesTheAdministratorsKeysToo: they cannot be told from ours.
func TestAnIndexThatIsRefusedRefusesTheAdministratorsKeysToo(t *testing.T) {
	t.Parallel()
	r, keys := newChain(t, "")
	r.script(admins, "echo asked >>"+runs, "cat /run/theirs")
	r.start(chained(admins))
	r.want(t, true, keys.theirs.Signer)
	r.ran()
	r.shell("chmod 666 " + boundIndex)
	r.want(t, false, keys.theirs.Signer)
	if got := r.ran(); len(got) > 0 {
		t.Error("the administrator's command was asked in vain")
	}
}

// describe has a script write down all that it was given.
var describe = []string{
	"{", `printf '<%s>\n' "$0" "$@"`, `tr '\0' '\n' </proc/$$/environ | sort`, "pwd", "id", "umask", "ulimit -a",
	"readlink /proc/$$/fd/0", "ls /proc/$$/fd", "cat /proc/$$/oom_score_adj",
	"grep -E '^(SigBlk|SigIgn|Cap...|NoNewPrivs|Seccomp):' /proc/self/status", "} >" + runs,
}

// TestTheAdministratorsCommandIsGivenWhatSshdGaveIt: every word, with every token, and all
// that a program inherits.
func TestTheAdministratorsCommandIsGivenWhatSshdGaveIt(t *testing.T) {
	t.Parallel()
	for suite, more := range map[string]string{"": "", "bullseye": "", "trixie": " %C %D"} {
		t.Run("release "+suite, func(t *testing.T) {
			t.Parallel()
			r, keys := newChain(t, suite)
			r.script(admins, describe...)
			words := admins + ` %u %U %h %t %k %f 100%% "two words" "a \"quote\"" -- --index=x "" '$HOME'` + more
			var got [2]string
			for i, config := range []string{command(words), chained(words)} {
				r.restart(config)
				r.want(t, false, keys.theirs.Signer)
				got[i] = r.ReadFile(runs)
				if n := strings.Count(got[i], "<"); n < 12 {
					t.Fatalf("the command was given %d words:\n%s\n%s", n, got[i], tail(r.SSHDLog()))
				}
			}
			if diff := cmp.Diff(withoutConnection(got[0]), withoutConnection(got[1])); diff != "" {
				t.Errorf("(-by sshd +by the program):\n%s", diff)
			}
		})
	}
}

// withoutConnection takes out what %C expands to: the connection has another port the second time.
func withoutConnection(text string) string {
	return regexp.MustCompile(`<127\.0\.0\.1 \d+ 127\.0\.0\.1 \d+>`).ReplaceAllString(text, "<CONNECTION>")
}
