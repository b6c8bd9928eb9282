package keypair

import (
	"context"
	"errors"
)

// Outcome is what became of one instance of several.
type Outcome struct {
	InstanceID string
	Err        error // nil when it was done
}

// Attach binds a key pair to instances, in place of what is bound to them. An instance that takes none fails
// alone; an error is returned when nothing was done at all. An id that is given twice counts once.
func (r *Region) Attach(ctx context.Context, pair string, instances []string) ([]Outcome, error) {
	return r.changeBindings(ctx, pair, instances, func(tx Tx, instance *Instance) error {
		if instance.OSType == Windows {
			return ErrWindows
		}
		if instance.KeyPairName == pair {
			return nil
		}
		if err := unbind(tx, instance); err != nil {
			return err
		}
		instance.KeyPairName = pair
		if err := tx.Put(boundKey(pair, instance.ID), []byte{}); err != nil {
			return err
		}
		return put(tx, instancePrefix+instance.ID, *instance)
	})
}

// Detach unbinds a key pair from instances, as Attach binds it. One to which another or no key pair is bound
// is left as it is, which is no error: the pair is not bound to it.
func (r *Region) Detach(ctx context.Context, pair string, instances []string) ([]Outcome, error) {
	return r.changeBindings(ctx, pair, instances, func(tx Tx, instance *Instance) error {
		if instance.KeyPairName != pair {
			return nil
		}
		if err := unbind(tx, instance); err != nil {
			return err
		}
		return put(tx, instancePrefix+instance.ID, *instance)
	})
}

func (r *Region) changeBindings(ctx context.Context, pair string, ids []string, change func(Tx, *Instance) error) ([]Outcome, error) {
	var outcomes []Outcome
	err := r.store.Update(ctx, func(tx Tx) error {
		outcomes = nil
		if _, err := pairNamed(tx, pair); err != nil {
			return err
		}
		for _, id := range distinct(ids) {
			instance, err := instanceOf(tx, id)
			if err == nil {
				err = change(tx, &instance)
			}
			if err != nil && !errors.Is(err, ErrInstanceNotFound) && !errors.Is(err, ErrWindows) {
				return err
			}
			outcomes = append(outcomes, Outcome{id, err})
		}
		return nil
	})
	return outcomes, err
}

// unbind takes the binding from the instance's record and from the index.
func unbind(tx Tx, instance *Instance) error {
	if instance.KeyPairName == "" {
		return nil
	}
	pair := instance.KeyPairName
	instance.KeyPairName = ""
	return tx.Delete(boundKey(pair, instance.ID))
}
