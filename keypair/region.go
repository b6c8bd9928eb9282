package keypair

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
)

// DefaultRegionID is a region's name where its operator gave none.
const DefaultRegionID = "local"

// Options say what a region is.
type Options struct {
	// ID is the region's name, such as "cn-hangzhou". Empty: the one that the store has, or
	// DefaultRegionID in a new one. A region keeps its name.
	ID string

	// Restart restarts an instance's machine: it returns when the instance runs again, or when it cannot. Nil
	// where nobody can be asked to: then the instance is taken for restarted at once. It is called 16 times at once
	// at most.
	Restart func(ctx context.Context, instance Instance, force bool) error

	// Report is told of a restart that failed, after which the instance is Stopped, and of one whose end cannot be
	// written yet or was cut off; nil for nobody.
	Report func(instance string, err error)
}

// Region is the key pairs, the instances and the bindings of one region. Its methods may
// be called by several goroutines.
type Region struct {
	options Options
	store   Store

	ctx      context.Context // of restarts under way
	cancel   context.CancelFunc
	restarts sync.WaitGroup
	turns    chan struct{} // holds as many as Options.Restart is called at once
}

var regionID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// CheckRegionID holds a region's name to its rule: 1 to 63 lower-case letters, digits and -, no - first.
func CheckRegionID(id string) error {
	if !regionID.MatchString(id) {
		return fmt.Errorf("region id %q: want lower-case letters, digits and -", id)
	}
	return nil
}

// Open returns the region that is in the store, which stays the caller's to close, after
// the region. Restarts that a stop of the program has cut off count as done: nobody would end them.
func Open(ctx context.Context, store Store, o Options) (*Region, error) {
	r := &Region{options: o, store: store, turns: make(chan struct{}, restartsAtOnce)}
	if err := r.name(ctx); err != nil {
		return nil, fmt.Errorf("open region: %w", err)
	}
	if err := r.settle(ctx); err != nil {
		return nil, fmt.Errorf("open region: %w", err)
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

// Close ends restarts that are under way.
func (r *Region) Close() {
	r.cancel()
	r.restarts.Wait()
}

// ID is the region's name.
func (r *Region) ID() string { return r.options.ID }

// name settles what the region is called.
func (r *Region) name(ctx context.Context) error {
	var id string
	err := r.store.Update(ctx, func(tx Tx) error {
		known, err := tx.Get(regionKey)
		if err != nil {
			return err
		}
		id = or(r.options.ID, or(string(known), DefaultRegionID))
		if err := CheckRegionID(id); err != nil {
			return err
		}
		switch {
		case known == nil:
			return tx.Put(regionKey, []byte(id))
		case string(known) != id:
			return fmt.Errorf("this is region %s, not %s", known, id)
		}
		return nil
	})
	r.options.ID = id
	return err
}

func (r *Region) settle(ctx context.Context) error {
	starting, err := r.Instances(ctx, InstanceFilter{Status: Starting})
	if err != nil {
		return err
	}
	for _, instance := range starting {
		if err := r.restarted(ctx, instance.ID, Running); err != nil {
			return err
		}
	}
	return nil
}

// Watch calls changed with the ids of instances of which something has changed: the binding,
// the status, or that they are there. It is called before the operation that made the change returns, and
// must not change the region. After stop has returned there is no call.
func (r *Region) Watch(changed func(instances []string)) (stop func()) {
	return r.store.Watch(func(keys []string) {
		var ids []string
		for _, key := range keys {
			if id, ok := strings.CutPrefix(key, instancePrefix); ok {
				ids = append(ids, id)
			}
		}
		if len(ids) > 0 {
			changed(ids)
		}
	})
}

// view reads something in a transaction.
func view[T any](ctx context.Context, store Store, read func(Tx) (T, error)) (T, error) {
	var result T
	err := store.View(ctx, func(tx Tx) (err error) {
		result, err = read(tx)
		return err
	})
	return result, err
}

// now is the time that records carry, in UTC. Its fraction of a second keeps what is made in one second in order.
func now() time.Time { return time.Now().UTC().Round(0) }

// ResourceGroup is a group that key pairs may be put in.
type ResourceGroup struct {
	ID   string `json:"id"` // "rg-…"
	Name string `json:"name,omitempty"`
}

var groupID = regexp.MustCompile(`^rg-[A-Za-z0-9-]{1,60}$`)

// AddResourceGroup makes a group known, or names it anew.
func (r *Region) AddResourceGroup(ctx context.Context, group ResourceGroup) error {
	if !groupID.MatchString(group.ID) || !plainText.MatchString(group.Name) {
		return ErrResourceGroup
	}
	return r.store.Update(ctx, func(tx Tx) error { return put(tx, groupPrefix+group.ID, group) })
}

// ResourceGroups returns all groups, by their ids.
func (r *Region) ResourceGroups(ctx context.Context) ([]ResourceGroup, error) {
	return view(ctx, r.store, func(tx Tx) ([]ResourceGroup, error) {
		return list(tx, groupPrefix, func(ResourceGroup) bool { return true })
	})
}

// RemoveResourceGroup forgets a group in which no key pair is.
func (r *Region) RemoveResourceGroup(ctx context.Context, id string) error {
	return r.store.Update(ctx, func(tx Tx) error {
		if err := checkGroup(tx, or(id, "none")); err != nil {
			return err
		}
		inside, err := list(tx, pairPrefix, func(p KeyPair) bool { return p.ResourceGroupID == id })
		if err == nil && len(inside) > 0 {
			err = ErrResourceGroupUsed
		}
		if err != nil {
			return err
		}
		return tx.Delete(groupPrefix + id)
	})
}

func checkGroup(tx Tx, id string) error {
	if id == "" {
		return nil
	}
	if !groupID.MatchString(id) {
		return ErrResourceGroupNotFound
	}
	known, err := exists(tx, groupPrefix+id)
	if err == nil && !known {
		err = ErrResourceGroupNotFound
	}
	return err
}
