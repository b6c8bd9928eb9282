package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/internal/tree"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// open takes our policy out of sshd's files but for a command to keep, and has the
// running sshd load that. An earlier run may have been cut off in between.
func (r *release) open(ctx context.Context, keep sshd.KeysCommand) error {
	daemon, config := r.agent.sshd, r.agent.config.SSHD.Config
	daemon.Sweep()
	r.out.Password = "unknown"
	files, err := daemon.ReadFiles()
	if errors.Is(err, fs.ErrNotExist) {
		return r.openWithoutMain(ctx, err)
	}
	if err != nil {
		return err
	}
	next := files.With(sshd.Policy{Keys: keep})
	differ := !next.Equal(files)
	load := differ || r.state.Unfinished || r.state.Applied.closed() || r.state.Applied.command() != keep
	if differ {
		r.state.Unfinished = true
		_ = r.state.save(r.agent.root) // to open, no memory is needed
		if err := daemon.Write(files, next); err != nil {
			return err
		}
		r.out.Opened = true
	}
	effective, err := daemon.Effective(ctx, config, sshd.FromLoopback(r.user(), files.Port()))
	if err == nil {
		r.out.Password = onOff(effective.AllowsPassword())
	}
	if !load {
		return nil
	}
	return r.load(ctx, effective, keep)
}

// load makes the running sshd, if there is one, load its configuration.
func (r *release) load(ctx context.Context, effective sshd.Config, keep sshd.KeysCommand) error {
	if effective == nil {
		effective = r.remembered()
	}
	daemon := r.agent.sshd
	found, err := daemon.Running(ctx, effective)
	if err != nil {
		return err
	}
	r.out.Listener = found
	if found == sshd.ListenerRunning {
		if err := daemon.Test(ctx, r.agent.config.SSHD.Config); err != nil {
			return fmt.Errorf("latchkey's part is out of sshd's configuration, but sshd cannot be reloaded: %w", err)
		}
		if r.out.Listener, err = daemon.Reload(ctx, effective); err != nil {
			return err
		}
	}
	r.announce()
	r.noteOpen(keep)
	return nil
}

// remembered is sshd's effective configuration as far as a pass has noted it.
func (r *release) remembered() sshd.Config {
	if r.state.Applied == nil {
		return nil
	}
	return r.state.Applied.Effective
}

// noteOpen remembers that passwords are open, and which command there still is,
// should the rest be cut off. Where that cannot be written down, sshd is but made to
// load the same again.
func (r *release) noteOpen(keep sshd.KeysCommand) {
	if r.state.Applied == nil && !r.state.Unfinished {
		return
	}
	r.state.Applied, r.state.Unfinished = r.state.Applied.opened(keep), false
	_ = r.state.save(r.agent.root)
}

// openWithoutMain takes the drop-in away where sshd's main file is gone: sshd may
// have been removed before us. One that still runs cannot be told.
func (r *release) openWithoutMain(ctx context.Context, missing error) error {
	err := tree.Remove(r.agent.root, sshd.DropIn)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("take the drop-in away: %w", err)
	}
	r.out.Opened = r.out.Opened || err == nil
	closed := r.out.Opened || r.state.Applied.closed()
	found, err := r.agent.sshd.Running(ctx, r.remembered())
	if err != nil {
		return err
	}
	if closed && found == sshd.ListenerRunning {
		return fmt.Errorf("an sshd runs that cannot be reloaded, and takes no passwords until it is restarted: %w", missing)
	}
	return nil
}

// announce logs that passwords are open, once.
func (r *release) announce() {
	if r.announced {
		return
	}
	r.announced = true
	world := &World{Account: account.Account{Name: r.user()}, Boot: r.state.BootID}
	if r.state.Applied != nil {
		world.Location.Path = r.state.Applied.KeysFile
	}
	r.agent.event(eventPasswordOpened, world)
}
