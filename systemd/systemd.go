// Package systemd holds latchkey's unit files and the little that its programs
// say to systemd: which unit runs sshd, please reload it, I am ready.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

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

// FindSSHD asks systemd which unit runs sshd now. What is active decides, never
// the name alone: one may be an alias of the other, or be there unused.
func FindSSHD(ctx context.Context) (SSHD, error) {
	conn, err := dbus.NewWithContext(ctx)
	if err != nil {
		return SSHD{}, fmt.Errorf("connect to systemd: %w", err)
	}
	defer conn.Close()
	units, err := conn.ListUnitsByNamesContext(ctx, slices.Concat(services, sockets))
	if err != nil {
		return SSHD{}, fmt.Errorf("list units: %w", err)
	}
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
	return found, nil
}

// Reload reloads a service and waits until it has been done. It does not wait
// for other jobs: sshd's unit is ordered after latchkeyd's, whose own start may
// still be under way.
func Reload(ctx context.Context, service string) error {
	conn, err := dbus.NewWithContext(ctx)
	if err != nil {
		return fmt.Errorf("connect to systemd: %w", err)
	}
	defer conn.Close()
	done := make(chan string, 1)
	if _, err := conn.ReloadUnitContext(ctx, service, "ignore-dependencies", done); err != nil {
		return fmt.Errorf("reload %s: %w", service, err)
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("reload %s: %w: %s", service, errJob, result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("reload %s: %w", service, ctx.Err())
	}
}

// errJob is a job that systemd did not carry out.
var errJob = errors.New("systemd's job ended as")
