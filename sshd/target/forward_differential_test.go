package target

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

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
