package sshd

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// PublicKey is a key as it travels: its type name and its blob (RFC 4253,
// section 6.6). Nothing of the blob is understood here, so that a key whose
// type the SSH library does not know can still be asked about.
type PublicKey struct {
	Type string
	Blob []byte
}

// Fingerprint is the key's SHA256 fingerprint as ssh-keygen -l prints it.
func (k PublicKey) Fingerprint() string {
	sum := sha256.Sum256(k.Blob)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// algorithm is the one signature algorithm that k is judged by. For RSA it is
// the one current clients sign with; SHA-1 is refused by every sshd since 8.8.
func (k PublicKey) algorithm() string {
	if k.Type == ssh.KeyAlgoRSA {
		return ssh.KeyAlgoRSASHA512
	}
	return k.Type
}

// Answer is what an sshd said about one key, and what else it offers. It may
// cross a pipe as JSON; the receiving side calls Validate before it believes it.
type Answer struct {
	Key     Verdict  `json:"key"`                // would it take the key now?
	Methods []string `json:"methods"`            // the methods it lists to this user (RFC 4252, section 5.1); "none" when no proof at all was asked for
	Version string   `json:"version,omitempty"`  // its identification, such as "SSH-2.0-OpenSSH_9.2p1"
	HostKey []byte   `json:"host_key,omitempty"` // the blob of the host key it proved to hold
	Reason  string   `json:"reason,omitempty"`   // for Unknown and Refused: what happened
}

// OffersPassword tells whether a password method is on the list, or no proof
// is needed at all.
func (a Answer) OffersPassword() bool {
	return slices.Contains(a.Methods, "password") || slices.Contains(a.Methods, "keyboard-interactive") ||
		slices.Contains(a.Methods, "none")
}

// errAsked ends a conversation once everything asked has been answered.
var errAsked = errors.New("asked")

// query is one conversation that asks about one key and never proves to hold
// it, so that it can never log in.
type query struct {
	user   string
	key    *PublicKey // nil: only the list of methods
	pin    []byte     // the host key blob that must answer, nil for any
	answer Answer
	sent   bool
	conn   *watchedConn
}

// ask holds the conversation over conn and closes it. It never lasts longer
// than ctx.
func ask(ctx context.Context, conn net.Conn, q *query) Answer {
	defer conn.Close()
	q.conn = &watchedConn{Conn: conn}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	q.answer.Key = Unknown
	client, _, _, err := ssh.NewClientConn(q.conn, "", q.config())
	if err == nil {
		_ = client.Close()
		q.answer.Methods = []string{"none"}
		q.answer.Key, q.answer.Reason = Unknown, "let in without any proof"
		return q.answer.cleaned()
	}
	if !errors.Is(err, errAsked) {
		q.answer.Key, q.answer.Reason = Unknown, reason(err)
	}
	return q.answer.cleaned()
}

// reason is what ended a conversation before it had its answer, in few words.
func reason(err error) string {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return "the connection was closed before an answer came"
	case isTimeout(err):
		return "no answer in time"
	}
	return strings.TrimPrefix(err.Error(), "ssh: handshake failed: ")
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func (q *query) config() *ssh.ClientConfig {
	config := &ssh.ClientConfig{
		User:            q.user,
		HostKeyCallback: q.checkHost,
		AuthCallback:    q.next,
		ClientVersion:   "SSH-2.0-latchkey",
	}
	if q.pin != nil {
		config.HostKeyAlgorithms = hostKeyAlgorithms(q.pin)
	}
	return config
}

// hostKeyAlgorithms are the algorithms with which a host proves to hold the
// key in blob. Without them the host might choose to prove another of its keys.
func hostKeyAlgorithms(blob []byte) []string {
	key, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return nil
	}
	switch key.Type() {
	case ssh.KeyAlgoRSA:
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	case ssh.CertAlgoRSAv01: // HostCertificate in sshd_config(5)
		return []string{ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01}
	}
	return []string{key.Type()}
}

func (q *query) checkHost(_ string, _ net.Addr, key ssh.PublicKey) error {
	q.answer.HostKey = key.Marshal()
	if q.pin != nil && !slices.Equal(q.pin, q.answer.HostKey) {
		return errors.New("another host key than the instance's own: this is not its sshd")
	}
	return nil
}

// next is called before each attempt: after "none" has brought the list of
// methods, and again after our key was refused. It is also called when the
// connection broke, which must not pass for a refusal.
func (q *query) next(state *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	if q.answer.Key == Accepted {
		return nil, errAsked
	}
	if err := q.conn.broken(); err != nil {
		return nil, err
	}
	if q.sent {
		q.answer.Key, q.answer.Reason = Refused, "the key is not accepted"
		return nil, errAsked
	}
	q.answer.Version = string(state.Metadata.ServerVersion())
	q.answer.Methods = state.AllowedMethods
	switch {
	case q.key == nil:
		return nil, errAsked
	case !slices.Contains(state.AllowedMethods, "publickey"):
		q.answer.Key, q.answer.Reason = Refused, "publickey is not among the methods it offers"
		return nil, errAsked
	}
	q.sent = true
	return ssh.PublicKeys((*unsigned)(q)), nil
}

// unsigned is a signer that never signs: being asked to sign is the news that
// sshd sent PK_OK for the key (RFC 4252, section 7).
type unsigned query

func (u *unsigned) PublicKey() ssh.PublicKey { return opaqueKey{*u.key} }

func (u *unsigned) Algorithms() []string { return []string{u.key.algorithm()} }

func (u *unsigned) Sign(io.Reader, []byte) (*ssh.Signature, error) {
	u.answer.Key = Accepted
	return nil, errAsked
}

func (u *unsigned) SignWithAlgorithm(rand io.Reader, data []byte, _ string) (*ssh.Signature, error) {
	return u.Sign(rand, data)
}

// opaqueKey shows the SSH library a key under the name of its signature
// algorithm. So exactly that one is asked about, whatever the server lists in
// server-sig-algs.
type opaqueKey struct{ key PublicKey }

func (k opaqueKey) Type() string    { return k.key.algorithm() }
func (k opaqueKey) Marshal() []byte { return k.key.Blob }

func (k opaqueKey) Verify([]byte, *ssh.Signature) error {
	return errors.New("a key that is only asked about verifies nothing")
}

// watchedConn remembers the first error of the connection itself.
type watchedConn struct {
	net.Conn
	failed atomic.Pointer[error]
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.note(err)
	return n, err
}

func (c *watchedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.note(err)
	return n, err
}

func (c *watchedConn) note(err error) {
	if err != nil {
		c.failed.CompareAndSwap(nil, &err)
	}
}

// broken is the error that ended the connection, if one did.
func (c *watchedConn) broken() error {
	if err := c.failed.Load(); err != nil {
		return *err
	}
	return nil
}
