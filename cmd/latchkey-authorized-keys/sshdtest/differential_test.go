package sshdtest

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// A row is lines of authorized_keys and what comes of a logon.
type row struct {
	name string
	// lines has KEY for the line of the key that logs in, without its comment, OTHER and CA for
	// two others, TYPE and BLOB for the two words of KEY, BLOB1 and BLOB2 for the halves of the second, and OPEN1,
	// OPEN2, LISTEN1 and LISTEN2 for the ports.
	lines string
	want  string
}

// cast are the keys of a row.
type cast struct{ key, other, ca testmachine.Key }

// offer is how the key of a row is shown to sshd.
type offer func(t *testing.T, c cast) ssh.Signer

func plain(_ *testing.T, c cast) ssh.Signer { return c.key.Signer }

// twins are two users of one machine who have the same lines: one in a file, the other
// by way of an index and the program.
type twins struct {
	*rig
	doors *doors
	text  strings.Builder
}

const (
	byFile    = user
	byProgram = "bob"
)

const twinsConfig = `LogLevel ERROR
MaxAuthTries 1000
PermitUserEnvironment LK_*
X11Forwarding yes
PermitTunnel yes
Match User ` + byProgram + "\n" + byCommandAlone

func newTwins(t *testing.T) *twins {
	t.Helper()
	w := &twins{rig: newRig(t, ""), doors: newDoors(t)}
	w.AddUser(byProgram, password)
	return w
}

// add puts a row's lines below those of the rows before, and returns its keys.
func (w *twins) add(t *testing.T, kind, lines string) cast {
	t.Helper()
	c := cast{testmachine.NewKey(t, kind), testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ed25519")}
	w.text.WriteString(w.fill(lines, c) + "\n")
	return c
}

// fill puts keys and ports into lines.
func (w *twins) fill(lines string, c cast) string {
	bareLine := func(key testmachine.Key) string {
		return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.Signer.PublicKey())))
	}
	kind, blob, _ := strings.Cut(bareLine(c.key), " ")
	return strings.NewReplacer(
		"KEY", kind+" "+blob, "TYPE", kind, "BLOB1", blob[:len(blob)/2], "BLOB2", blob[len(blob)/2:], "BLOB", blob,
		"OTHER", bareLine(c.other), "CA", bareLine(c.ca),
		"OPEN1", w.doors.open[0], "OPEN2", w.doors.open[1], "LISTEN1", w.doors.listen[0], "LISTEN2", w.doors.listen[1],
	).Replace(lines)
}

// publish gives both users the text and starts sshd.
func (w *twins) publish(t *testing.T, text string) {
	t.Helper()
	for _, name := range []string{byFile, byProgram} {
		w.AuthorizedKeys(name)
		w.WriteFile("/home/"+name+"/.ssh/rc", "echo rc\n", 0o644)
	}
	w.WriteFile("/home/"+byFile+"/.ssh/authorized_keys", text, 0o600)
	w.Run(t, "chown", byFile+":", "/home/"+byFile+"/.ssh/authorized_keys")
	w.Run(t, "rm", "/home/"+byProgram+"/.ssh/authorized_keys")
	w.index(byProgram, text)
	w.restart(twinsConfig)
}

// agree compares both users' logons with each other and with what is wanted.
func (w *twins) agree(t *testing.T, key ssh.Signer, want string) {
	t.Helper()
	if got := w.observe(t, w.doors, byFile, key); got != want {
		t.Errorf("from a file: %q, want %q", got, want)
	}
	if got := w.observe(t, w.doors, byProgram, key); got != want {
		t.Errorf("from the index: %q, want %q", got, want)
	}
}

// shown is a row, of a key of that kind, that is offered in its own way.
type shown struct {
	row
	kind string
	show offer
}

// meansTheSame holds rows that stand below each other in one file to their outcomes.
func meansTheSame(t *testing.T, kind string, show offer, rows []row) {
	t.Helper()
	all := make([]shown, len(rows))
	for i, one := range rows {
		all[i] = shown{one, kind, show}
	}
	shownMeansTheSame(t, all)
}

func shownMeansTheSame(t *testing.T, rows []shown) {
	t.Helper()
	w := newTwins(t)
	casts := make([]cast, len(rows))
	for i, one := range rows {
		casts[i] = w.add(t, one.kind, one.lines)
	}
	w.publish(t, w.text.String())
	var none []ssh.Signer
	t.Run("rows", func(t *testing.T) { // ends when all that are parallel have ended
		for i, one := range rows {
			if one.want == refused && one.kind == "ed25519" {
				none = append(none, unwanted{one.show(t, casts[i]), one.name})
				continue
			}
			t.Run(one.name, func(t *testing.T) {
				t.Parallel()
				w.agree(t, one.show(t, casts[i]), one.want)
			})
		}
		for _, name := range []string{byFile, byProgram} {
			t.Run("refused "+name, func(t *testing.T) {
				t.Parallel()
				w.refusesEach(t, name, none)
			})
		}
	})
}

// unwanted is a key that sshd is to refuse before it asks for a signature.
type unwanted struct {
	ssh.Signer
	row string
}

func (u unwanted) Sign(io.Reader, []byte) (*ssh.Signature, error) {
	return nil, fmt.Errorf("%q is accepted, want it refused", u.row)
}

// refusesEach offers all keys in one connection, since sshd says of each by itself
// whether it would take it.
func (w *twins) refusesEach(t *testing.T, name string, keys []ssh.Signer) {
	t.Helper()
	if len(keys) == 0 {
		return
	}
	client, err := w.dial(name, keys...)
	if err == nil {
		_ = client.Close()
		t.Fatal("logged in without a signature")
	}
	if !isRefusal(err) || strings.Contains(err.Error(), "is accepted") {
		t.Errorf("log in as %s: %v", name, err)
	}
}
