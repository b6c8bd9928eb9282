package sshd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey-ssh/latchkey/internal/tree"
	"github.com/latchkey-ssh/latchkey/systemd"
)

// Listener is what became of a reload, or where the running sshd stands.
type Listener string

// What there can be.
const (
	ListenerRunning    Listener = "running"          // it can be asked
	ListenerReloaded   Listener = "reloaded"         // it has read its configuration again
	ListenerOnDemand   Listener = "socket-activated" // started for each connection, or by the first: reads it then
	ListenerNotThere   Listener = "not running"      // will read it when it starts
	reloadTimeout               = 10 * time.Second
	pidFilePoll                 = 2 * time.Millisecond
	pidFileWait                 = 3 * time.Second
	defaultPIDFile              = "/run/sshd.pid"
	maxPIDFile                  = 64
	noPIDFile                   = "none"
	sshdBinary                  = "sshd"
	embeddedSSHDBinary          = "latchkey-sshd"
)

// Reload makes the running sshd read its configuration again: through systemd
// where systemd runs it, else by SIGHUP to the process in its pid file. It
// returns once the listener listens again. The caller has asked Test before: a
// listener that is reloaded with a configuration it refuses is gone.
func (d *Daemon) Reload(ctx context.Context, config Config) (Listener, error) {
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	watch := d.watchPIDFile(config)
	if d.Root == "/" && systemd.Booted() {
		unit, err := systemd.FindSSHD(ctx)
		switch {
		case err != nil:
			return "", fmt.Errorf("ask systemd about sshd: %w", err)
		case unit.Service != "" && unit.Socket != "":
			// It listens on what systemd handed it, and would not get that again by a
			// SIGHUP. Sessions are not in it: KillMode=process in every distribution's unit.
			return ListenerReloaded, systemd.Restart(ctx, unit.Service)
		case unit.Service != "":
			if err := systemd.Reload(ctx, unit.Service); err != nil {
				return "", err
			}
			awaitRenewal(ctx, watch.isNew)
			return ListenerReloaded, nil
		case unit.Socket != "":
			return ListenerOnDemand, nil
		}
	}
	return d.signal(ctx, watch, config.Ports())
}

// signal sends SIGHUP to the listener in the pid file, or else to the one that
// is found on the ports.
func (d *Daemon) signal(ctx context.Context, watch pidFile, ports []int) (Listener, error) {
	pid, err := watch.listener(ports)
	renewed := watch.isNew
	if pid == 0 && err == nil {
		var socket string
		pid, socket = d.listening(ports)
		renewed = func() bool { return d.listensAnew(ports, socket) }
	}
	if err != nil || pid == 0 {
		return ListenerNotThere, err
	}
	if err := unix.Kill(pid, unix.SIGHUP); err != nil {
		return "", fmt.Errorf("signal sshd (pid %d) to reload: %w", pid, err)
	}
	awaitRenewal(ctx, renewed)
	return ListenerReloaded, nil
}

// listensAnew tells whether there is a listener with another socket than that
// one: sshd starts itself over on SIGHUP.
func (d *Daemon) listensAnew(ports []int, before string) bool {
	_, socket := d.listening(ports)
	return socket != "" && socket != before
}

// Running tells where the running sshd stands: whether it is there to be asked.
// One that a connection would start is not: at boot it waits for the first pass
// of latchkeyd, which must not wait for it.
func (d *Daemon) Running(ctx context.Context, config Config) (Listener, error) {
	if d.Root == "/" && systemd.Booted() {
		unit, err := systemd.FindSSHD(ctx)
		switch {
		case err != nil:
			return "", fmt.Errorf("ask systemd about sshd: %w", err)
		case unit.Service != "":
			return ListenerRunning, nil
		case unit.Socket != "":
			return ListenerOnDemand, nil
		}
	}
	pid, err := d.watchPIDFile(config).listener(config.Ports())
	if pid == 0 && err == nil {
		pid, _ = d.listening(config.Ports())
	}
	if pid == 0 || err != nil {
		return ListenerNotThere, err
	}
	return ListenerRunning, nil
}

// pidFile is sshd's pid file as it was when we looked. sshd writes it anew
// after each SIGHUP, once it listens.
type pidFile struct {
	root, path string
	before     os.FileInfo
}

func (d *Daemon) watchPIDFile(config Config) pidFile {
	name := defaultPIDFile
	if values := config["pidfile"]; len(values) > 0 {
		name = values[0]
	}
	if strings.EqualFold(name, noPIDFile) {
		return pidFile{}
	}
	file := pidFile{root: d.Root, path: name}
	file.before, _ = tree.Stat(d.Root, name)
	return file
}

// listener is the process in the pid file, 0 when there is none: no file, one
// that is out of the instance's root, a stale one, or one whose number belongs to another program by now, or to the
// sshd of somebody's session, which a SIGHUP would end.
func (f pidFile) listener(ports []int) (int, error) {
	if f.path == "" {
		return 0, nil
	}
	data, err := tree.ReadFile(f.root, f.path)
	if _, out := errors.AsType[*tree.LinkError](err); out || errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read sshd's pid file: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data[:min(len(data), maxPIDFile)])))
	if err != nil || pid <= 1 || !isSSHD(pid) || listeningSocket(fmt.Sprintf("/proc/%d", pid), ports) == "" {
		return 0, nil
	}
	return pid, nil
}

// awaitRenewal waits until the listener has started over, for as long as that
// takes at most. Whether it has is not the question: the listener itself is
// asked next, and has the last word.
func awaitRenewal(ctx context.Context, renewed func() bool) {
	ctx, cancel := context.WithTimeout(ctx, pidFileWait)
	defer cancel()
	tick := time.NewTicker(pidFilePoll)
	defer tick.Stop()
	for !renewed() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// isNew tells whether the file was written since; one that is not to be had
// never is, nor is it waited for.
func (f pidFile) isNew() bool {
	if f.path == "" {
		return true
	}
	now, err := tree.Stat(f.root, f.path)
	return err == nil && (f.before == nil || !os.SameFile(now, f.before) || !now.ModTime().Equal(f.before.ModTime()))
}
