package sshdtest

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

const (
	wrapper = "/usr/sbin/wrapper"
	runs    = "/run/runs" // where scripts write
)

// command is the configuration of one AuthorizedKeysCommand.
func command(words string) string {
	return "AuthorizedKeysFile none\nAuthorizedKeysCommand " + words + "\nAuthorizedKeysCommandUser " + runsAs + "\n"
}

// wrapped has sshd run a script in the place of the program.
func (r *rig) wrapped(lines ...string) {
	r.t.Helper()
	r.script(wrapper, lines...)
	r.WriteFile(runs, "", 0o666)
}

// ran empties the file that scripts write, and returns its lines.
func (r *rig) ran() []string {
	r.t.Helper()
	lines := strings.FieldsFunc(r.ReadFile(runs), func(c rune) bool { return c == '\n' })
	r.WriteFile(runs, "", 0o666)
	return lines
}

const counting = "echo \"$*\" >>" + runs

// onlyAsking is a key without a private half: a query for it is made, and no more.
type onlyAsking struct{ ssh.Signer }

var errAsked = errors.New("the key is accepted")

func (onlyAsking) Sign(io.Reader, []byte) (*ssh.Signature, error) { return nil, errAsked }

// accepts tells whether sshd would accept the key, by a query without a signature.
func (r *rig) accepts(t *testing.T, name string, key ssh.Signer) bool {
	t.Helper()
	client, err := r.dial(name, onlyAsking{key})
	switch {
	case err == nil:
		_ = client.Close()
		t.Fatal("logged in without a signature")
	case strings.Contains(err.Error(), errAsked.Error()):
		return true
	case !isRefusal(err):
		t.Fatalf("ask about the key: %v", err)
	}
	return false
}

func TestTheProgramIsRunOnceForTheQueryAndOnceForTheSignature(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	keys := newKeys(t, 4)
	right := keys[3]
	r.wrapped(counting, "exec "+program+` "$@"`)
	r.bind(user, right.Line)
	r.start("AuthorizedKeysFile .ssh/authorized_keys\nAuthorizedKeysCommand " + wrapper + " " + tokens + "\nAuthorizedKeysCommandUser " + runsAs + "\n")
	want := func(n int, what string) {
		t.Helper()
		if got := r.ran(); len(got) != n {
			t.Errorf("%s: ran %d times, want %d: %q", what, len(got), n, got)
		}
	}
	r.want(t, true, right.Signer)
	want(2, "one key")
	r.want(t, true, signers(keys...)...)
	want(5, "three keys and the right one")
	r.want(t, false, keys[0].Signer)
	want(1, "a key that is refused")
	if !r.accepts(t, user, right.Signer) {
		t.Error("a query: refused")
	}
	want(1, "a query alone")
	r.admitted(t, "nobody-of-this-name", right.Signer)
	want(0, "an unknown user")

	r.AuthorizedKeys(user, keys[0].Line)
	r.want(t, true, keys[0].Signer)
	want(0, "a key in the file")
	r.AuthorizedKeys(user, `expiry-time="20200101" `+right.Line)
	r.want(t, true, right.Signer)
	want(2, "a key that the file refuses")
	r.bind(user)
	r.AuthorizedKeys(user, right.Line)
	r.want(t, true, right.Signer)
	want(0, "a key that the file has and no index")
}

// TestWhatTheProgramIsGiven: the words, in their order, and a clean environment. Which PATH is in it
// was decided when sshd was built.
func TestWhatTheProgramIsGiven(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	key := testmachine.NewKey(t, "ed25519")
	words := strings.Fields(key.Line)
	r.wrapped(counting, `tr '\0' '\n' </proc/$$/environ | sed 's/^PATH=.*/PATH/' | sort >>`+runs, `pwd >>`+runs, `readlink /proc/$$/fd/0 >>`+runs)
	r.start(command(wrapper + " " + tokens))
	r.want(t, false, key.Signer)
	uid := strings.TrimSpace(r.Run(t, "id", "-u", user))
	want := []string{
		strings.Join([]string{user, uid, "/home/" + user, words[0], words[1]}, " "),
		"HOME=/nonexistent", "LANG=C.UTF-8", "LOGNAME=" + runsAs, "PATH", "USER=" + runsAs,
		"/", "/dev/null",
	}
	if diff := cmp.Diff(want, r.ran()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheUserNameAloneIsEnough(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	keys := newKeys(t, 4)
	r.bind(user, keys[0].Line)
	r.index(user, keys[1].Line+"\nrestrict "+keys[2].Line+"\n")
	for name, config := range map[string]string{
		"no words":            command(program),
		"the name":            command(program + " %u"),
		"an index":            command(program + " --index=" + index.Users + " " + tokens),
		"another user's":      strings.Replace(byCommandAlone, runsAs, "nobody", 1),
		"the logon user's":    strings.Replace(byCommandAlone, runsAs, "%u", 1),
		"for one user's sake": "AuthorizedKeysFile none\nMatch User " + user + "\n" + byCommandAlone,
	} {
		r.restart(config)
		r.want(t, name != "an index", keys[0].Signer)
		r.want(t, true, keys[1].Signer)
		r.want(t, true, keys[2].Signer)
		r.want(t, false, keys[3].Signer)
		if t.Failed() {
			t.Fatalf("with %s", name)
		}
	}
}

func TestTheBoundKeyComesBeforeTheAdministratorsIndex(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	key := testmachine.NewKey(t, "ed25519")
	r.bind(user, `command="echo bound" `+key.Line)
	r.index(user, `command="echo built" `+key.Line)
	r.start(byCommandAlone)
	for _, want := range []string{"bound\n", "built\n"} {
		client, err := r.dial(user, key.Signer)
		if err != nil {
			t.Fatal(err)
		}
		if got := printed(t, client); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		_ = client.Close()
		r.bind(user)
	}
}

// TestHowTheProgramEndsDecides: what it printed counts only when it exits with 0.
func TestHowTheProgramEndsDecides(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	key := testmachine.NewKey(t, "ed25519")
	r.bind(user, "no-pty "+key.Line)
	const asked = program + ` "$@"`
	r.script("/usr/sbin/kills-it", "kill -KILL $PPID")
	r.script("/usr/sbin/terminates-it", "kill -TERM $PPID")
	for _, test := range []struct {
		name     string
		lines    []string
		admitted bool
	}{
		{"exit 0", []string{asked}, true},
		{"slow", []string{"sleep 0.5", asked}, true},
		{"slow to end", []string{asked, "sleep 0.5"}, true},
		{"exit 1", []string{asked, "exit 1"}, false},
		{"exit 1, long after its output was closed", []string{asked, "exec >&-", "sleep 0.5", "exit 1"}, false},
		{"killed after it has printed", []string{asked, "kill -KILL $$"}, false},
		{"killed half-way", []string{"exec " + asked + " -- /usr/sbin/kills-it"}, false},
		{"terminated half-way", []string{"exec " + asked + " -- /usr/sbin/terminates-it"}, false},
		{"no such type of key", []string{"exec " + program + ` "$1" "$2" "$3" "" ""`}, false},
		{"an argument too many", []string{"exec " + asked + " more"}, false},
		{"no argument", []string{"exec " + program}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r.wrapped(test.lines...)
			r.restart(command(wrapper + " " + tokens))
			r.want(t, test.admitted, key.Signer)
		})
	}
}

// TestSshdWaitsForWhoeverHoldsTheOutput is why the program must leave nobody behind that does.
func TestSshdWaitsForWhoeverHoldsTheOutput(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	key := testmachine.NewKey(t, "ed25519")
	r.bind(user, key.Line)
	r.wrapped("{ sleep 0.5; echo let go >>"+runs+"; } &", "exec "+program+` "$@"`)
	r.start(command(wrapper + " " + tokens))
	if !r.accepts(t, user, key.Signer) {
		t.Error("refused")
	}
	if diff := cmp.Diff([]string{"let go"}, r.ran()); diff != "" {
		t.Errorf("accepted before it was let go (-want +got):\n%s", diff)
	}
}
