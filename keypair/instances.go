package keypair

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Register makes an instance known. What is empty is filled in; an instance of that id, or
// one with one of its addresses, must not be there. It begins unbound.
func (r *Region) Register(ctx context.Context, instance Instance) (Instance, error) {
	instance, err := instance.normal()
	if err != nil {
		return Instance{}, err
	}
	instance.KeyPairName, instance.CreatedAt = "", now()
	err = r.store.Update(ctx, func(tx Tx) error {
		taken, err := exists(tx, instancePrefix+instance.ID)
		if err == nil && taken {
			err = ErrInstanceExists
		}
		if err == nil {
			err = occupy(tx, instance)
		}
		if err != nil {
			return err
		}
		return put(tx, instancePrefix+instance.ID, instance)
	})
	return instance, err
}

// Change replaces what is known about an instance, all but its binding, its status and when it came.
func (r *Region) Change(ctx context.Context, instance Instance) (Instance, error) {
	instance, err := instance.normal()
	if err != nil {
		return Instance{}, err
	}
	err = r.store.Update(ctx, func(tx Tx) error {
		before, err := instanceOf(tx, instance.ID)
		if err != nil {
			return err
		}
		if before.KeyPairName != "" && instance.OSType == Windows {
			return ErrWindows
		}
		instance.KeyPairName, instance.Status, instance.CreatedAt = before.KeyPairName, before.Status, before.CreatedAt
		if err := vacate(tx, before); err != nil {
			return err
		}
		if err := occupy(tx, instance); err != nil {
			return err
		}
		return put(tx, instancePrefix+instance.ID, instance)
	})
	return instance, err
}

// vacate takes the instance's addresses away from it.
func vacate(tx Tx, instance Instance) error {
	for _, address := range instance.Addresses {
		if err := tx.Delete(addressPrefix + address.String()); err != nil {
			return err
		}
	}
	return nil
}

// occupy gives the instance its addresses, unless somebody has one: the metadata endpoint
// would take one for the other.
func occupy(tx Tx, instance Instance) error {
	for _, address := range instance.Addresses {
		key := addressPrefix + address.String()
		owner, err := tx.Get(key)
		if err == nil && owner != nil && string(owner) != instance.ID {
			err = fmt.Errorf("%w: addresses: %s is %s's", ErrInstanceInvalid, address, owner)
		}
		if err == nil {
			err = tx.Put(key, []byte(instance.ID))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Remove forgets an instance and its binding.
func (r *Region) Remove(ctx context.Context, id string) error {
	return r.store.Update(ctx, func(tx Tx) error {
		instance, err := instanceOf(tx, id)
		if err != nil {
			return err
		}
		if err := vacate(tx, instance); err != nil {
			return err
		}
		if err := unbind(tx, &instance); err != nil {
			return err
		}
		return tx.Delete(instancePrefix + id)
	})
}

// Instance returns the instance of that id.
func (r *Region) Instance(ctx context.Context, id string) (Instance, error) {
	return view(ctx, r.store, func(tx Tx) (Instance, error) { return instanceOf(tx, id) })
}

func instanceOf(tx Tx, id string) (Instance, error) {
	if !instanceID.MatchString(id) {
		return Instance{}, ErrInstanceNotFound
	}
	return get[Instance](tx, instancePrefix+id, ErrInstanceNotFound)
}

// Instances returns the instances that the filter chooses, the oldest first. An id that is
// not there is left out.
func (r *Region) Instances(ctx context.Context, f InstanceFilter) ([]Instance, error) {
	found, err := view(ctx, r.store, func(tx Tx) ([]Instance, error) {
		if len(f.IDs) > 0 {
			return instancesOf(tx, f)
		}
		return list(tx, instancePrefix, f.match)
	})
	slices.SortStableFunc(found, func(a, b Instance) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	return found, err
}

func instancesOf(tx Tx, f InstanceFilter) ([]Instance, error) {
	found := []Instance{}
	for _, id := range distinct(f.IDs) {
		instance, err := instanceOf(tx, id)
		switch {
		case errors.Is(err, ErrInstanceNotFound):
		case err != nil:
			return nil, err
		case f.match(instance):
			found = append(found, instance)
		}
	}
	return found, nil
}

// Bound returns an instance with the key pair that is bound to it, nil where none is: both
// of one moment.
func (r *Region) Bound(ctx context.Context, id string) (instance Instance, pair *KeyPair, err error) {
	err = r.store.View(ctx, func(tx Tx) error {
		if instance, err = instanceOf(tx, id); err != nil || instance.KeyPairName == "" {
			return err
		}
		found, err := pairNamed(tx, instance.KeyPairName)
		pair = &found
		return err
	})
	return instance, pair, err
}

// SetStatus says that an instance is in that status now.
func (r *Region) SetStatus(ctx context.Context, id string, status Status) error {
	return r.store.Update(ctx, func(tx Tx) error {
		instance, err := instanceOf(tx, id)
		if err != nil {
			return err
		}
		instance.Status = status
		if err := instance.check(); err != nil {
			return err
		}
		return put(tx, instancePrefix+id, instance)
	})
}
