package agent

import (
	"context"
	"log/slog"
	"sync"

	"github.com/latchkey-ssh/latchkey/metadata"
)

// Daemon is the agent as it runs on an instance.
type Daemon struct {
	options    Options
	configPath string

	mu        sync.Mutex // guards what the status socket reads too
	agent     *Agent
	client    *metadata.Client
	seen      metadata.Binding // the endpoint's last answer
	configErr error            // why the configuration of now cannot be used
}

// NewDaemon returns a daemon for the instance of o. Its configuration is read
// again from configPath whenever that changes.
func NewDaemon(o Options, configPath string) (*Daemon, error) {
	d := &Daemon{options: o, configPath: configPath}
	return d, d.configure(o.Config)
}

// configure starts anew with a configuration.
func (d *Daemon) configure(config Config) error {
	o := d.options
	o.Config = config
	a := New(o)
	client, err := a.Client()
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client != nil {
		d.client.Close()
	}
	d.agent, d.client = a, client
	d.seen = metadata.Binding{State: metadata.Unknown, Reason: "the endpoint has not been asked yet"}
	return nil
}

// reconfigure reads the configuration again. One that is wrong is reported and
// the one that was good stays.
func (d *Daemon) reconfigure() {
	config, err := LoadConfig(d.options.Root, d.configPath)
	if err == nil && stamp(config) != stamp(d.agent.config) {
		if err = d.configure(config); err == nil {
			d.agent.log.Info("the configuration was read again")
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil && (d.configErr == nil || d.configErr.Error() != err.Error()) {
		d.agent.log.Error("the configuration cannot be used, the last good one stays in force", slog.Any("error", err))
	}
	d.configErr = err
}

// Run serves the instance until ctx ends. ready is called once the first pass
// is over, whatever came of it.
func (d *Daemon) Run(ctx context.Context, ready func()) error {
	release, err := d.agent.claim()
	if err != nil {
		return err
	}
	defer release()
	listener, err := d.agent.listen()
	if err != nil {
		return err
	}
	watch, err := newWatch()
	if err != nil {
		listener.Close()
		return err
	}
	var group sync.WaitGroup
	group.Go(func() { serve(ctx, listener, d.report) })
	defer group.Wait()
	defer listener.Close()
	defer watch.close()
	defer func() { d.client.Close() }()
	d.loop(ctx, watch, ready)
	return nil
}

// loop makes a pass whenever there may be something to do: when the endpoint is
// due, when something that the agent depends on has changed, when a failed
// proof may go better.
func (d *Daemon) loop(ctx context.Context, watch *watch, ready func()) {
	pace := pace{backoff: firstRetry}
	news := true // whether the last answer has not been through a pass yet
	for ctx.Err() == nil {
		seen := d.last()
		if d.isDue(seen) {
			seen, news = d.fetch(ctx), true
		}
		how := How{Retry: pace.retries()}
		outcome, err := d.pass(ctx, seen, news, how)
		news = news && outcome == nil
		pace.note(seen, how, outcome, err)
		if ready != nil {
			d.agent.log.Info("the first pass is over", "seen", bindingWords(seen))
			ready()
			ready = nil
		}
		watch.follow(ctx, d.agent, d.configPath, outcome)
		giveBack()
		watch.wait(ctx, pace.pause(&d.agent.config))
		d.reconfigure()
	}
}

// isDue tells whether the endpoint has to be asked before the next pass. At
// boot the first good answer of the boot is the last that counts.
func (d *Daemon) isDue(seen metadata.Binding) bool {
	return seen.State == metadata.Unknown || d.agent.config.Apply.When == Live
}

// pass makes a pass and logs what went wrong. The daemon goes on: the next
// event may bring what was missing. An answer counts once: since then a person
// may have applied a later one.
func (d *Daemon) pass(ctx context.Context, seen metadata.Binding, news bool, how How) (*Outcome, error) {
	if !news {
		seen = metadata.Binding{State: metadata.Unknown, Reason: "the endpoint was not asked again"}
	}
	outcome, err := d.agent.Pass(ctx, seen, how)
	if err != nil && ctx.Err() == nil {
		d.agent.log.Error("pass failed", slog.Any("error", err))
	}
	return outcome, err
}

func (d *Daemon) fetch(ctx context.Context) metadata.Binding {
	seen := d.client.Fetch(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if seen.State == metadata.Unknown && d.seen.Reason != seen.Reason && ctx.Err() == nil {
		d.agent.log.Warn("the endpoint gave no answer that counts; nothing is changed", "reason", seen.Reason)
	}
	d.seen = seen
	return seen
}

func (d *Daemon) last() metadata.Binding {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seen
}

// report is the answer on the status socket. It asks the endpoint anew, so that
// a binding which waits for a restart is seen without polling for it.
func (d *Daemon) report(ctx context.Context) (*Report, error) {
	d.mu.Lock()
	agent, client, configErr := d.agent, d.client, d.configErr
	d.mu.Unlock()
	within, cancel := context.WithTimeout(ctx, socketAnswer/2)
	defer cancel()
	seen := client.Fetch(within)
	r, err := agent.Report(seen)
	if err != nil {
		return nil, err
	}
	if configErr != nil {
		r.fault("configuration", configErr.Error(), "mend it; until then the last good configuration stays in force")
	}
	return r.withPID(), nil
}
