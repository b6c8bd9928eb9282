package sshd

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
)

// probeCommand is run by the whole logon: every login shell ends it with 0, a
// nologin shell and a PAM stack that demands a new password do not.
const probeCommand = "exit 0"

// OneTimeKey is a key pair made in memory for one whole logon. Its private
// half never leaves the process.
type OneTimeKey struct{ signer ssh.Signer }

// NewOneTimeKey makes a key pair.
func NewOneTimeKey() (OneTimeKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return OneTimeKey{}, fmt.Errorf("make a key for the proof: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return OneTimeKey{}, fmt.Errorf("make a key for the proof: %w", err)
	}
	return OneTimeKey{signer}, nil
}

// AuthorizedKey is the line that lets the key log in, and do nothing else than
// run a command.
func (k OneTimeKey) AuthorizedKey() []byte {
	return append([]byte("restrict "), ssh.MarshalAuthorizedKey(k.signer.PublicKey())...)
}

// LogonInetd logs user in for real, on an sshd -i under config, with a key that
// this config alone allows: question (c) of a proof. Only that exercises the
// account as PAM sees it. It writes the instance's login records, so it is asked
// once, just before a door is closed.
func (d *Daemon) LogonInetd(ctx context.Context, config, user string, key OneTimeKey) (Verdict, string, []string) {
	ctx, cancel := context.WithTimeout(ctx, 2*answerTimeout)
	defer cancel()
	server, err := d.startInetd(ctx, config)
	if err != nil {
		return Unknown, err.Error(), nil
	}
	l := logon{user: user, signer: key.signer}
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
	user   string
	signer ssh.Signer
	met    bool // the handshake got as far as the host key
}

func (l *logon) over(ctx context.Context, conn net.Conn) (Verdict, string) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	watched := &watchedConn{Conn: conn}
	transport, channels, requests, err := ssh.NewClientConn(watched, "", &ssh.ClientConfig{
		User:            l.user,
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(l.signer)},
		HostKeyCallback: l.meet,
		ClientVersion:   "SSH-2.0-latchkey",
	})
	if err != nil {
		if watched.broken() != nil {
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
