package sshdtest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// TestTunnelsAreThoseOfTheLine: the machine has no tunnel devices, so that what can be seen of a tunnel
// that is allowed is that sshd tries.
func TestTunnelsAreThoseOfTheLine(t *testing.T) {
	t.Parallel()
	const anyUnit = 0x7fffffff // "let the server choose": OpenSSH's PROTOCOL, section 2.3
	w := newTwins(t)
	tests := []struct {
		lines string
		unit  uint32
		tries bool
	}{
		{"KEY", 6, true},
		{`tunnel="any" KEY`, anyUnit, true},
		{`tunnel="any" KEY`, 6, false},
		{`tunnel="7" KEY`, 7, true},
		{`tunnel="7" KEY`, anyUnit, true},
		{`tunnel="7" KEY`, 6, false},
		{`tunnel="7",tunnel="6" KEY`, 7, false},
		{"no-port-forwarding KEY", 6, true}, // which are no forwardings to sshd
		{"restrict KEY", 6, true},
		{`restrict,tunnel="7" KEY`, 6, false},
	}
	casts := make([]cast, len(tests))
	for i, test := range tests {
		casts[i] = w.add(t, "ed25519", test.lines)
	}
	w.publish(t, w.text.String())
	w.restart("LogLevel DEBUG1\n" + strings.Replace(twinsConfig, "LogLevel ERROR\n", "", 1))
	for i, test := range tests {
		for _, name := range []string{byFile, byProgram} {
			t.Run(fmt.Sprintf("%s %d %s", test.lines, test.unit, name), func(t *testing.T) {
				if tries := w.tunnels(t, name, casts[i].key.Signer, test.unit); tries != test.tries {
					t.Errorf("sshd tries to make the tunnel: %v, want %v", tries, test.tries)
				}
			})
		}
	}
}

// tunnels asks for a tunnel, and tells whether sshd tried.
func (w *twins) tunnels(t *testing.T, name string, key ssh.Signer, unit uint32) bool {
	t.Helper()
	client, err := w.dial(name, key)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const tried = "failed to open tunnel control device"
	before := strings.Count(w.SSHDLog(), tried)
	const pointToPoint = 1
	_, _, err = client.OpenChannel("tun@openssh.com", ssh.Marshal(struct{ Mode, Unit uint32 }{pointToPoint, unit}))
	var failed *ssh.OpenChannelError
	if !errors.As(err, &failed) {
		t.Fatalf("want a channel that is not opened, got %v", err)
	}
	printed(t, client) // by when sshd has logged what was before it
	return strings.Count(w.SSHDLog(), tried) > before
}
