package target

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestBothAnswerOtherRequestsAndChannelsTheSame(t *testing.T) {
	w := newForwardTwins(t, nil)
	for _, test := range []struct {
		name string
		do   func(*ssh.Client) string
		want string
	}{
		{"keepalive", requesting("keepalive@openssh.com"), "false"},
		{"unknown request", requesting("nobody-knows@example.com"), "false"},
		{"no more sessions", requesting("no-more-sessions@openssh.com"), "true"},
		{"session", func(client *ssh.Client) string { return openChannel(client, "session", nil) }, "open"},
		{"session after no more", func(client *ssh.Client) string {
			return requesting("no-more-sessions@openssh.com")(client) + ", " + openChannel(client, "session", nil)
		}, "true, connection ended"},
		{"forwarding after no more", func(client *ssh.Client) string {
			return requesting("no-more-sessions@openssh.com")(client) + ", " +
				openChannel(client, "direct-streamlocal@openssh.com", ssh.Marshal(directStreamLocal{Path: "/nothing"}))
		}, "true, 2 open failed"},
		{"x11 channel", func(client *ssh.Client) string {
			return openChannel(client, "x11", ssh.Marshal(tcpipForward{Host: "h"}))
		}, "2 open failed"},
		{"unknown channel", func(client *ssh.Client) string { return openChannel(client, "nobody-knows@example.com", nil) }, "2 open failed"},
		{"tunnel", func(client *ssh.Client) string {
			return openChannel(client, "tun@openssh.com", ssh.Marshal(struct{ Mode, Unit uint32 }{1, 0x7fffffff}))
		}, "2 open failed"},
		{"bad channel", func(client *ssh.Client) string { return openChannel(client, "direct-tcpip", []byte{0, 0, 0, 9}) }, "connection ended"},
		{"too long a channel", func(client *ssh.Client) string {
			return openChannel(client, "direct-tcpip", append(ssh.Marshal(tcpipChannel{}), 0))
		}, "connection ended"},
		{"NUL in a host", func(client *ssh.Client) string {
			return openChannel(client, "direct-tcpip", ssh.Marshal(tcpipChannel{Host: "a\x00b"}))
		}, "connection ended"},
		{"NUL in a path", func(client *ssh.Client) string {
			return openChannel(client, "direct-streamlocal@openssh.com", ssh.Marshal(directStreamLocal{Path: "\x00a"}))
		}, "connection ended"},
		{"bad request", func(client *ssh.Client) string {
			_, _, err := client.SendRequest("tcpip-forward", true, []byte{0, 0, 0, 9})
			return fmt.Sprint(err != nil)
		}, "true"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.hangUp()
			got := w.agreeUnder(t, "", "", func(_ *testing.T, _ twin, client *ssh.Client) string { return test.do(client) })
			if got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// requesting sends a request without payload, and tells the answer.
func requesting(name string) func(*ssh.Client) string {
	return func(client *ssh.Client) string {
		ok, _, err := client.SendRequest(name, true, nil)
		if err != nil {
			return err.Error()
		}
		return strconv.FormatBool(ok)
	}
}

func TestBothRefuseTheSameForwardingKeywords(t *testing.T) {
	w := newTwins(t, "")
	for _, line := range []string{
		"PermitOpen any", "PermitOpen none", "PermitOpen a:1 b:2", "PermitOpen a:ssh", "PermitOpen a:*", "PermitOpen [::1]:1", "PermitOpen *:1",
		"PermitOpen", "PermitOpen a", "PermitOpen 80", "PermitOpen a:0", "PermitOpen a:65536", "PermitOpen a:nobody-knows", "PermitOpen ::1:1",
		"PermitOpen a:1 any", "PermitOpen any a:1", "PermitOpen Any", "PermitOpen a/1", "PermitOpen [::1", "PermitOpen a:", "PermitOpen :1", "PermitOpen [::1]x:1",
		"PermitListen 80", "PermitListen *", "PermitListen a", "PermitListen a:80 any", "PermitListen 0", "PermitListen ssh", "PermitListen none",
		"AllowTcpForwarding yes", "AllowTcpForwarding ALL", "AllowTcpForwarding both", "AllowStreamLocalForwarding local", "AllowStreamLocalForwarding 1",
		"GatewayPorts clientspecified", "GatewayPorts any", "DisableForwarding maybe",
		"StreamLocalBindMask 0177", "StreamLocalBindMask 777", "StreamLocalBindMask 1000", "StreamLocalBindMask 8", "StreamLocalBindMask -1",
		"StreamLocalBindUnlink on", "AddressFamily inet4",
	} {
		t.Run(line, func(t *testing.T) {
			keyword, rest, _ := strings.Cut(line, " ")
			checked := w.machine.Chroot("sshd", "-t", "-o", keyword+"="+rest)
			out, sshdErr := checked.CombinedOutput()
			_, err := LoadConfig(w.machine.Root, configFile, line)
			if (sshdErr == nil) != (err == nil) {
				t.Errorf("sshd: %v\n%s\nours: %v", sshdErr, out, err)
			}
		})
	}
}
