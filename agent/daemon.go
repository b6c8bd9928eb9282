package agent

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/internal/idle"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/network"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// Daemon is the agent as it runs on an instance.
type Daemon struct {
	options    Options
	configPath string

	mu        sync.Mutex // guards what the status socket reads too
	agent     *Agent
	seen      metadata.Binding // the endpoint's last answer
	configErr error            // why the configuration of now cannot be used

	watching  atomic.Bool  // whether the endpoint's watch is held and sound
	busySince atomic.Int64 // when the work at hand began, in ns since 1970; 0: there is none
}

// Supervisor is whoever has started the daemon, as far as it wants to be told.
type Supervisor struct {
	// Ready is called once: when the first pass is over, whatever came of it, and
	// at the latest after apply.boot_wait.
	Ready func()
	// Status is given one line on how things are, after each pass.
	Status func(string)
	// Alive is called each Every, as long as the daemon is not stuck. An Every of 0
	// is never.
	Alive func()
	Every time.Duration
}

// NewDaemon returns a daemon for the instance of o. Its configuration is read
// again from configPath whenever that changes.
func NewDaemon(o Options, configPath string) *Daemon {
	if o.Network == nil {
		o.Network = &network.Local{}
	}
	d := &Daemon{options: o, configPath: configPath}
	d.configure(o.Config)
	return d
}

// configure starts anew with a configuration.
func (d *Daemon) configure(config Config) {
	o := d.options
	o.Config = config
	d.mu.Lock()
	defer d.mu.Unlock()
	d.agent = New(o)
	d.seen = metadata.Binding{State: metadata.Unknown, Reason: "the endpoint has not been asked yet"}
}

// reconfigure reads the configuration again. One that is wrong is reported and
// the one that was good stays.
func (d *Daemon) reconfigure() {
	config, err := LoadConfig(d.options.Root, d.configPath)
	if err == nil && stamp(config) != stamp(d.agent.config) {
		d.configure(config)
		d.agent.log.Info("the configuration was read again")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil && (d.configErr == nil || d.configErr.Error() != err.Error()) {
		d.agent.log.Error("the configuration cannot be used, the last good one stays in force", slog.Any("error", err))
	}
	d.configErr = err
}

// Run serves the instance until ctx ends.
func (d *Daemon) Run(ctx context.Context, supervisor Supervisor) error {
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
	defer d.options.Network.Rest()
	ready := sync.OnceFunc(supervisor.Ready)
	waited := time.AfterFunc(d.agent.config.Apply.BootWait.Duration, ready)
	defer waited.Stop()
	supervisor.Ready = func() {
		waited.Stop() // else it would wake an agent that rests
		ready()
	}
	group.Go(func() { d.pulse(ctx, supervisor) })
	supervisor.Status("asking " + d.agent.config.Metadata.Endpoint)
	d.loop(ctx, watch, supervisor)
	return nil
}

// stuckAfter is longer than any work takes that ends at all: what an endpoint is
// given to answer in, a pass, a visit to a home.
const stuckAfter = 5 * time.Minute

// pulse tells the supervisor that the daemon lives, unless it is stuck.
func (d *Daemon) pulse(ctx context.Context, supervisor Supervisor) {
	if supervisor.Every <= 0 {
		return
	}
	tick := time.NewTicker(supervisor.Every)
	defer tick.Stop()
	for ctx.Err() == nil {
		if since := d.busySince.Load(); since == 0 || time.Since(time.Unix(0, since)) < stuckAfter {
			supervisor.Alive()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// loop makes a pass whenever there may be something to do: when the endpoint is
// due or has news, when something that the agent depends on has changed, when a
// failed proof may go better.
func (d *Daemon) loop(ctx context.Context, watch *watch, supervisor Supervisor) {
	pace := pace{backoff: firstRetry}
	endpoint := newEndpointWatch(d.options.Network, d.agent.log)
	defer endpoint.stop()
	news := true // whether the last answer has not been through a pass yet
	for ctx.Err() == nil {
		d.busySince.Store(time.Now().UnixNano())
		seen := d.last()
		if d.isDue(seen) {
			before := seen
			seen, news = d.fetch(ctx), true
			endpoint.note(before, seen)
		}
		how := How{Retry: pace.retries()}
		outcome, err := d.pass(ctx, seen, news, how)
		news = news && outcome == nil
		pace.note(seen, how, outcome, err)
		supervisor.Status(statusLine(seen, outcome, err))
		if !isEarly(outcome) {
			supervisor.Ready()
		}
		watch.follow(ctx, d.agent, d.configPath, outcome)
		begun := endpoint.hold(ctx, &d.agent.config, seen)
		d.watching.Store(endpoint.sound())
		pause := pace.pause(&d.agent.config, endpoint.works())
		d.rest(pause, begun)
		watch.wait(ctx, pause, endpoint.news())
		d.reconfigure()
	}
}

// isEarly tells a pass that could prove nothing because logons are not allowed
// yet (pam_nologin(8)). systemd-user-sessions.service allows them; to be started
// after it would be to wait for whatever it waits for, network mounts for one.
// The next pass comes when the file goes.
func isEarly(outcome *Outcome) bool {
	return outcome != nil && outcome.Applied != nil && slices.ContainsFunc(outcome.Applied.Faults, func(c sshd.Cause) bool {
		return c.ID == string(account.NologinFile) && strings.HasPrefix(c.Detail, "/run/")
	})
}

// longRest is a pause for which no process that touches the network is kept.
const longRest = 2 * time.Minute

// rest gives back what is not needed until the next pass. A watch that is just
// beginning takes over the process that has fetched.
func (d *Daemon) rest(pause time.Duration, watchBegins bool) {
	if (pause == 0 || pause > longRest) && !watchBegins {
		d.options.Network.Rest()
	}
	idle.GiveBack()
	d.busySince.Store(0)
}

// statusLine says how things are after a pass.
func statusLine(seen metadata.Binding, outcome *Outcome, err error) string {
	var text string
	switch {
	case outcome == nil || outcome.Applied == nil:
		text = "nothing applied yet"
	default:
		text = bindingWords(outcome.Applied.Binding) + ", user " + outcome.Applied.User
		text += ", passwords " + map[bool]string{true: "off", false: "left to sshd's configuration"}[outcome.Applied.PasswordClosed]
		if faults := outcome.Applied.Faults; len(faults) > 0 {
			text += "; faults: " + causeIDs(faults)
		}
		if outcome.Pending != nil {
			text += "; pending: " + bindingWords(*outcome.Pending)
		}
	}
	if err != nil {
		text += "; the last pass failed"
	}
	if seen.State == metadata.Unknown {
		text += "; endpoint: " + seen.Reason
	}
	return text
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
	seen, err := d.agent.Fetch(ctx)
	if err != nil {
		seen = metadata.Binding{State: metadata.Unknown, Reason: "the state cannot be read"}
		d.agent.log.Error("the endpoint is not asked", slog.Any("error", err))
	}
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
	agent, configErr := d.agent, d.configErr
	d.mu.Unlock()
	within, cancel := context.WithTimeout(ctx, socketAnswer/2)
	defer cancel()
	seen, err := agent.Fetch(within)
	if err != nil {
		return nil, err
	}
	if agent.config.Apply.When == AtBoot {
		defer agent.network.Rest() // nothing will ask again soon
	}
	r, err := agent.Report(seen)
	if err != nil {
		return nil, err
	}
	if configErr != nil {
		r.fault("configuration", configErr.Error(), "mend it; until then the last good configuration stays in force")
	}
	r.Follows = d.follows(agent)
	return r.withPID(), nil
}

// follows is how the daemon hears of a change of the binding.
func (d *Daemon) follows(agent *Agent) string {
	switch {
	case agent.config.Apply.When != Live:
		return ""
	case d.watching.Load():
		return "watch"
	}
	return "poll"
}
