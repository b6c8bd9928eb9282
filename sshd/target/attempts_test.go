package target

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

// tries counts how many passwords a client is asked for before it is cut off.
func (at twin) tries(t *testing.T) string {
	t.Helper()
	n := 0
	guess := ssh.RetryableAuthMethod(ssh.PasswordCallback(func() (string, error) {
		n++
		return "wrong", nil
	}), 20)
	if _, err := at.login(guess); err == nil {
		t.Fatalf("%s: logged in", at.name)
	}
	return fmt.Sprint(n)
}

// refusedKeys counts how many keys a client can offer before it is cut off.
func (at twin) refusedKeys(t *testing.T, keys []ssh.Signer) string {
	t.Helper()
	conn, err := net.Dial("tcp", at.addr)
	if err != nil {
		t.Fatal(err)
	}
	n, wire := 0, &watched{Conn: conn}
	config := &ssh.ClientConfig{
		User: "alice", HostKeyCallback: ssh.FixedHostKey(at.hostKey), HostKeyAlgorithms: []string{at.hostKey.Type()},
	}
	config.AuthCallback = func(*ssh.ClientAuthContext) (ssh.AuthMethod, error) {
		if n == len(keys) || wire.lost.Load() {
			return nil, errors.New("no more keys")
		}
		n++
		return ssh.PublicKeys(keys[n-1]), nil
	}
	if _, _, _, err := ssh.NewClientConn(wire, at.addr, config); err == nil {
		t.Fatalf("%s: logged in", at.name)
	}
	return fmt.Sprint(n)
}

// watched knows when the connection was lost, which the library asks for the next method after.
type watched struct {
	net.Conn
	lost atomic.Bool
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err != nil {
		w.lost.Store(true)
	}
	return n, err
}

func TestTriesAreCountedAsBySshd(t *testing.T) {
	w := newTwins(t, "")
	keys := make([]ssh.Signer, 8)
	for i := range keys {
		keys[i] = newKey(t).Signer
	}
	for _, test := range []struct{ config, want string }{
		{"", "6"},
		{"MaxAuthTries 1", "1"},
		{"MaxAuthTries 3", "3"},
		{"MaxAuthTries 5\nMatch User alice\nMaxAuthTries 2", "2"},
		{"MaxAuthTries 2\nMatch User alice\nMaxAuthTries 4", "4"},
	} {
		t.Run(test.config, func(t *testing.T) {
			w.reconfigure(t, test.config+"\n")
			if got := w.agree(t, func(t *testing.T, at twin) string { return at.tries(t) }); got != test.want {
				t.Errorf("passwords: %s, want %s", got, test.want)
			}
			if got := w.agree(t, func(t *testing.T, at twin) string { return at.refusedKeys(t, keys) }); got != test.want {
				t.Errorf("keys: %s, want %s", got, test.want)
			}
		})
	}
}

func TestBothShowTheSameBanner(t *testing.T) {
	w := newTwins(t, "")
	key := newKey(t)
	w.machine.AuthorizedKeys("alice", key.Line)
	w.machine.WriteFile("/etc/issue.net", "Go away.\nPlease: \u00e9\n", 0o644)
	w.machine.WriteFile("/etc/empty", "", 0o644)
	for _, test := range []struct{ config, want string }{
		{"", ""},
		{"Banner none", ""},
		{"Banner /etc/issue.net", "Go away.\nPlease: \u00e9\n"},
		{"Banner /etc/missing", ""},
		{"Banner /etc/empty", ""},
		{"Banner none\nMatch User alice\nBanner /etc/issue.net", "Go away.\nPlease: \u00e9\n"},
		{"Banner /etc/issue.net\nMatch User alice\nBanner none", ""},
	} {
		t.Run(test.config, func(t *testing.T) {
			w.reconfigure(t, test.config+"\n")
			got := w.agree(t, func(t *testing.T, at twin) string { return at.banner(t, key.Signer) })
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func (at twin) banner(t *testing.T, key ssh.Signer) string {
	t.Helper()
	var shown strings.Builder
	client, err := ssh.Dial("tcp", at.addr, &ssh.ClientConfig{
		User: "alice", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.FixedHostKey(at.hostKey),
		HostKeyAlgorithms: []string{at.hostKey.Type()},
		BannerCallback: func(text string) error {
			shown.WriteString(text)
			return nil
		},
	})
	if err != nil {
		t.Fatalf("%s: %v", at.name, err)
	}
	_ = client.Close()
	return shown.String()
}

func TestABannerIsShownOnceAndToAnybody(t *testing.T) {
	s := Start(t, WithBanner("hello\n"), WithUser(User{Name: "alice", Password: "tulip"}))
	var shown []string
	config := s.ClientConfig("mallory", ssh.Password("rose"), answering("rose"))
	config.BannerCallback = func(text string) error {
		shown = append(shown, text)
		return nil
	}
	if _, err := ssh.Dial("tcp", s.Addr().String(), config); err == nil {
		t.Fatal("logged in")
	}
	if diff := cmp.Diff([]string{"hello\n"}, shown); diff != "" {
		t.Error(diff)
	}
}

func TestABannerThatIsNoFileHoldsNobodyUp(t *testing.T) {
	f := serve(t, accounts(map[string]string{configFile: "Banner /etc/fifo\n"}), WithSSHDConfig(configFile), alice())
	makeFIFO(t, filepath.Join(f.root, "etc/fifo"))
	if !f.admits(t, "alice", ssh.Password("tulip")) {
		t.Error(f.reasons())
	}
	if err := os.Remove(filepath.Join(f.root, "etc/fifo")); err != nil {
		t.Fatal(err)
	}
}
