package bench

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/authkeys/index"
	"github.com/latchkey-ssh/latchkey/authkeys/indexer"
	"github.com/latchkey-ssh/latchkey/internal/testmachine"
)

// Where the machines of the benchmark have what is compared.
const (
	helperPath   = "/usr/sbin/latchkey-authorized-keys"
	readerPath   = "/usr/local/bin/reader"
	oneLinePath  = "/etc/ssh/authorized_keys/one"
	userdbctl    = "/usr/bin/userdbctl"
	userdbd      = "/lib/systemd/systemd-userdbd"
	oslogin      = "/usr/bin/google_authorized_keys"
	userdbRecord = "/etc/userdb/" + keysUser
)

// metadataAddress is where a cloud's instances ask for metadata.
var metadataAddress = [4]byte{169, 254, 169, 254}

// keysUser is whose keys are asked for.
const keysUser = "git"

// newKeysMachine is a machine with our program and the bare reader, and no index.
func newKeysMachine(b *testing.B, helper, reader string) *testmachine.Machine {
	b.Helper()
	m := testmachine.New(b)
	copyProgram(b, m, helper, helperPath)
	copyProgram(b, m, reader, readerPath)
	m.Mkdir(filepath.Dir(index.Dir), 0o711)
	m.Mkdir(index.Dir, 0o755)
	return m
}

func copyProgram(b *testing.B, m *testmachine.Machine, from, to string) {
	b.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		b.Fatal(err)
	}
	m.WriteFile(to, string(content), 0o755)
}

// publish writes the index that the agent keeps of the key that is bound.
func publish(b *testing.B, m *testmachine.Machine, user, line string) {
	b.Helper()
	dir, err := os.OpenRoot(m.Path(index.Dir))
	if err != nil {
		b.Fatal(err)
	}
	defer dir.Close()
	if err := indexer.Write(dir, filepath.Base(index.Bound), indexer.User{Name: user, Lines: []string{line}}); err != nil {
		b.Fatal(err)
	}
}

// mountMillion builds an index of a million lines of one user and puts it into the
// machine, where an administrator's is: on a disk, unlike the rest of the machine. It
// returns where the file is.
func mountMillion(b *testing.B, m *testmachine.Machine, last ...string) string {
	b.Helper()
	folder := b.TempDir()
	if err := os.Chmod(folder, 0o755); err != nil {
		b.Fatal(err)
	}
	lines := filepath.Join(b.TempDir(), "authorized_keys")
	writeLines(b, lines, 0, million-len(last), last...)
	built := filepath.Join(folder, filepath.Base(index.Users))
	_, err := indexer.Build(b.Context(), indexer.Options{Sources: []indexer.Source{{User: keysUser, Path: lines}}, Out: built})
	if err != nil {
		b.Fatal(err)
	}
	if err := os.Remove(lines); err != nil {
		b.Fatal(err)
	}
	if err := unix.Mount(folder, m.Path(index.Dir), "", unix.MS_BIND, ""); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = unix.Unmount(m.Path(index.Dir), unix.MNT_DETACH) })
	return built
}

// here tells whether a peer is installed, and says so when it is not.
func here(b *testing.B, program string) bool {
	b.Helper()
	_, err := os.Stat(program)
	if err != nil {
		b.Logf("%s: not here", filepath.Base(program))
	}
	return err == nil
}

// recordUser gives the machine a user that systemd's user records alone know, with
// an SSH key (https://systemd.io/USER_RECORD, section on the privileged fields).
func recordUser(m *testmachine.Machine, line string) {
	m.WriteFile(userdbRecord+".user", fmt.Sprintf(
		`{"userName":%q,"uid":61184,"gid":61184,"homeDirectory":"/","shell":"/bin/sh"}`, keysUser), 0o644)
	m.WriteFile(userdbRecord+".user-privileged", fmt.Sprintf(
		`{"privileged":{"sshAuthorizedKeys":[%q]}}`, line), 0o600)
}

// startUserdbd starts the daemon that userdbctl asks where it runs.
func startUserdbd(b *testing.B, m *testmachine.Machine) {
	b.Helper()
	m.Mkdir("/run/systemd/userdb", 0o755)
	startUntil(b, m.Chroot(userdbd), func() error {
		_, err := os.Stat(m.Path("/run/systemd/userdb/io.systemd.Multiplexer"))
		return err
	})
}

// startUntil starts a daemon, which ends with the benchmark, and returns when it is ready.
func startUntil(b *testing.B, cmd *exec.Cmd, ready func() error) {
	b.Helper()
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		err := ready()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s is not ready: %v", cmd.Path, err)
		}
	}
}

// startOSLogin starts what google_authorized_keys asks, in the network of the calling
// thread.
func startOSLogin(b *testing.B, line string) error {
	listener, err := net.Listen("tcp", net.IP(metadataAddress[:]).String()+":80")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: serveOSLogin(line)}
	go func() { _ = server.Serve(listener) }()
	b.Cleanup(func() { _ = server.Close() })
	return nil
}

// serveOSLogin answers google_authorized_keys as a Google instance's metadata server
// does: first who the user is, then that they may log in.
func serveOSLogin(line string) http.Handler {
	profile := fmt.Sprintf(`{"loginProfiles":[{"name":"1","posixAccounts":[{"primary":true,"username":%q,"uid":"61185",`+
		`"gid":"61185","homeDirectory":"/home/git","shell":"/bin/bash"}],"sshPublicKeys":{"1":{"key":%q,"fingerprint":"1"}}}]}`,
		keysUser, line)
	mux := http.NewServeMux()
	const base = "/computeMetadata/v1/oslogin/"
	mux.HandleFunc(base+"users", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, profile) })
	mux.HandleFunc(base+"authorize", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"success":true}`)
	})
	return mux
}
