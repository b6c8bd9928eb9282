package target

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// echo answers what it is told on a listener, until the test ends.
func echo(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return l
}

// echoes answers on one port of both loopback addresses.
func echoes(t *testing.T) (port string) {
	t.Helper()
	port = portText(echo(t, "tcp", "127.0.0.1:0"))
	echo(t, "tcp", "[::1]:"+port)
	return port
}

func portText(l net.Listener) string { return strconv.Itoa(l.Addr().(*net.TCPAddr).Port) }

func portNumber(t *testing.T, text string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

// openChannel tells what comes of asking for a channel: "open", or the code of the refusal and its text.
func openChannel(client ssh.Conn, channelType string, payload []byte) string {
	channel, requests, err := client.OpenChannel(channelType, payload)
	var refused *ssh.OpenChannelError
	switch {
	case errors.As(err, &refused):
		return fmt.Sprintf("%d %s", refused.Reason, strings.ToLower(refused.Message))
	case err != nil:
		return "connection ended"
	}
	go ssh.DiscardRequests(requests)
	_ = channel.Close()
	return "open"
}

func openTCP(t *testing.T, client *ssh.Client, host, port string) string {
	return openChannel(client, "direct-tcpip", ssh.Marshal(tcpipChannel{Host: host, Port: portNumber(t, port), Originator: "127.0.0.1", OriginPort: 1}))
}

// forwardTwins are twins to which alice logs in with one key. They are under several configurations at once: one for each
// address from which she comes.
type forwardTwins struct {
	*twins
	key    ssh.Signer
	line   string
	filled *strings.Replacer // of words in configurations, options and requests

	configs         []string // where that is possible; others need a start of their own
	config, options string
	clients         map[string]*ssh.Client // that are logged in under these, by twin
}

// newForwardTwins has them obey any of the configurations, in which the words are replaced: old, new, ….
func newForwardTwins(t *testing.T, configs []string, words ...string) *forwardTwins {
	key := newKey(t)
	w := &forwardTwins{key: key.Signer, line: key.Line, filled: strings.NewReplacer(words...)}
	var text strings.Builder
	for _, config := range configs {
		if !slices.Contains(w.configs, config) && !strings.Contains(config, "Match") && !strings.Contains(config, "AddressFamily") {
			w.configs = append(w.configs, config)
			fmt.Fprintf(&text, "Match Address 127.0.1.%d\n%s\n", len(w.configs), w.filled.Replace(config))
		}
	}
	w.twins = newTwins(t, text.String())
	w.machine.AuthorizedKeys("alice", w.line)
	w.hangUp()
	t.Cleanup(w.hangUp)
	return w
}

// hangUp ends the connections that are in use, so that the next thing is done on a new one.
func (w *forwardTwins) hangUp() {
	for _, client := range w.clients {
		_ = client.Close()
	}
	w.clients = map[string]*ssh.Client{}
}

// agreeUnder does the same at both under a configuration and with options on the key's line.
func (w *forwardTwins) agreeUnder(t *testing.T, config, options string, do func(*testing.T, twin, *ssh.Client) string) string {
	t.Helper()
	if config != w.config || options != w.options {
		w.hangUp()
		w.machine.AuthorizedKeys("alice", strings.TrimSpace(w.filled.Replace(options)+" "+w.line))
	}
	if config != w.config && config != "" && !slices.Contains(w.configs, config) {
		w.reconfigure(t, w.filled.Replace(config))
	}
	w.config, w.options = config, options
	return w.agree(t, func(t *testing.T, at twin) string { return do(t, at, w.client(t, at)) })
}

// client is the connection in use, under the configuration in force.
func (w *forwardTwins) client(t *testing.T, at twin) *ssh.Client {
	t.Helper()
	if client := w.clients[at.name]; client != nil {
		return client
	}
	w.clients[at.name] = w.login(t, at)
	return w.clients[at.name]
}

func (w *forwardTwins) login(t *testing.T, at twin) *ssh.Client {
	t.Helper()
	from := net.IPv4(127, 0, 1, byte(1+slices.Index(w.configs, w.config)))
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).Dial("tcp", at.addr)
	if err != nil {
		t.Fatalf("%s: %v", at.name, err)
	}
	c, channels, requests, err := ssh.NewClientConn(conn, at.addr, &ssh.ClientConfig{
		User: "alice", Auth: []ssh.AuthMethod{ssh.PublicKeys(w.key)}, HostKeyCallback: ssh.FixedHostKey(at.hostKey),
		HostKeyAlgorithms: []string{at.hostKey.Type()},
	})
	if err != nil {
		t.Fatalf("%s: %v", at.name, err)
	}
	return ssh.NewClient(c, channels, requests)
}

// forwardRow is what is asked for, under what, and what comes of it.
type forwardRow struct{ config, options, host, port, want string }

func (r forwardRow) name() string {
	return strings.Join([]string{r.config, r.options, r.host, r.port}, " ")
}

// agreeOn has both do what each row asks for.
func agreeOn(t *testing.T, rows []forwardRow, do func(t *testing.T, client *ssh.Client, host, port string) string, words ...string) {
	var configs []string
	for _, row := range rows {
		configs = append(configs, row.config)
	}
	w := newForwardTwins(t, configs, words...)
	for _, row := range rows {
		t.Run(row.name(), func(t *testing.T) {
			got := w.agreeUnder(t, row.config, row.options, func(t *testing.T, _ twin, client *ssh.Client) string {
				return do(t, client, row.host, w.filled.Replace(row.port))
			})
			if got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

// path is where the twin sees a file of the machine.
func (w *forwardTwins) path(at twin, path string) string {
	if at.name == "sshd" {
		return path
	}
	return w.machine.Path(path)
}

const prohibited = "1 open failed"

func TestBothOpenChannelsToTheSameEnds(t *testing.T) {
	const one = `permitopen="127.0.0.1:PORT"`
	agreeOn(t, []forwardRow{
		{"", "", "127.0.0.1", "PORT", "open"},
		{"", "", "::1", "PORT", "open"},
		{"", "", "localhost", "OTHER", "open"},
		{"", "", "127.0.0.1", "CLOSED", "2 connection refused"},
		{"", "", "", "PORT", "2 name or service not known"},
		{"", "", "127.0.0.1", "70000", prohibited},
		{"", "", "127.0.0.1", "0", "2 connection refused"},

		{"", one, "127.0.0.1", "PORT", "open"},
		{"", one, "127.0.0.1", "OTHER", prohibited},
		{"", one, "127.0.0.1", "0", prohibited},
		{"", one, "localhost", "PORT", prohibited},
		{"", one, "::1", "PORT", prohibited},
		{"", one, "127.1", "PORT", prohibited},
		{"", one, "0x7f.1", "PORT", prohibited},
		{"", one, "2130706433", "PORT", prohibited},
		{"", one, "::ffff:127.0.0.1", "PORT", prohibited},
		{"", one, "127.0.0.1.", "PORT", prohibited},
		{"", one, " 127.0.0.1", "PORT", prohibited},
		{"", `permitopen="localhost:PORT"`, "localhost", "PORT", "open"},
		{"", `permitopen="localhost:PORT"`, "LOCALHOST", "PORT", prohibited},
		{"", `permitopen="localhost:PORT"`, "localhost.", "PORT", prohibited},
		{"", `permitopen="localhost:PORT"`, "127.0.0.1", "PORT", prohibited},
		{"", `permitopen="LOCALHOST:PORT"`, "localhost", "PORT", prohibited},
		{"", `permitopen="[::1]:PORT"`, "::1", "PORT", "open"},
		{"", `permitopen="[::1]:PORT"`, "0:0:0:0:0:0:0:1", "PORT", prohibited},
		{"", `permitopen="[::1]:PORT"`, "[::1]", "PORT", prohibited},
		{"", `permitopen="*:PORT"`, "127.0.0.1", "PORT", "open"},
		{"", `permitopen="*:PORT"`, "127.0.0.1", "OTHER", prohibited},
		{"", `permitopen="127.0.0.1:*"`, "127.0.0.1", "OTHER", "open"},
		{"", `permitopen="127.0.0.1:*"`, "::1", "OTHER", prohibited},
		{"", `permitopen="127.*:PORT"`, "127.0.0.1", "PORT", prohibited},
		{"", `permitopen="127.0.0.1:OTHER",permitopen="127.0.0.1:PORT"`, "127.0.0.1", "PORT", "open"},

		{"", "no-port-forwarding", "127.0.0.1", "PORT", prohibited},
		{"", "restrict", "127.0.0.1", "PORT", prohibited},
		{"", "restrict,port-forwarding", "127.0.0.1", "PORT", "open"},
		{"", "port-forwarding,restrict", "127.0.0.1", "PORT", prohibited},
		{"", "restrict," + one, "127.0.0.1", "PORT", prohibited},
		{"", "restrict,port-forwarding," + one, "127.0.0.1", "PORT", "open"},
		{"", "restrict,port-forwarding," + one, "127.0.0.1", "OTHER", prohibited},
		{"", `permitlisten="1"`, "127.0.0.1", "PORT", "open"},
		{"", `command="true"`, "127.0.0.1", "PORT", "open"},

		{"PermitOpen none", "", "127.0.0.1", "PORT", prohibited},
		{"PermitOpen none", one, "127.0.0.1", "PORT", prohibited},
		{"PermitOpen any", one, "127.0.0.1", "PORT", "open"},
		{"PermitOpen any", one, "127.0.0.1", "OTHER", prohibited},
		{"PermitOpen [::1]:PORT 127.0.0.1:PORT", "", "127.0.0.1", "PORT", "open"},
		{"PermitOpen [::1]:PORT 127.0.0.1:PORT", "", "::1", "PORT", "open"},
		{"PermitOpen [::1]:PORT 127.0.0.1:PORT", "", "localhost", "PORT", prohibited},
		{"PermitOpen [::1]:PORT 127.0.0.1:PORT", `permitopen="127.0.0.1:OTHER"`, "127.0.0.1", "OTHER", prohibited},
		{"PermitOpen [::1]:PORT 127.0.0.1:PORT", `permitopen="127.0.0.1:OTHER"`, "127.0.0.1", "PORT", prohibited},
		{"PermitOpen [::1]:PORT 127.0.0.1:PORT", one, "127.0.0.1", "PORT", "open"},
		{"PermitOpen *:PORT", "", "::1", "PORT", "open"},
		{"PermitOpen 127.0.0.1:*", "", "127.0.0.1", "PORT", "open"},
		{"PermitListen none", "", "127.0.0.1", "PORT", "open"},

		{"AllowTcpForwarding no", "", "127.0.0.1", "PORT", prohibited},
		{"AllowTcpForwarding no", "restrict,port-forwarding," + one, "127.0.0.1", "PORT", prohibited},
		{"AllowTcpForwarding remote", "", "127.0.0.1", "PORT", prohibited},
		{"AllowTcpForwarding Local", "", "127.0.0.1", "PORT", "open"},
		{"AllowTcpForwarding all", "", "127.0.0.1", "PORT", "open"},
		{"DisableForwarding yes", "", "127.0.0.1", "PORT", prohibited},
		{"AllowStreamLocalForwarding no", "", "127.0.0.1", "PORT", "open"},
		{"PermitOpen none\nMatch User alice\nPermitOpen 127.0.0.1:PORT", "", "127.0.0.1", "PORT", "open"},
		{"Match User alice\nPermitOpen none", "", "127.0.0.1", "PORT", prohibited},
	}, openTCP, "PORT", echoes(t), "OTHER", echoes(t), "CLOSED", freePort(t))
}

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
