package sshdtest

import (
	"crypto/rand"
	"encoding/base64"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// manyLines are n lines of keys that nobody has.
func manyLines(n int) string {
	var text strings.Builder
	point := make([]byte, 32)
	for range n {
		_, _ = rand.Read(point) // never fails
		blob := ssh.Marshal(struct{ Type, Point string }{"ssh-ed25519", string(point)})
		text.WriteString("ssh-ed25519 " + base64.StdEncoding.EncodeToString(blob) + "\n")
	}
	return text.String()
}

// TestIndexesAreReplacedUnderAThousandLogons: each logon is a query and a signature, which is all that
// the program is run for; sessions are left out, since they would take most of the time.
func TestIndexesAreReplacedUnderAThousandLogons(t *testing.T) {
	t.Parallel()
	const logons, atOnce = 1000, 6
	r := newRig(t, "")
	r.AddUser("git", password)
	bound, users := testmachine.NewKey(t, "ed25519"), testmachine.NewKey(t, "ed25519")
	many := manyLines(20_000)
	texts := []string{users.Line + "\n", many + users.Line + "\n" + many, "no-pty " + users.Line + "\n"}
	replace := func(i int) {
		r.bind(user, [][]string{{bound.Line}, {"no-pty " + bound.Line, users.Line}}[i%2]...)
		if i%4 == 0 {
			r.index("git", texts[i/4%len(texts)])
		}
	}
	replace(0)
	r.start("LogLevel ERROR\n" + byCommandAlone)

	var begun, failed atomic.Int64
	ended := make(chan int64, logons)
	var working sync.WaitGroup
	for range atOnce {
		working.Go(func() {
			for i := begun.Add(1); i <= logons; i = begun.Add(1) {
				name, key := user, bound
				if i%2 == 0 {
					name, key = "git", users
				}
				client, err := r.dial(name, key.Signer)
				if err == nil {
					_ = client.Close()
				} else {
					failed.Add(1)
					t.Errorf("logon %d of %s: %v", i, name, err)
				}
				ended <- i
			}
		})
	}
	go func() { working.Wait(); close(ended) }()
	replaced := 1
	for range ended {
		if begun.Load() < logons { // so that each is under logons
			replace(replaced)
			replaced++
		}
	}
	t.Logf("%d logons, %d of them failed; the index of the bound key was replaced %d times, the other %d times", logons, failed.Load(), replaced, replaced/4)
	if replaced < 100 {
		t.Errorf("replaced %d times only", replaced)
	}
}

func TestARevokedKeyIsRefusedAtOnceAndAnOpenSessionStays(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	keys := newKeys(t, 2)
	revoked, kept := keys[0], keys[1]
	r.index(user, revoked.Line+"\n"+kept.Line+"\n")
	r.start(byCommandAlone)
	client, err := r.dial(user, revoked.Signer)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 5 {
		r.index(user, kept.Line+"\n")
		r.want(t, false, revoked.Signer)
		r.want(t, true, kept.Signer)
		if out := printed(t, client); out != "in\n" {
			t.Errorf("the session that was open: %q", out)
		}
		r.index(user, revoked.Line+"\n"+kept.Line+"\n")
		r.want(t, true, revoked.Signer)
	}

	bound := testmachine.NewKey(t, "ed25519")
	r.bind(user, bound.Line)
	r.want(t, true, bound.Signer)
	r.bind(user)
	r.want(t, false, bound.Signer)
	r.bind(user, bound.Line)
	r.want(t, true, bound.Signer)
	r.remove(boundIndex)
	r.want(t, false, bound.Signer)
	r.want(t, true, kept.Signer)
}
