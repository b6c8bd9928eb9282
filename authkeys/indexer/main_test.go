package indexer_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	plain       = "ssh-ed25519"
	certificate = "ssh-ed25519-cert-v01@openssh.com"
)

// rsaLine is a line with an RSA key of 1024 bits.
const rsaLine = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQCsWi8nU7+2gwZPN7TBXzP7N+7crygpKI+Tr8O810kfy9phz0txf5YHisJKa42LyONt1XtF1KiwTk+YKzxkdKbw7VdZ6O47bLf7YD6+EnAJ6UwdpXaxpHiDVG2Y3kEE3IaxLocDeuz5C3TWXPTev/5NVxRnP2PrkiyTlpMyp7uE4Q=="

// key is the i-th key, as a client offers it.
func key(i int) string { return testmachine.KeyBase64(i) }

// line is a line of authorized_keys with the i-th key.
func line(options string, i int, comment string) string {
	return strings.TrimSpace(options + " ssh-ed25519 " + key(i) + " " + comment)
}

// newFolder is one that nobody else may write to.
func newFolder(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func writeFile(t testing.TB, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// write makes an index of these users.
func write(t testing.TB, users ...indexer.User) (path string) {
	t.Helper()
	dir := newFolder(t)
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := indexer.Write(root, "users.index", users...); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "users.index")
}

func open(t testing.TB, path string) *index.Index {
	t.Helper()
	x, err := index.Open(path, os.Getuid(), filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

// matched are the lines that a client with that key is shown.
func matched(x *index.Index, user, keyType, key string) (lines []string, err error) {
	err = x.Match(user, keyType, key, func(line []byte) error {
		lines = append(lines, string(line))
		return nil
	})
	return lines, err
}

func all(x *index.Index, user string) (lines []string, err error) {
	err = x.All(user, func(line []byte) error {
		lines = append(lines, string(line))
		return nil
	})
	return lines, err
}

// isDamage tells whether the index has been refused for what is in it.
func isDamage(err error) bool {
	_, ok := errors.AsType[*index.Error](err)
	return ok
}

func fingerprintOf(t testing.TB, i int) string {
	t.Helper()
	entry, err := authkeys.ParseKey(line("", i, ""))
	if err != nil {
		t.Fatal(err)
	}
	return entry.Fingerprint()
}

// keyLines are count lines with different keys.
func keyLines(t testing.TB, count int) string {
	t.Helper()
	var text strings.Builder
	if err := testmachine.WriteKeyLines(io.Writer(&text), count); err != nil {
		t.Fatal(err)
	}
	return text.String()
}
