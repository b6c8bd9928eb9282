package keypaird

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/latchkey-ssh/latchkey/keypair"
	"github.com/latchkey-ssh/latchkey/keypair/imds"
)

// follower keeps the metadata endpoint telling what is in the region.
type follower struct {
	region   *keypair.Region
	metadata *imds.Service
	log      *slog.Logger

	mu sync.Mutex // so that what was read last is told last
}

// follow tells the metadata endpoint of all instances, and of each change from then on,
// until stop is called.
func follow(ctx context.Context, region *keypair.Region, metadata *imds.Service, log *slog.Logger) (stop func(), err error) {
	f := &follower{region: region, metadata: metadata, log: log}
	stop = region.Watch(func(ids []string) {
		for _, id := range ids {
			if err := f.tell(context.Background(), id); err != nil {
				f.log.Error("metadata endpoint is behind", "instance_id", id, "error", err)
			}
		}
	})
	instances, err := region.Instances(ctx, keypair.InstanceFilter{})
	for _, instance := range instances {
		err = errors.Join(err, f.tell(ctx, instance.ID))
	}
	if err != nil {
		stop()
	}
	return stop, err
}

func (f *follower) tell(ctx context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	instance, pair, err := f.region.Bound(ctx, id)
	if errors.Is(err, keypair.ErrInstanceNotFound) {
		f.metadata.Remove(id)
		return nil
	}
	if err != nil {
		return err
	}
	return f.metadata.Set(told(f.region.ID(), instance, pair))
}

// told is an instance as its metadata endpoint tells it.
func told(region string, i keypair.Instance, pair *keypair.KeyPair) imds.Instance {
	told := imds.Instance{
		ID: i.ID, Name: i.Name, Type: i.Type, Hostname: i.HostName, ImageID: i.ImageID, RegionID: region, ZoneID: i.ZoneID,
		MAC: i.MAC, SerialNumber: i.SerialNumber, Addresses: i.Addresses, LoginUser: i.LoginUser,
		HTTPTokens: i.Metadata.HTTPTokens, HTTPEndpoint: i.Metadata.HTTPEndpoint,
	}
	for _, address := range i.Addresses {
		if address.Is4() {
			told.PrivateIPv4 = address.String()
			break
		}
	}
	if pair != nil {
		told.KeyPairName, told.KeyPairID, told.PublicKey = pair.Name, pair.ID, pair.PublicKey
	}
	return told
}
