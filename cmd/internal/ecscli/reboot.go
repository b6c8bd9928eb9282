package ecscli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-ssh/latchkey/keypair/ecsclient"
)

// restart is what reboot was told.
type restart struct {
	force, wait bool
	timeout     time.Duration
}

func (d *desk) rebootCommand() *cobra.Command {
	r := restart{}
	cmd := d.command(verb{
		use: "reboot INSTANCE...", short: "Restart instances, so that their bindings come into force",
		long: `reboot restarts running instances. What is bound to one comes into force with it. With --wait
the command ends when they run again.`,
		example: "  latchkey instance reboot i-1 i-2 --wait",
		args:    cobra.MinimumNArgs(1), complete: d.completeInstances,
		run: func(ctx context.Context, args []string) error { return d.reboot(ctx, args, r) },
	})
	flags := cmd.Flags()
	flags.BoolVar(&r.force, "force", false, "as if the power was cut, without asking the system to stop")
	flags.BoolVar(&r.wait, "wait", false, "wait until they run again")
	flags.DurationVar(&r.timeout, "timeout", 10*time.Minute, "how `long` to wait")
	return cmd
}

func (d *desk) reboot(ctx context.Context, ids []string, r restart) error {
	client, err := d.settings.client(d.stderr)
	if err != nil {
		return err
	}
	if !r.wait {
		return d.each(ctx, ids, work{
			done: "restarting", batch: 1,
			do: func(ctx context.Context, batch []string) ([]outcome, error) {
				return rebootAll(ctx, client, batch, r.force)
			},
		})
	}
	return d.each(ctx, ids, work{
		done: "runs again", batch: rebootBatch,
		do: func(ctx context.Context, batch []string) ([]outcome, error) {
			outcomes, err := rebootAll(ctx, client, batch, r.force)
			return outcomes, cmp.Or(err, d.waitFor(ctx, client, outcomes, r.timeout))
		},
	})
}

// rebootBatch is how many instances are waited for together: as many as one page of DescribeInstances holds.
const rebootBatch = 100

// rebootAll asks for the restart of each: RebootInstances would refuse all for one. With an error it returns what
// became of those before.
func rebootAll(ctx context.Context, client *ecsclient.Client, ids []string, force bool) ([]outcome, error) {
	var outcomes []outcome
	for _, id := range ids {
		err := client.RebootInstance(ctx, id, force)
		if err != nil && !isAny(err, aboutInstances) {
			return outcomes, err
		}
		outcomes = append(outcomes, outcome{thing: id, err: err})
	}
	return outcomes, nil
}

// pollInterval is how often it is asked whether instances run again.
const pollInterval = 500 * time.Millisecond

// waitFor waits until those that are being restarted run again. One that does not gets an error in its outcome.
func (d *desk) waitFor(ctx context.Context, client *ecsclient.Client, outcomes []outcome, timeout time.Duration) error {
	end := time.After(timeout)
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for {
		away, stopped, err := stillAway(ctx, client, outcomes)
		giveUp(outcomes, stopped, "did not come back: it is Stopped")
		if err != nil {
			giveUp(outcomes, unfinished(outcomes), "is restarting; whether it runs again could not be asked")
			return err
		}
		if len(away) == 0 {
			return nil
		}
		waiting := d.progress(fmt.Sprintf("waiting for %d of %d instances", len(away), len(outcomes)))
		select {
		case <-poll.C:
			waiting()
		case <-end:
			waiting()
			giveUp(outcomes, away, fmt.Sprintf("does not run again after %s", timeout))
			return nil
		case <-ctx.Done():
			waiting()
			giveUp(outcomes, away, "is restarting; it was not waited for")
			return ctx.Err()
		}
	}
}

// unfinished are the ids of those whose restart was not refused.
func unfinished(outcomes []outcome) []string {
	var ids []string
	for _, one := range outcomes {
		if one.err == nil {
			ids = append(ids, one.thing)
		}
	}
	return ids
}

// stillAway are the ids of those that are to run again and do not, and of those of which that is not to be expected
// any more: a restart goes from Starting to Running, and where it fails to Stopped.
func stillAway(ctx context.Context, client *ecsclient.Client, outcomes []outcome) (away, stopped []string, err error) {
	away = unfinished(outcomes)
	if len(away) == 0 {
		return nil, nil, nil
	}
	for instance, err := range client.Instances(ctx, ecsclient.InstanceFilter{IDs: away}) {
		if err != nil {
			return nil, nil, err
		}
		if instance.Status != "Running" && instance.Status != "Stopped" {
			continue
		}
		away = slices.DeleteFunc(away, func(id string) bool { return id == instance.ID })
		if instance.Status == "Stopped" {
			stopped = append(stopped, instance.ID)
		}
	}
	return away, stopped, nil
}

// giveUp says why of those that do not run again.
func giveUp(outcomes []outcome, away []string, why string) {
	for i := range outcomes {
		if slices.Contains(away, outcomes[i].thing) {
			outcomes[i].err = errors.New(why)
		}
	}
}
