package sshdtest

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
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

// TestIndexesAreReplacedUnderAThousandLogons: a logon is a query and a signature, which is all that
// the program is run for. Each connection makes several, since sshd demands that many keys; both indexes
// are replaced after each query.
func TestIndexesAreReplacedUnderAThousandLogons(t *testing.T) {
	t.Parallel()
	const connections, each, clients = 100, 10, 4
	r := newRig(t, "")
	r.AddUser("git", password)
	keys := map[string][]testmachine.Key{user: newKeys(t, each), "git": newKeys(t, each)}
	indexes := r.replacements(keys)
	indexes.replace(t)
	r.start("LogLevel ERROR\nMaxAuthTries 100\nAuthenticationMethods publickey" + strings.Repeat(",publickey", each-1) + "\n" + byCommandAlone)

	var begun, failed, signed atomic.Int64
	var working sync.WaitGroup
	for range clients {
		working.Go(func() {
			for i := begun.Add(1); i <= connections; i = begun.Add(1) {
				name := []string{user, "git"}[i%2]
				var offered []ssh.Signer
				for _, key := range keys[name] {
					offered = append(offered, replacing{key.Signer, func() { indexes.replace(t); signed.Add(1) }})
				}
				client, err := r.dial(name, offered...)
				if err != nil {
					failed.Add(1)
					t.Errorf("connection %d, of %s: %v", i, name, err)
					continue
				}
				_ = client.Close()
			}
		})
	}
	working.Wait()
	t.Logf("%d logons, %d connections of them failed; both indexes were replaced %d times", signed.Load(), failed.Load(), indexes.replaced)
	if n := signed.Load(); n < connections*each && failed.Load() == 0 {
		t.Errorf("%d logons, want %d", n, connections*each)
	}
}

// replacing is a key that has the indexes replaced once sshd has accepted it.
type replacing struct {
	ssh.Signer
	replace func()
}

func (r replacing) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	r.replace()
	return r.Signer.Sign(random, data)
}

// replacements are versions of both indexes that all have the keys.
type replacements struct {
	mu       sync.Mutex
	versions map[string][]string // by the path of the index
	replaced int
}

// replacements has alice's keys in the bound index and git's in the other.
func (r *rig) replacements(keys map[string][]testmachine.Key) *replacements {
	r.t.Helper()
	all := &replacements{versions: map[string][]string{}}
	keep := func(path string) {
		path = r.Path(path)
		version := fmt.Sprint(path, ".", len(all.versions[path]))
		if err := os.Rename(path, version); err != nil {
			r.t.Fatal(err)
		}
		all.versions[path] = append(all.versions[path], version)
	}
	lines := func(name, options string) (all []string) {
		for _, key := range keys[name] {
			all = append(all, options+key.Line)
		}
		return all
	}
	for _, bound := range [][]string{lines(user, ""), append(lines(user, "no-pty "), lines("git", "")...)} {
		r.bind(user, bound...)
		keep(boundIndex)
	}
	text, many := strings.Join(lines("git", ""), "\n")+"\n", manyLines(10_000)
	for _, text := range []string{text, many + text + many, "no-pty " + strings.ReplaceAll(text, "\n", "\nno-pty ") + manyLines(1)} {
		r.index("git", text)
		keep(usersIndex)
	}
	return all
}

// replace puts the next versions in place.
func (all *replacements) replace(t *testing.T) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for path, versions := range all.versions {
		next := path + ".next"
		if err := errors.Join(os.Link(versions[all.replaced%len(versions)], next), os.Rename(next, path)); err != nil {
			t.Error(err)
		}
	}
	all.replaced++
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
