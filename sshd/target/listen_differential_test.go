package target

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// listenTCPAt asks for a listener, and tells on which addresses it can be reached; 127.0.0.2 stands for those that are
// not the loopback's own. Afterwards the listener is cancelled.
func listenTCPAt(t *testing.T, client *ssh.Client, host, port string) string {
	ok, reply, err := client.SendRequest("tcpip-forward", true, ssh.Marshal(tcpipForward{Host: host, Port: portNumber(t, port)}))
	if err != nil {
		return "connection ended"
	}
	if !ok {
		return "refused"
	}
	var answers []string
	if len(reply) > 0 {
		var told struct{ Port uint32 }
		if err := ssh.Unmarshal(reply, &told); err != nil {
			t.Fatal(err)
		}
		port, answers = strconv.Itoa(int(told.Port)), append(answers, "told")
	}
	for _, addr := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(addr, port), 5*time.Second)
		if err == nil {
			_ = conn.Close()
			answers = append(answers, addr)
		}
	}
	ok, _, err = client.SendRequest("cancel-tcpip-forward", true, ssh.Marshal(tcpipForward{Host: host, Port: portNumber(t, port)}))
	return fmt.Sprint(answers, " cancelled ", ok, err == nil)
}

const (
	onLoopback = "[127.0.0.1 ::1] cancelled true true"
	onIPv4     = "[127.0.0.1] cancelled true true"
	onIPv6     = "[::1] cancelled true true"
	everywhere = "[127.0.0.1 127.0.0.2 ::1] cancelled true true"
)

func TestBothListenForTheSameClients(t *testing.T) {
	agreeOn(t, []forwardRow{
		{"", "", "localhost", "PORT", onLoopback},
		{"", "", "", "PORT", onLoopback},
		{"", "", "*", "PORT", onLoopback},
		{"", "", "0.0.0.0", "PORT", onLoopback},
		{"", "", "127.0.0.1", "PORT", onIPv4},
		{"", "", "::1", "PORT", onIPv6},
		{"", "", "127.0.0.2", "PORT", onLoopback},
		{"", "", "localhost", "0", "[told 127.0.0.1 ::1] cancelled true true"},
		{"", "", "localhost", "TAKEN", "refused"},
		{"", "", "localhost", "80", "refused"},

		{"", `permitlisten="PORT"`, "localhost", "PORT", onLoopback},
		{"", `permitlisten="PORT"`, "", "PORT", onLoopback},
		{"", `permitlisten="PORT"`, "localhost", "OTHER", "refused"},
		{"", `permitlisten="PORT"`, "localhost", "0", "refused"},
		{"", `permitlisten="*:*"`, "localhost", "0", "[told 127.0.0.1 ::1] cancelled true true"},
		{"", `permitlisten="localhost:PORT"`, "localhost", "PORT", onLoopback},
		{"", `permitlisten="localhost:PORT"`, "LOCALHOST", "PORT", onLoopback},
		{"", `permitlisten="LOCALHOST:PORT"`, "localhost", "PORT", "refused"},
		{"", `permitlisten="localhost:PORT"`, "127.0.0.1", "PORT", "refused"},
		{"", `permitlisten="localhost:PORT"`, "", "PORT", "refused"},
		{"", `permitlisten="127.*:PORT"`, "127.0.0.1", "PORT", onIPv4},
		{"", `permitlisten="127.0.0.?:PORT"`, "127.0.0.1", "PORT", onIPv4},
		{"", `permitlisten="[::1]:PORT"`, "::1", "PORT", onIPv6},
		{"", `permitlisten="localhost,x:PORT"`, "localhost", "PORT", "refused"},
		{"", `permitlisten="!x:PORT"`, "localhost", "PORT", "refused"},
		{"", `permitlisten="OTHER",permitlisten="PORT"`, "localhost", "PORT", onLoopback},

		{"", "no-port-forwarding", "localhost", "PORT", "refused"},
		{"", "restrict", "localhost", "PORT", "refused"},
		{"", "restrict,port-forwarding", "localhost", "PORT", onLoopback},
		{"", `restrict,permitlisten="PORT"`, "localhost", "PORT", "refused"},
		{"", `permitopen="localhost:1"`, "localhost", "PORT", onLoopback},

		{"PermitListen none", "", "localhost", "PORT", "refused"},
		{"PermitListen none", `permitlisten="PORT"`, "localhost", "PORT", "refused"},
		{"PermitListen any", "", "localhost", "PORT", onLoopback},
		{"PermitListen OTHER localhost:PORT", "", "localhost", "PORT", onLoopback},
		{"PermitListen OTHER localhost:PORT", "", "127.0.0.1", "PORT", "refused"},
		{"PermitListen OTHER localhost:PORT", "", "127.0.0.1", "OTHER", onIPv4},
		{"PermitListen OTHER localhost:PORT", `permitlisten="127.0.0.1:OTHER"`, "127.0.0.1", "OTHER", onIPv4},
		{"PermitListen OTHER localhost:PORT", `permitlisten="127.0.0.1:OTHER"`, "localhost", "PORT", "refused"},
		{"PermitOpen none", "", "localhost", "PORT", onLoopback},

		{"AllowTcpForwarding no", "", "localhost", "PORT", "refused"},
		{"AllowTcpForwarding local", "", "localhost", "PORT", "refused"},
		{"AllowTcpForwarding local", `permitlisten="PORT"`, "localhost", "PORT", "refused"},
		{"AllowTcpForwarding remote", "", "localhost", "PORT", onLoopback},
		{"DisableForwarding yes", "", "localhost", "PORT", "refused"},

		{"GatewayPorts yes", "", "localhost", "PORT", everywhere},
		{"GatewayPorts yes", "", "127.0.0.1", "PORT", everywhere},
		{"GatewayPorts yes", `permitlisten="localhost:PORT"`, "localhost", "PORT", everywhere},
		{"GatewayPorts clientspecified", "", "localhost", "PORT", onLoopback},
		{"GatewayPorts clientspecified", "", "", "PORT", everywhere},
		{"GatewayPorts clientspecified", "", "*", "PORT", everywhere},
		{"GatewayPorts clientspecified", "", "127.0.0.1", "PORT", onIPv4},
		{"GatewayPorts clientspecified", "", "127.0.0.2", "PORT", "[127.0.0.2] cancelled true true"},
		{"GatewayPorts clientspecified", "", "0.0.0.0", "PORT", "[127.0.0.1 127.0.0.2] cancelled true true"},
		{"GatewayPorts clientspecified", "", "::", "PORT", onIPv6},
		{"GatewayPorts clientspecified", "", "::ffff:127.0.0.1", "PORT", "refused"},
		{"GatewayPorts clientspecified", "", "192.0.2.1", "PORT", "refused"},
		{"AddressFamily inet", "", "localhost", "PORT", onIPv4},
		{"AddressFamily inet", "", "::1", "PORT", "refused"},
	}, listenTCPAt, "PORT", freePort(t), "OTHER", freePort(t), "TAKEN", echoes(t))
}

func TestBothTellTheClientTheSameOfAForwardedConnection(t *testing.T) {
	w := newForwardTwins(t, nil, "PORT", freePort(t))
	for _, host := range []string{"localhost", "", "127.0.0.1"} {
		w.hangUp()
		got := w.agreeUnder(t, "", "", func(t *testing.T, _ twin, client *ssh.Client) string {
			opened := client.HandleChannelOpen("forwarded-tcpip")
			port := w.filled.Replace("PORT")
			ok, _, err := client.SendRequest("tcpip-forward", true, ssh.Marshal(tcpipForward{Host: host, Port: portNumber(t, port)}))
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			conn, err := net.Dial("tcp", "127.0.0.1:"+port)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			channel := <-opened
			var told tcpipChannel
			if err := ssh.Unmarshal(channel.ExtraData(), &told); err != nil {
				t.Fatal(err)
			}
			_ = channel.Reject(ssh.Prohibited, "")
			_, err = conn.Read(make([]byte, 1))
			_, _, _ = client.SendRequest("cancel-tcpip-forward", true, ssh.Marshal(tcpipForward{Host: host, Port: portNumber(t, port)}))
			return fmt.Sprintln(told.Host, told.Port == portNumber(t, port), told.Originator, told.OriginPort == uint32(conn.LocalAddr().(*net.TCPAddr).Port), errors.Is(err, io.EOF))
		})
		if want := fmt.Sprintln(host, true, "127.0.0.1", true, true); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestBothCancelOnlyWhatTheConnectionListensOn(t *testing.T) {
	w := newForwardTwins(t, nil, "PORT", freePort(t), "OTHER", freePort(t))
	got := w.agreeUnder(t, "", "", func(t *testing.T, at twin, client *ssh.Client) string {
		other := w.login(t, at)
		defer other.Close()
		ask := func(from *ssh.Client, request, host, port string) string {
			ok, _, err := from.SendRequest(request, true, ssh.Marshal(tcpipForward{Host: host, Port: portNumber(t, w.filled.Replace(port))}))
			return fmt.Sprintln(request, host, port, ok, err == nil)
		}
		return ask(client, "tcpip-forward", "localhost", "PORT") +
			ask(client, "tcpip-forward", "localhost", "PORT") +
			ask(other, "tcpip-forward", "localhost", "PORT") +
			ask(other, "cancel-tcpip-forward", "localhost", "PORT") +
			ask(client, "cancel-tcpip-forward", "127.0.0.1", "PORT") +
			ask(client, "cancel-tcpip-forward", "localhost", "OTHER") +
			ask(client, "cancel-tcpip-forward", "LOCALHOST", "PORT") +
			ask(client, "cancel-tcpip-forward", "localhost", "PORT") +
			ask(client, "cancel-tcpip-forward", "localhost", "PORT") +
			ask(other, "tcpip-forward", "localhost", "PORT") +
			ask(other, "cancel-tcpip-forward", "localhost", "PORT")
	})
	want := "tcpip-forward localhost PORT true true\n" +
		"tcpip-forward localhost PORT false true\n" +
		"tcpip-forward localhost PORT false true\n" +
		"cancel-tcpip-forward localhost PORT false true\n" +
		"cancel-tcpip-forward 127.0.0.1 PORT false true\n" +
		"cancel-tcpip-forward localhost OTHER false true\n" +
		"cancel-tcpip-forward LOCALHOST PORT false true\n" +
		"cancel-tcpip-forward localhost PORT true true\n" +
		"cancel-tcpip-forward localhost PORT false true\n" +
		"tcpip-forward localhost PORT true true\n" +
		"cancel-tcpip-forward localhost PORT true true\n"
	if got != want {
		t.Error(got)
	}
}
