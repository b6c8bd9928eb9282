package target

import (
	"net"
	"os"
	"testing"

	"golang.org/x/crypto/ssh"
)

// path is where the twin sees a file of the machine.
func (w *forwardTwins) path(at twin, path string) string {
	if at.name == "sshd" {
		return path
	}
	return w.machine.Path(path)
}

const (
	echoSocket = "/home/alice/echo"
	newSocket  = "/home/alice/new"
)

func TestBothForwardTheSameSockets(t *testing.T) {
	const refused = "2 open failed"
	rows := []struct{ config, options, open, listen string }{
		{"", "", "open", "listens -rw-------, stays"},
		{"", "no-port-forwarding", refused, "refused"},
		{"", "restrict", refused, "refused"},
		{"", "restrict,port-forwarding", "open", "listens -rw-------, stays"},
		{"", `permitopen="h:1"`, refused, "listens -rw-------, stays"},
		{"", `permitopen="*:*"`, "open", "listens -rw-------, stays"},
		{"", `permitopen="*:1"`, refused, "listens -rw-------, stays"},
		{"", `permitlisten="1"`, "open", "listens -rw-------, stays"},
		{"PermitOpen none\nPermitListen none", "", refused, "listens -rw-------, stays"},
		{"PermitOpen *:*", "", "open", "listens -rw-------, stays"},
		{"PermitOpen *:*", `permitopen="h:1"`, refused, "listens -rw-------, stays"},
		{"AllowStreamLocalForwarding no", "", refused, "refused"},
		{"AllowStreamLocalForwarding local", "", "open", "refused"},
		{"AllowStreamLocalForwarding remote", "", refused, "listens -rw-------, stays"},
		{"AllowStreamLocalForwarding all", "", "open", "listens -rw-------, stays"},
		{"AllowTcpForwarding no", "", refused, "refused"},
		{"AllowTcpForwarding local", "", "open", "refused"},
		{"AllowTcpForwarding remote", "", refused, "listens -rw-------, stays"},
		{"DisableForwarding yes", "", refused, "refused"},
		{"StreamLocalBindMask 0137", "", "open", "listens -rw-r-----, stays"},
	}
	var configs []string
	for _, row := range rows {
		configs = append(configs, row.config)
	}
	w := newForwardTwins(t, configs)
	echo(t, "unix", w.machine.Path(echoSocket))
	if err := os.Chmod(w.machine.Path(echoSocket), 0o777); err != nil {
		t.Fatal(err)
	}
	for _, test := range rows {
		t.Run(test.config+" "+test.options, func(t *testing.T) {
			got := w.agreeUnder(t, test.config, test.options, func(_ *testing.T, at twin, client *ssh.Client) string {
				return openChannel(client, "direct-streamlocal@openssh.com", ssh.Marshal(directStreamLocal{Path: w.path(at, echoSocket)}))
			})
			if got != test.open {
				t.Errorf("channel: %q, want %q", got, test.open)
			}
			got = w.agreeUnder(t, test.config, test.options, func(t *testing.T, at twin, client *ssh.Client) string {
				return w.listenAt(t, at, client)
			})
			if got != test.listen {
				t.Errorf("listener: %q, want %q", got, test.listen)
			}
		})
	}
}

// listenAt asks for a listener at the socket new, and tells what became of the file.
func (w *forwardTwins) listenAt(t *testing.T, at twin, client *ssh.Client) string {
	payload := ssh.Marshal(streamLocalForward{Path: w.path(at, newSocket)})
	ok, _, err := client.SendRequest("streamlocal-forward@openssh.com", true, payload)
	if err != nil || !ok {
		return "refused"
	}
	defer os.Remove(w.machine.Path(newSocket))
	info, err := os.Lstat(w.machine.Path(newSocket))
	if err != nil {
		t.Fatal(err)
	}
	outcome := "listens " + info.Mode().Perm().String()
	if ok, _, err = client.SendRequest("cancel-streamlocal-forward@openssh.com", true, payload); err != nil || !ok {
		return outcome + ", not cancelled"
	}
	if conn, err := net.Dial("unix", w.machine.Path(newSocket)); err == nil {
		_ = conn.Close()
		return outcome + ", goes on"
	}
	if _, err := os.Lstat(w.machine.Path(newSocket)); err == nil {
		return outcome + ", stays"
	}
	return outcome + ", gone"
}

func TestBothTreatWhatIsInTheWayOfASocketTheSame(t *testing.T) {
	w := newForwardTwins(t, []string{"", "StreamLocalBindUnlink yes"})
	m := w.machine
	for _, test := range []struct {
		name, config string
		place        func(path string) error
		want         string
	}{
		{"a file", "", func(path string) error { return os.WriteFile(path, []byte("kept"), 0o644) }, "refused; victim is there"},
		{"a link to nothing", "", func(path string) error { return os.Symlink("victim2", path) }, "refused; victim is there"},
		{"a link to a file", "", func(path string) error { return os.Symlink("victim", path) }, "refused; victim is there"},
		{"a file", "StreamLocalBindUnlink yes", func(path string) error { return os.WriteFile(path, nil, 0o644) }, "listens; victim is there"},
		{"a link to a file", "StreamLocalBindUnlink yes", func(path string) error { return os.Symlink("victim", path) }, "listens; victim is there"},
		{"a folder", "StreamLocalBindUnlink yes", func(path string) error { return os.Mkdir(path, 0o755) }, "refused; victim is there"},
		{"nothing", "StreamLocalBindUnlink yes", func(string) error { return nil }, "listens; victim is there"},
	} {
		t.Run(test.name+" "+test.config, func(t *testing.T) {
			got := w.agreeUnder(t, test.config, "", func(t *testing.T, at twin, client *ssh.Client) string {
				m.WriteFile("/home/alice/victim", "kept", 0o644)
				if err := test.place(m.Path(newSocket)); err != nil {
					t.Fatal(err)
				}
				defer os.Remove(m.Path(newSocket))
				ok, _, err := client.SendRequest("streamlocal-forward@openssh.com", true, ssh.Marshal(streamLocalForward{Path: w.path(at, newSocket)}))
				if err != nil {
					t.Fatal(err)
				}
				outcome := map[bool]string{true: "listens", false: "refused"}[ok]
				if m.ReadFile("/home/alice/victim") == "kept" {
					outcome += "; victim is there"
				}
				if _, err := os.Lstat(m.Path("/home/alice/victim2")); err == nil {
					outcome += "; the link's target was made"
				}
				return outcome
			})
			if got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
