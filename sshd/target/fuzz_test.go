package target

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// fuzzed is a server of which nothing is run or dialled for real, with somebody who has a key and a password.
type fuzzed struct {
	*Server
	login ssh.Signer
	wrong atomic.Pointer[Event] // what may not happen
}

func newFuzzed(f *testing.F, forbids func(Event) bool) *fuzzed {
	f.Helper()
	key, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		f.Fatal(err)
	}
	z := &fuzzed{login: key}
	z.Server, err = New(
		WithUser(User{Name: "alice", Password: "tulip", AuthorizedKeys: string(ssh.MarshalAuthorizedKey(key.PublicKey()))}),
		WithRun(func(context.Context, *Session) int { return 0 }), WithFailureDelay(0),
		WithSettings("PermitOpen none", "PermitListen none", "AllowStreamLocalForwarding no", "MaxStartups 1000", "LoginGraceTime 10"),
		WithLog(func(e Event) {
			if forbids(e) {
				z.wrong.Store(&e)
			}
		}))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = z.Close() })
	return z
}

// check waits for the end of a connection, and fails where what may not happen has.
func (z *fuzzed) check(t *testing.T, served <-chan error) {
	t.Helper()
	select {
	case <-served:
	case <-time.After(20 * time.Second):
		t.Fatal("the connection goes on without its client")
	}
	if e := z.wrong.Load(); e != nil {
		t.Fatal(e)
	}
}

func letsIn(e Event) bool {
	return e.Kind == Panicked || e.Verdict == Accepted || e.Verdict == Partial
}

func panics(e Event) bool { return e.Kind == Panicked }

// drain reads what the server says, so that it can go on.
func drain(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

func FuzzBytesBeforeTheKeyExchange(f *testing.F) {
	z := newFuzzed(f, letsIn)
	f.Add([]byte("SSH-2.0-x\r\n"), false)
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), false)
	f.Add([]byte("SSH-1.5-x\n\x00\x00\x00\x05hello"), false)
	f.Add(append([]byte(rawVersion+"\r\n"), framePacket(rawKexInit(), 8, 0)...), false)
	f.Add(rawKexInit(), true)
	f.Add([]byte{msgNewKeys}, true)
	f.Add([]byte("\x05\x00\x00\x00\x0cssh-userauth"), true)
	f.Add([]byte("\x34"), true)
	f.Fuzz(func(t *testing.T, data []byte, framed bool) {
		if framed {
			data = append([]byte(rawVersion+"\r\n"), framePacket(data, 8, 0)...)
		}
		ours, theirs := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- z.ServeConn(theirs) }()
		go drain(ours)
		_, _ = ours.Write(data)
		_ = ours.Close()
		z.check(t, served)
	})
}

// packets are payloads in one piece of data, each behind its length in two bytes.
func packets(payloads ...[]byte) []byte {
	var all []byte
	for _, payload := range payloads {
		all = binary.BigEndian.AppendUint16(all, uint16(len(payload)))
		all = append(all, payload...)
	}
	return all
}

// send sends the payloads, and leaves.
func (c *rawClient) send(data []byte) {
	go drain(c.Conn)
	for len(data) >= 2 {
		n := min(int(binary.BigEndian.Uint16(data)), len(data)-2)
		if c.write(data[2:2+n]) != nil {
			break
		}
		data = data[2+n:]
	}
	_ = c.Close()
}

type (
	serviceRequest struct {
		Service string `sshtype:"5"`
	}
	authRequest struct {
		User, Service, Method string `sshtype:"50"`
		Rest                  []byte `ssh:"rest"`
	}
	keyRequest struct {
		Signed    bool
		Algorithm string
		Key       []byte
		Signature []byte `ssh:"rest"`
	}
	passwordRequest struct {
		Change   bool
		Password string
	}
	channelOpen struct {
		Kind                   string `sshtype:"90"`
		Sender, Window, Packet uint32
		Rest                   []byte `ssh:"rest"`
	}
	channelRequest struct {
		Channel uint32 `sshtype:"98"`
		Kind    string
		Reply   bool
		Rest    []byte `ssh:"rest"`
	}
	globalRequest struct {
		Kind  string `sshtype:"80"`
		Reply bool
		Rest  []byte `ssh:"rest"`
	}
)

func authPacket(method string, rest []byte) []byte {
	return ssh.Marshal(authRequest{User: "alice", Service: "ssh-connection", Method: method, Rest: rest})
}

var userAuth = ssh.Marshal(serviceRequest{"ssh-userauth"})

func FuzzPacketsBeforeTheLogin(f *testing.F) {
	z := newFuzzed(f, letsIn)
	key := z.login.PublicKey()
	signature := ssh.Marshal(struct{ S []byte }{ssh.Marshal(ssh.Signature{Format: key.Type(), Blob: make([]byte, 64)})})
	f.Add(packets(userAuth, authPacket("none", nil)))
	f.Add(packets(userAuth, authPacket("password", ssh.Marshal(passwordRequest{Password: "wrong"}))))
	f.Add(packets(userAuth, authPacket("publickey", ssh.Marshal(keyRequest{Algorithm: key.Type(), Key: key.Marshal()}))))
	f.Add(packets(userAuth, authPacket("publickey", ssh.Marshal(keyRequest{Signed: true, Algorithm: key.Type(), Key: key.Marshal(), Signature: signature}))))
	f.Add(packets(userAuth, authPacket("keyboard-interactive", make([]byte, 8)), []byte("\x3d\x00\x00\x00\x01\x00\x00\x00\x05wrong")))
	f.Add(packets(ssh.Marshal(serviceRequest{"ssh-connection"})))
	f.Add(packets(userAuth, []byte("\x34")))                                                                        // the server's own SSH_MSG_USERAUTH_SUCCESS
	f.Add(packets(userAuth, ssh.Marshal(channelOpen{Kind: "session", Window: 4096, Packet: 4096})))                 // a session
	f.Add(packets(userAuth, ssh.Marshal(globalRequest{Kind: "tcpip-forward", Reply: true, Rest: make([]byte, 8)}))) // a forwarding
	f.Add(packets([]byte("\x02\x00\x00\x00\x00"), []byte("\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00"), userAuth))    // ignore, debug
	f.Fuzz(func(t *testing.T, data []byte) {
		c, served, err := startRaw(z.Server)
		if err != nil {
			t.Fatal(err)
		}
		c.send(data)
		z.check(t, served)
	})
}

func FuzzPacketsAfterTheLogin(f *testing.F) {
	z := newFuzzed(f, panics)
	text := func(s string) []byte { return ssh.Marshal(struct{ S string }{s}) }
	open := func(kind string, rest []byte) []byte {
		return ssh.Marshal(channelOpen{Kind: kind, Window: 4096, Packet: 4096, Rest: rest})
	}
	request := func(kind string, rest []byte) []byte {
		return ssh.Marshal(channelRequest{Kind: kind, Reply: true, Rest: rest})
	}
	global := func(kind string, rest []byte) []byte {
		return ssh.Marshal(globalRequest{Kind: kind, Reply: true, Rest: rest})
	}
	session := open("session", nil)
	pty := slices.Concat(text("xterm"), make([]byte, 16), text("\x00"))
	f.Add(packets(session, request("exec", text("true"))))
	f.Add(packets(session, request("shell", nil), []byte("\x5e\x00\x00\x00\x00\x00\x00\x00\x02hi"), []byte("\x60\x00\x00\x00\x00"))) // data, EOF
	f.Add(packets(session, request("subsystem", text("sftp"))))
	f.Add(packets(session, request("env", append(text("LANG"), text("C")...)), request("exec", text("env"))))
	f.Add(packets(session, request("pty-req", pty), request("window-change", make([]byte, 16)), request("shell", nil)))
	f.Add(packets(session, request("signal", text("TERM")), request("auth-agent-req@openssh.com", nil), request("x11-req", nil)))
	f.Add(packets(global("tcpip-forward", append(text("localhost"), 0, 0, 0, 0)), global("cancel-tcpip-forward", append(text("localhost"), 0, 0, 0, 0))))
	f.Add(packets(global("streamlocal-forward@openssh.com", text("/nowhere")), global("no-more-sessions@openssh.com", nil), session))
	f.Add(packets(open("direct-tcpip", slices.Concat(text("localhost"), []byte{0, 0, 0, 1}, text("x"), []byte{0, 0, 0, 1}))))
	f.Add(packets(open("direct-streamlocal@openssh.com", append(text("/nowhere"), make([]byte, 8)...))))
	f.Add(packets(session, []byte("\x5d\x00\x00\x00\x00\xff\xff\xff\xff"), []byte("\x61\x00\x00\x00\x00"), []byte("\x61\x00\x00\x00\x07"))) // window, close
	f.Add(packets(rawKexInit(), []byte("\x01\x00\x00\x00\x0b\x00\x00\x00\x03bye\x00\x00\x00\x00")))                                         // keys again, disconnect
	f.Fuzz(func(t *testing.T, data []byte) {
		c, served, err := startRaw(z.Server)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.logIn(); err != nil {
			t.Fatal(err)
		}
		c.send(data)
		z.check(t, served)
	})
}

// logIn logs in by password.
func (c *rawClient) logIn() error {
	for _, payload := range [][]byte{userAuth, authPacket("password", ssh.Marshal(passwordRequest{Password: "tulip"}))} {
		if err := c.write(payload); err != nil {
			return err
		}
	}
	for {
		payload, err := c.read()
		if err != nil || payload[0] == msgUserAuthSuccess {
			return err
		}
	}
}
