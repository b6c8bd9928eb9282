package keypair

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// restartsAtOnce is how many calls of Options.Restart are under way at a time.
const restartsAtOnce = 16

// Pauses between tries to write what became of a restart.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// Reboot restarts an instance, which has to be Running: it is Starting when Reboot returns,
// and Running again once Options.Restart is over, or Stopped where that has failed: nobody
// knows then whether it runs, and whoever waits must not take the old boot for a new one.
// Where many are restarted, some wait for their turn, Starting.
func (r *Region) Reboot(ctx context.Context, id string, force bool) error {
	err := r.store.Update(ctx, func(tx Tx) error {
		instance, err := instanceOf(tx, id)
		if err != nil {
			return err
		}
		if instance.Status != Running {
			return ErrInstanceStatus
		}
		instance.Status = Starting
		return put(tx, instancePrefix+id, instance)
	})
	if err == nil {
		r.restarts.Go(func() { r.restart(id, force) })
	}
	return err
}

func (r *Region) restart(id string, force bool) {
	status := Running
	err := r.takeTurn(id, force)
	if err != nil && r.ctx.Err() == nil {
		status = Stopped
		r.report(id, err)
	}
	r.conclude(id, status)
}

// takeTurn restarts the instance's machine when it is its turn, unless the instance was removed meanwhile
// or somebody has given it another status.
func (r *Region) takeTurn(id string, force bool) error {
	if r.options.Restart == nil {
		return nil
	}
	select {
	case r.turns <- struct{}{}:
		defer func() { <-r.turns }()
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
	instance, err := r.Instance(r.ctx, id)
	if errors.Is(err, ErrInstanceNotFound) || err == nil && instance.Status != Starting {
		return nil
	}
	if err != nil {
		return err
	}
	return r.options.Restart(r.ctx, instance, force)
}

// conclude says what became of an instance that was restarted, as soon as that can be written: a disk may be full.
// At the end of the region it is left to Open.
func (r *Region) conclude(id string, status Status) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := r.restarted(r.ctx, id, status)
		switch {
		case err == nil:
			return
		case r.ctx.Err() != nil:
			r.report(id, errors.New("cut off by the end of the region, which takes it for done"))
			return
		case pause == firstPause:
			r.report(id, fmt.Errorf("write that it is %s, which is tried again: %w", status, err))
		}
		select {
		case <-time.After(pause):
		case <-r.ctx.Done():
		}
	}
}

func (r *Region) report(id string, err error) {
	if r.options.Report != nil {
		r.options.Report(id, err)
	}
}

// restarted makes a Starting instance Running or Stopped. One that was removed meanwhile, or that somebody
// has given another status, stays as it is.
func (r *Region) restarted(ctx context.Context, id string, status Status) error {
	return r.store.Update(ctx, func(tx Tx) error {
		instance, err := instanceOf(tx, id)
		if errors.Is(err, ErrInstanceNotFound) || err == nil && instance.Status != Starting {
			return nil
		}
		if err != nil {
			return err
		}
		instance.Status = status
		return put(tx, instancePrefix+id, instance)
	})
}
