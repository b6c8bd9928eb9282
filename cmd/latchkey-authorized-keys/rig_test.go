package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A rig is the program with a folder of the test's own for an instance, and a
// socket that stands in for the journal's.
type rig struct {
	helper
	t     *testing.T
	dir   string
	inbox int // where the journal's packets arrive
}

func newRig(t *testing.T) *rig {
	t.Helper()
	// Not t.TempDir, which may be too long for the name of a socket.
	dir, err := os.MkdirTemp("", "latchkey-helper-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &rig{t: t, dir: dir}
	r.helper = helper{
		indexes: [2]string{r.path("bound.index"), r.path("users.index")}, owner: os.Getuid(), top: r.dir,
		journal: r.path("journal"), syslog: r.path("syslog"),
		patience: 10_000, most: 16 << 20,
	}
	if err := os.Chmod(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.inbox = r.listen(r.journal)
	return r
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

// listen receives packets at a path.
func (r *rig) listen(path string) (fd int) {
	r.t.Helper()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		r.t.Fatal(err)
	}
	return fd
}

// arrived returns the next packet, nil when there is none.
func (r *rig) arrived(fd int) []byte {
	r.t.Helper()
	packet := make([]byte, 64<<10)
	n, _, err := syscall.Recvfrom(fd, packet, syscall.MSG_DONTWAIT)
	if err == syscall.EAGAIN {
		return nil
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return packet[:n]
}

// logged returns the fields of all entries that the journal has got.
func (r *rig) logged() (entries []map[string]string) {
	r.t.Helper()
	for packet := r.arrived(r.inbox); packet != nil; packet = r.arrived(r.inbox) {
		entries = append(entries, fields(r.t, packet))
	}
	return entries
}

// messages are the priorities and messages of what the journal has got.
func (r *rig) messages() (all []string) {
	r.t.Helper()
	for _, entry := range r.logged() {
		all = append(all, entry["PRIORITY"]+" "+entry["MESSAGE"])
	}
	return all
}

// fields reads an entry as journald does.
func fields(t *testing.T, packet []byte) map[string]string {
	t.Helper()
	all := map[string]string{}
	for len(packet) > 0 {
		line, rest, ok := bytes.Cut(packet, []byte("\n"))
		if !ok {
			t.Fatalf("an entry ends without a newline: %q", packet)
		}
		name, value, simple := bytes.Cut(line, []byte("="))
		if !simple {
			size := binary.LittleEndian.Uint64(rest)
			value, rest = rest[8:8+size], rest[8+size+1:]
		}
		all[string(name)] = string(value)
		packet = rest
	}
	return all
}

// ask runs the program, and returns what it prints and its exit status.
func (r *rig) ask(words ...string) (printed string, status int) {
	r.t.Helper()
	out, err := os.CreateTemp(r.t.TempDir(), "stdout")
	if err != nil {
		r.t.Fatal(err)
	}
	defer out.Close()
	r.stdout = int(out.Fd())
	if r.stderr, err = syscall.Open(os.DevNull, syscall.O_WRONLY|syscall.O_CLOEXEC, 0); err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = syscall.Close(r.stderr) }()
	status = r.run(words)
	text, err := os.ReadFile(out.Name())
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text), status
}

// want asks, and compares.
func (r *rig) want(t *testing.T, printed string, status int, words ...string) {
	t.Helper()
	gotPrinted, gotStatus := r.ask(words...)
	if gotPrinted != printed || gotStatus != status {
		t.Errorf("%s\nprints %q, exit status %d\n  want %q, exit status %d", strings.Join(words, " "), gotPrinted, gotStatus, printed, status)
	}
}

// write writes an index.
func (r *rig) write(name string, users ...indexer.User) {
	r.t.Helper()
	dir, err := os.OpenRoot(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	defer dir.Close()
	if err := indexer.Write(dir, name, users...); err != nil {
		r.t.Fatal(err)
	}
}

// file writes a file with this mode, whatever the umask, and returns its path.
func (r *rig) file(name, content string, mode os.FileMode) string {
	r.t.Helper()
	path := r.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// A publicKey is a line of authorized_keys without options or a comment, and the
// words by which sshd asks for it.
type publicKey struct{ line, keyType, blob string }

func newPublicKey(t *testing.T) publicKey {
	t.Helper()
	line := strings.Join(strings.Fields(testmachine.NewKey(t, "ed25519").Line)[:2], " ")
	keyType, blob, _ := strings.Cut(line, " ")
	return publicKey{line, keyType, blob}
}

// question is what sshd asks about the key, as tokens %u %U %h %t %k have it.
func (k publicKey) question(user string) []string {
	return []string{user, "1000", "/home/" + user, k.keyType, k.blob}
}
