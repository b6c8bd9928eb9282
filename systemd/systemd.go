// Package systemd holds latchkey's unit files and the little that its programs
// say to systemd: which unit runs sshd, please reload it, I am ready.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Booted tells whether systemd is the init system (sd_booted(3)).
func Booted() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// Names of the units that distributions run sshd by: ssh on Debian and Ubuntu,
// sshd elsewhere.
var (
	services = []string{"ssh.service", "sshd.service"}
	sockets  = []string{"ssh.socket", "sshd.socket"}
)

// SSHD is the unit that runs the instance's sshd. Both fields are empty when no
// unit does now.
type SSHD struct {
	Service string // runs now
	Socket  string // listens, and starts a service when somebody connects
}

// startWait bounds how long a service that is being started is waited for, and
// startPoll is how often it is looked at.
const (
	startWait = 5 * time.Second
	startPoll = 20 * time.Millisecond
)

// FindSSHD asks systemd which unit runs sshd now. What is active decides, never
// the name alone: one may be an alias of the other, or be there unused. A
// service that is just being started has read its configuration, or is about to:
// it is waited for, so that it can be told of another.
func FindSSHD(ctx context.Context) (SSHD, error) {
	conn, err := dbus.NewWithContext(ctx)
	if err != nil {
		return SSHD{}, fmt.Errorf("connect to systemd: %w", err)
	}
	defer conn.Close()
	deadline := time.Now().Add(startWait)
	for {
		units, err := conn.ListUnitsByNamesContext(ctx, slices.Concat(services, sockets))
		if err != nil {
			return SSHD{}, fmt.Errorf("list units: %w", err)
		}
		if !slices.ContainsFunc(units, starts) || time.Now().After(deadline) {
			return active(units), nil
		}
		select {
		case <-time.After(startPoll):
		case <-ctx.Done():
			return SSHD{}, fmt.Errorf("list units: %w", ctx.Err())
		}
	}
}

// starts tells a service whose program has been started and is not ready yet.
// One that only waits for its turn, which may be ours to end, is inactive.
func starts(unit dbus.UnitStatus) bool {
	return slices.Contains(services, unit.Name) && slices.Contains([]string{"start-pre", "start", "start-post"}, unit.SubState)
}

// active picks the units that are.
func active(units []dbus.UnitStatus) SSHD {
	var found SSHD
	for _, unit := range units {
		if unit.ActiveState != "active" && unit.ActiveState != "reloading" {
			continue
		}
		switch {
		case slices.Contains(services, unit.Name):
			found.Service = unit.Name
		case slices.Contains(sockets, unit.Name):
			found.Socket = unit.Name
		}
	}
	return found
}

// Reload reloads a service and waits until it has been done.
func Reload(ctx context.Context, service string) error {
	if err := await(ctx, service, (*dbus.Conn).ReloadUnitContext); err != nil {
		return fmt.Errorf("reload %s: %w", service, err)
	}
	return nil
}

// Restart restarts a service that runs, and waits until it has been done.
func Restart(ctx context.Context, service string) error {
	if err := await(ctx, service, (*dbus.Conn).TryRestartUnitContext); err != nil {
		return fmt.Errorf("restart %s: %w", service, err)
	}
	return nil
}

// job is a method that queues one for a unit, and says on a channel how it ended.
type job func(conn *dbus.Conn, ctx context.Context, unit, mode string, done chan<- string) (int, error)

// await queues a job and waits for its end. It does not wait for other jobs:
// sshd's unit is ordered after latchkeyd's, whose own start may still be under
// way.
func await(ctx context.Context, service string, queue job) error {
	conn, err := dbus.NewWithContext(ctx)
	if err != nil {
		return fmt.Errorf("connect to systemd: %w", err)
	}
	defer conn.Close()
	done := make(chan string, 1)
	if _, err := queue(conn, ctx, service, "ignore-dependencies", done); err != nil {
		return err
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("%w: %s", errJob, result)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errJob is a job that systemd did not carry out.
var errJob = errors.New("systemd's job ended as")
