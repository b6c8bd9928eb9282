package demo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// instanceID is the instance's name in the demo's region.
const instanceID = "i-demo"

// region is a keypaird of the demo's own: it keeps nothing.
type region struct {
	endpoint string   // of the API, a URL
	metadata string   // endpoint of the instance, a URL
	settings []string // environment of whoever calls the API
	restarts *os.File // FIFO: a line for each restart that is asked for
	done     string   // FIFO: a line for each that is over
}

// startRegion starts keypaird, with an instance in it.
func (d *demo) startRegion() error {
	hook, err := d.restartHook()
	if err != nil {
		return err
	}
	cmd := exec.Command(d.options.Region, "--memory", "--listen", "127.0.0.1:0", "--imds", instanceID+"=127.0.0.1:0", "--restart-hook", hook)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	keypaird, err := startProcess(cmd)
	if err != nil {
		return err
	}
	d.onClose(keypaird.stop)
	var ready struct {
		Endpoint, Region string
		Metadata         []struct{ Endpoint string }
		AccessKey        struct{ ID, Secret string } `json:"access_key"`
	}
	if err := json.NewDecoder(out).Decode(&ready); err != nil || len(ready.Metadata) != 1 {
		return fmt.Errorf("keypaird did not start: %w\n%s", errors.Join(err, keypaird.stop()), keypaird.log)
	}
	d.region.endpoint, d.region.metadata = ready.Endpoint, ready.Metadata[0].Endpoint
	d.region.settings = []string{
		"LATCHKEY_ECS_ENDPOINT=" + ready.Endpoint, "ALIBABA_CLOUD_REGION_ID=" + ready.Region,
		"ALIBABA_CLOUD_ACCESS_KEY_ID=" + ready.AccessKey.ID, "ALIBABA_CLOUD_ACCESS_KEY_SECRET=" + ready.AccessKey.Secret,
	}
	return nil
}

// restartHook is the program by which keypaird restarts the instance: it passes the
// request to the demo, and waits until the demo has done it.
func (d *demo) restartHook() (string, error) {
	asked := filepath.Join(d.dir, "restart")
	d.region.done = filepath.Join(d.dir, "restarted")
	for _, fifo := range []string{asked, d.region.done} {
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			return "", fmt.Errorf("make FIFO %s: %w", fifo, err)
		}
	}
	var err error
	if d.region.restarts, err = os.OpenFile(asked, os.O_RDWR, 0); err != nil {
		return "", err
	}
	d.onClose(d.region.restarts.Close)
	hook := filepath.Join(d.dir, "restart-hook")
	script := fmt.Sprintf("#!/bin/sh\necho \"$1\" >'%s' && read -r answer <'%s'\n", asked, d.region.done)
	return hook, os.WriteFile(hook, []byte(script), 0o700)
}

// latchkey runs a command of the latchkey program at the desk: it reaches the region by
// its API alone.
func (d *demo) latchkey(args ...string) error {
	cmd := exec.CommandContext(d.ctx, d.options.Desk, args...)
	cmd.Env = append(os.Environ(), d.region.settings...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("latchkey %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(log.String()))
	}
	return nil
}

// reboot asks the API to restart the instance, and does it when keypaird says so.
func (d *demo) reboot() error {
	start := time.Now()
	if err := d.latchkey("instance", "reboot", instanceID); err != nil {
		return err
	}
	_ = d.region.restarts.SetReadDeadline(time.Now().Add(patience))
	line := make([]byte, 128)
	n, err := d.region.restarts.Read(line)
	if err != nil {
		return fmt.Errorf("wait for the restart: %w", err)
	}
	if asked := strings.TrimSpace(string(line[:n])); asked != instanceID {
		return fmt.Errorf("keypaird restarts %q, not %s", asked, instanceID)
	}
	if err := d.restart(); err != nil {
		return err
	}
	d.say(true, start, "latchkey instance reboot %s: restarted, and the agent has applied what is bound", instanceID)
	return os.WriteFile(d.region.done, []byte("ok\n"), 0)
}
