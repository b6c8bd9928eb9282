package sshd

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// probeCommand is run by the whole logon: every login shell ends it with 0, a
// nologin shell and a PAM stack that demands a new password do not.
const probeCommand = "exit 0"

// OneTimeKey is a pair of key pairs made in memory for one whole logon, of two
// types: a configuration may do without either, as FIPS 140 does without
// Ed25519. Their private halves never leave the process.
type OneTimeKey struct{ signers []ssh.Signer }

// NewOneTimeKey makes the key pairs.
func NewOneTimeKey() (OneTimeKey, error) {
	var key OneTimeKey
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return key, fmt.Errorf("make a key for the proof: %w", err)
	}
	nist, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return key, fmt.Errorf("make a key for the proof: %w", err)
	}
	for _, private := range []crypto.Signer{edwards, nist} {
		signer, err := ssh.NewSignerFromSigner(private)
		if err != nil {
			return key, fmt.Errorf("make a key for the proof: %w", err)
		}
		key.signers = append(key.signers, signer)
	}
	return key, nil
}

// AuthorizedKeys are the lines that let the key log in, and do nothing else
// than run a command.
func (k OneTimeKey) AuthorizedKeys() []byte {
	var lines []byte
	for _, signer := range k.signers {
		lines = append(append(lines, "restrict "...), ssh.MarshalAuthorizedKey(signer.PublicKey())...)
	}
	return lines
}

// types are the types of the two keys.
func (k OneTimeKey) types() []string {
	var types []string
	for _, signer := range k.signers {
		types = append(types, signer.PublicKey().Type())
	}
	return types
}

// LogonInetd logs user in for real, on an sshd -i under config, with a key that
// this config alone allows: question (c) of a proof. Only that exercises the
// account as PAM sees it. It writes the instance's login records, so it is asked
// once, just before a door is closed.
func (d *Daemon) LogonInetd(ctx context.Context, config, user string, key OneTimeKey) (Verdict, string, []string) {
	ctx, cancel := context.WithTimeout(ctx, 2*answerTimeout)
	defer cancel()
	verdict, why, log := d.logonInetd(ctx, config, &logon{user: user, key: key})
	if verdict == Unknown && d.makeRunFolder(strings.Join(log, "\n")) {
		return d.logonInetd(ctx, config, &logon{user: user, key: key})
	}
	return verdict, why, log
}

func (d *Daemon) logonInetd(ctx context.Context, config string, l *logon) (Verdict, string, []string) {
	server, err := d.startInetd(ctx, config)
	if err != nil {
		return Unknown, err.Error(), nil
	}
	verdict, why := l.over(ctx, server.conn)
	log := server.end()
	if verdict == Unknown && l.met && ctx.Err() == nil && server.exited() {
		verdict = Refused // sshd took part, and then chose to end it
	}
	return verdict, why, log
}

// logon is a whole SSH session: handshake, authentication, one command, its
// exit status.
type logon struct {
	user string
	key  OneTimeKey
	met  bool // the handshake got as far as the host key
}

func (l *logon) over(ctx context.Context, conn net.Conn) (Verdict, string) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	watched := &watchedConn{Conn: conn}
	transport, channels, requests, err := ssh.NewClientConn(watched, "", &ssh.ClientConfig{
		User:            l.user,
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(l.key.signers...)},
		HostKeyCallback: l.meet,
		ClientVersion:   "SSH-2.0-latchkey",
	})
	if err != nil {
		if watched.broken() != nil || !l.met {
			return Unknown, reason(err)
		}
		return Refused, reason(err)
	}
	client := ssh.NewClient(transport, channels, requests)
	defer client.Close()
	return runProbe(client)
}

// meet takes any host key: the other end is a process of our own.
func (l *logon) meet(string, net.Addr, ssh.PublicKey) error {
	l.met = true
	return nil
}

// runProbe runs the probe command on a session of its own.
func runProbe(client *ssh.Client) (Verdict, string) {
	session, err := client.NewSession()
	if err != nil {
		return Unknown, "no session after the logon: " + reason(err)
	}
	defer session.Close()
	err = session.Run(probeCommand)
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return Accepted, ""
	case errors.As(err, &exit):
		return Refused, fmt.Sprintf("the session ended at once with status %d", exit.ExitStatus())
	}
	return Unknown, "the session broke off: " + err.Error()
}
