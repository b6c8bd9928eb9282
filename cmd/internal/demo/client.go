package demo

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// keyPair is one as a person holds it: a name and a .pem file.
type keyPair struct {
	name, pem string
	signer    ssh.Signer
}

// createKeyPair has the region make a key pair; the private half comes with the answer.
func (d *demo) createKeyPair(name string) (*keyPair, error) {
	start := time.Now()
	file := filepath.Join(d.dir, name+".pem")
	if err := d.latchkey("keypair", "create", name, "--out", file); err != nil {
		return nil, err
	}
	return d.held(start, name, file, "latchkey keypair create "+name)
}

// importKeyPair makes a key pair here and gives the region the public half.
func (d *demo) importKeyPair(name string) (*keyPair, error) {
	start := time.Now()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, name)
	if err != nil {
		return nil, err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(d.dir, name+".pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(file+".pub", ssh.MarshalAuthorizedKey(key), 0o600); err != nil {
		return nil, err
	}
	if err := d.latchkey("keypair", "import", name, file+".pub"); err != nil {
		return nil, err
	}
	return d.held(start, name, file, "latchkey keypair import "+name)
}

// held is the key pair of which the private half is in the file.
func (d *demo) held(start time.Time, name, file, how string) (*keyPair, error) {
	signer, err := readPEM(file)
	if err != nil {
		return nil, err
	}
	d.say(true, start, "%s: %s is %s %s", how, filepath.Base(file), signer.PublicKey().Type(), ssh.FingerprintSHA256(signer.PublicKey()))
	return &keyPair{name, file, signer}, nil
}

// readPEM reads the private key back, as a client would.
func readPEM(file string) (ssh.Signer, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return ssh.ParsePrivateKey(data)
}

// client logs in at the demo's server.
type client struct {
	address, user string
	hostKey       ssh.PublicKey
}

const logonTimeout = 10 * time.Second

// errRefused is a server's no to every proof that was offered.
var errRefused = errors.New("refused")

func isRefused(err error) bool { return errors.Is(err, errRefused) }

// errAsked ends a handshake that only asks what is offered.
var errAsked = errors.New("asked")

func (c client) withKey(ctx context.Context, k *keyPair) error {
	return c.logon(ctx, ssh.PublicKeys(k.signer))
}

// withPassword tries both methods; one that is let in is enough.
func (c client) withPassword(ctx context.Context, password string) error {
	answerAll := func(_, _ string, questions []string, _ []bool) ([]string, error) {
		return slices.Repeat([]string{password}, len(questions)), nil
	}
	err := c.logon(ctx, ssh.Password(password))
	if isRefused(err) {
		err = c.logon(ctx, ssh.KeyboardInteractive(answerAll))
	}
	return err
}

// methods is what the server offers to one who has proved nothing yet.
func (c client) methods(ctx context.Context) ([]string, error) {
	var methods []string
	config := c.config()
	config.AuthCallback = func(state *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
		methods = state.AllowedMethods
		return nil, errAsked
	}
	_, err := c.dial(ctx, config)
	if !errors.Is(err, errAsked) {
		return nil, fmt.Errorf("ask what the server offers: %w", err)
	}
	return methods, nil
}

func offersPassword(methods []string) bool {
	return slices.Contains(methods, "password") || slices.Contains(methods, "keyboard-interactive")
}

// logon logs in by one method and runs a command.
func (c client) logon(ctx context.Context, method ssh.AuthMethod) error {
	config := c.config()
	config.Auth = []ssh.AuthMethod{method}
	conn, err := c.dial(ctx, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	session, err := conn.NewSession()
	if err != nil {
		return err
	}
	defer session.Close()
	return session.Run("exit 0")
}

func (c client) config() *ssh.ClientConfig {
	return &ssh.ClientConfig{
		User: c.user, HostKeyCallback: ssh.FixedHostKey(c.hostKey), Timeout: logonTimeout,
		HostKeyAlgorithms: []string{c.hostKey.Type()},
	}
}

func (c client) dial(ctx context.Context, config *ssh.ClientConfig) (*ssh.Client, error) {
	dialer := net.Dialer{Timeout: logonTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(logonTimeout))
	transport, channels, requests, err := ssh.NewClientConn(conn, c.address, config)
	if err != nil {
		conn.Close()
		if strings.Contains(err.Error(), "unable to authenticate") {
			return nil, fmt.Errorf("%w: %w", errRefused, err)
		}
		return nil, err
	}
	return ssh.NewClient(transport, channels, requests), nil
}
