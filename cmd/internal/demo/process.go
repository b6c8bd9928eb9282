package demo

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// patience is how long anything may take to come up or to end.
const patience = 20 * time.Second

// process is a program that runs until it is stopped.
type process struct {
	cmd  *exec.Cmd
	log  *bytes.Buffer
	done chan error
}

// startProcess starts a program that dies with the demo.
func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, log: &bytes.Buffer{}, done: make(chan error, 1)}
	cmd.Stderr = p.log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	go func() { p.done <- cmd.Wait() }()
	return p, nil
}

// stop asks the program to end and waits until it has.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not end when asked to", p.cmd.Path)
	}
}

// restart ends the agent, gives the instance a new boot, and starts the agent
// anew, until it says that it is ready (sd_notify(3)).
func (d *demo) restart() error {
	if d.agent != nil {
		if err := d.agent.stop(); err != nil {
			return err
		}
	}
	if err := d.world.newBoot(d); err != nil {
		return err
	}
	ready, err := listenNotify(filepath.Join(d.dir, "notify"))
	if err != nil {
		return err
	}
	defer ready.Close()
	cmd := exec.Command(d.options.Agent, "--root", d.world.root)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+ready.LocalAddr().String())
	if d.agent, err = startProcess(cmd); err != nil {
		return err
	}
	if d.boots == 1 {
		d.onClose(func() error { return d.agent.stop() })
	}
	return d.awaitReady(ready)
}

func listenNotify(path string) (*net.UnixConn, error) {
	_ = os.Remove(path)
	return net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
}

// awaitReady waits for READY=1, or for the agent to end before.
func (d *demo) awaitReady(notify *net.UnixConn) error {
	ctx, cancel := context.WithTimeout(d.ctx, patience)
	defer cancel()
	came := make(chan error, 1)
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := notify.Read(buffer)
			if err != nil || bytes.Contains(buffer[:n], []byte("READY=1")) {
				came <- err
				return
			}
		}
	}()
	select {
	case err := <-came:
		return err
	case err := <-d.agent.done:
		d.agent.done <- err
		return fmt.Errorf("the agent ended: %w\n%s", err, d.agent.log)
	case <-ctx.Done():
		return fmt.Errorf("the agent was not ready in time: %w", ctx.Err())
	}
}
