// Package demo shows the whole life of a binding in a folder of its own: a
// metadata endpoint, an SSH server, the agent, and a client that really logs
// in. Every line it prints is something that was observed; what was not as
// promised makes it fail.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/latchkey-ssh/latchkey/keypair/imds"
)

// Options say how the demo is run.
type Options struct {
	// OpenSSH runs it on the real sshd, in an overlay of this machine that goes
	// with the demo. It needs root.
	OpenSSH bool
	Out     io.Writer
	// Agent and Server are the programs latchkeyd and latchkey-sshd.
	Agent, Server string
}

// ErrNotAsPromised tells that some observation was another than it had to be.
var ErrNotAsPromised = errors.New("not everything was as promised")

// Run runs the demo and leaves nothing behind.
func Run(ctx context.Context, o Options) (err error) {
	dir, err := os.MkdirTemp("", "latchkey-demo-")
	if err != nil {
		return err
	}
	d := &demo{ctx: ctx, options: o, dir: dir}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.start(); err != nil {
		return err
	}
	if err := d.life(); err != nil {
		return err
	}
	if d.broken {
		return ErrNotAsPromised
	}
	return nil
}

// demo is one run.
type demo struct {
	ctx     context.Context
	options Options
	dir     string // everything that is written is below it

	endpoint *imds.Endpoint
	url      string
	world    *world
	client   client
	boots    int
	agent    *process
	closers  []func() error
	broken   bool
}

// close ends what was started, the last first, and removes the folder.
func (d *demo) close() error {
	var errs []error
	for i := len(d.closers) - 1; i >= 0; i-- {
		errs = append(errs, d.closers[i]())
	}
	return errors.Join(append(errs, os.RemoveAll(d.dir))...)
}

func (d *demo) onClose(f func() error) { d.closers = append(d.closers, f) }

// say prints one line: whether it was as promised, what was observed, and how
// long that took.
func (d *demo) say(good bool, start time.Time, format string, args ...any) {
	mark := "ok  "
	if !good {
		mark, d.broken = "FAIL", true
	}
	fmt.Fprintf(d.options.Out, "%s %8.1f ms  %s\n", mark, float64(time.Since(start).Microseconds())/1000, fmt.Sprintf(format, args...))
}

// start brings up the endpoint and the SSH server.
func (d *demo) start() error {
	start := time.Now()
	if err := d.serveEndpoint(); err != nil {
		return err
	}
	d.say(true, start, "metadata endpoint at %s, no key pair bound", d.url)
	start = time.Now()
	build := newEmbedded
	if d.options.OpenSSH {
		build = newOpenSSH
	}
	var err error
	if d.world, err = build(d); err != nil {
		return err
	}
	if err := d.world.listen(d); err != nil {
		return err
	}
	d.client = client{address: d.world.address, user: d.world.user, hostKey: d.world.hostKey}
	d.say(true, start, "%s listens at %s for %s", d.world.server, d.world.address, d.world.user)
	return nil
}

// life is the binding's: none, bound, replaced, unbound.
func (d *demo) life() error {
	if err := d.restart(); err != nil {
		return err
	}
	d.wantPassword(true)
	first, err := d.newKeyPair("first")
	if err != nil {
		return err
	}
	d.bind(first)
	d.wantKey(first, false)
	d.wantPassword(true)
	if err := d.restart(); err != nil {
		return err
	}
	d.wantKey(first, true)
	d.wantPassword(false)

	second, err := d.newKeyPair("second")
	if err != nil {
		return err
	}
	d.bind(second)
	if err := d.restart(); err != nil {
		return err
	}
	d.wantKey(second, true)
	d.wantKey(first, false)
	d.wantPassword(false)

	d.unbind()
	if err := d.restart(); err != nil {
		return err
	}
	d.wantKey(second, false)
	d.wantPassword(true)
	return nil
}

func (d *demo) bind(k *keyPair) {
	start := time.Now()
	d.endpoint.Bind(k.name, k.line)
	d.say(true, start, "bound %s to the instance: takes effect at its restart", k.name)
}

func (d *demo) unbind() {
	start := time.Now()
	d.endpoint.Unbind()
	d.say(true, start, "unbound: takes effect at the restart")
}

// wantKey logs in with the key pair's .pem.
func (d *demo) wantKey(k *keyPair, in bool) {
	start := time.Now()
	err := d.client.withKey(d.ctx, k)
	switch {
	case err == nil:
		d.say(in, start, "%s: %s signed the challenge and is logged in as %s", k.name, filepath.Base(k.pem), d.client.user)
	case isRefused(err):
		d.say(!in, start, "%s: %s is refused", k.name, filepath.Base(k.pem))
	default:
		d.say(false, start, "%s: %v", k.name, err)
	}
}

// wantPassword logs in with the password, by both methods that carry one, and
// looks at what the server offers.
func (d *demo) wantPassword(in bool) {
	start := time.Now()
	methods, err := d.client.methods(d.ctx)
	if err != nil {
		d.say(false, start, "password: %v", err)
		return
	}
	err = d.client.withPassword(d.ctx, d.world.password)
	switch {
	case err == nil:
		d.say(in, start, "password: logged in as %s; the server offers %v", d.client.user, methods)
	case isRefused(err):
		d.say(!in && !offersPassword(methods), start, "password: refused; the server offers %v", methods)
	default:
		d.say(false, start, "password: %v", err)
	}
}
