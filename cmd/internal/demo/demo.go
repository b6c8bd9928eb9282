// Package demo shows the whole life of a binding in a folder of its own: a
// region, asked by its API with the latchkey program, an SSH server, the agent,
// and a client that really logs in. Every line it prints is something that was observed; what was not as
// promised makes it fail.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Options say how the demo is run.
type Options struct {
	// OpenSSH runs it on the real sshd, in an overlay of this machine that goes
	// with the demo. It needs root.
	OpenSSH bool
	Out     io.Writer
	// Agent, Server, Region and Desk are the programs latchkeyd, latchkey-sshd,
	// keypaird and latchkey.
	Agent, Server, Region, Desk string
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

	region  region
	world   *world
	client  client
	boots   int
	agent   *process
	closers []func() error
	broken  bool
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

// start brings up the region and the SSH server.
func (d *demo) start() error {
	start := time.Now()
	if err := d.startRegion(); err != nil {
		return err
	}
	d.say(true, start, "keypaird: API at %s, metadata endpoint of %s at %s", d.region.endpoint, instanceID, d.region.metadata)
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

// life is the binding's: none, bound, replaced, unbound, and the key pairs' end.
func (d *demo) life() error {
	start := time.Now()
	if err := d.restart(); err != nil {
		return err
	}
	d.say(true, start, "started: the agent has found that no key pair is bound")
	d.wantPassword(true)
	first, err := d.createKeyPair("first")
	if err != nil {
		return err
	}
	if err := d.firstBinding(first); err != nil {
		return err
	}
	second, err := d.importKeyPair("second")
	if err != nil {
		return err
	}
	if err := d.secondBinding(first, second); err != nil {
		return err
	}
	return d.do("keypair", "delete", "--yes", first.name, second.name)
}

// firstBinding takes effect at the restart, not before.
func (d *demo) firstBinding(first *keyPair) error {
	if err := d.do("keypair", "attach", first.name, instanceID); err != nil {
		return err
	}
	d.wantKey(first, false)
	d.wantPassword(true)
	if err := d.reboot(); err != nil {
		return err
	}
	d.wantKey(first, true)
	d.wantPassword(false)
	return nil
}

// secondBinding replaces the first, and ends.
func (d *demo) secondBinding(first, second *keyPair) error {
	if err := d.do("keypair", "attach", second.name, instanceID); err != nil {
		return err
	}
	if err := d.reboot(); err != nil {
		return err
	}
	d.wantKey(second, true)
	d.wantKey(first, false)
	d.wantPassword(false)

	if err := d.do("keypair", "detach", second.name, instanceID); err != nil {
		return err
	}
	if err := d.reboot(); err != nil {
		return err
	}
	d.wantKey(second, false)
	d.wantPassword(true)
	return nil
}

// do runs a command at the desk, and tells of it.
func (d *demo) do(args ...string) error {
	start := time.Now()
	err := d.latchkey(args...)
	if err == nil {
		d.say(true, start, "latchkey %s", strings.Join(args, " "))
	}
	return err
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
