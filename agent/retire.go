package agent

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/internal/tree"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// retired are the places with lines of ours that are not those of now.
func (s *State) retired(now []KeysPlace) []KeysPlace {
	places := append(slices.Clone(s.Elsewhere), s.Applied.places()...)
	slices.SortFunc(places, func(a, b KeysPlace) int {
		return cmp.Or(strings.Compare(a.User, b.User), strings.Compare(a.KeysFile, b.KeysFile))
	})
	places = slices.DeleteFunc(places, func(p KeysPlace) bool { return slices.Contains(now, p) })
	return slices.Compact(places)
}

// unexplained are the places with keys of ours that are not among those known to go.
func (p *Plan) unexplained() []KeysPlace {
	return slices.DeleteFunc(slices.Clone(p.world.Stray), func(stray KeysPlace) bool {
		return slices.ContainsFunc(p.Retire, func(known KeysPlace) bool {
			return known == stray || known.isIndex() && stray.isIndex()
		})
	})
}

// places are where the recorded keys went.
func (a *Applied) places() []KeysPlace {
	if a == nil {
		return nil
	}
	var places []KeysPlace
	if a.KeysFile != "" {
		places = append(places, KeysPlace{a.User, a.KeysFile})
	}
	if a.Index != "" {
		places = append(places, indexPlace(a.User))
	}
	return places
}

// retire takes our lines out of the places in which it has no business any more.
// An account that is gone has taken its file along.
func (r *applier) retire(ctx context.Context) error {
	var left []KeysPlace
	for _, place := range r.plan.Retire {
		err := r.retireFrom(ctx, place)
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		left = append(left, place)
		r.faults = append(r.faults, sshd.Cause{
			ID: "keys-left-behind", Detail: err.Error(),
			Remedy: place.remedy(),
		})
	}
	r.elsewhere = left
	return nil
}

// remedy is for lines of ours that cannot be taken out.
func (p KeysPlace) remedy() string {
	if p.isIndex() {
		return "mend what keeps " + p.KeysFile + " from being written; or remove it"
	}
	return "take the lines between the latchkey marks out of " + p.KeysFile
}

func (r *applier) retireFrom(ctx context.Context, place KeysPlace) error {
	if place.isIndex() {
		return r.retireFromIndex(ctx, place.User)
	}
	user, err := account.Lookup(r.agent.root, place.User)
	if errors.Is(err, account.ErrUnknownUser) {
		if _, gone := tree.Lstat(r.agent.root, place.KeysFile); errors.Is(gone, fs.ErrNotExist) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	store, err := r.agent.fileOf(ctx, user, place)
	if err != nil {
		return err
	}
	return r.setKeys(ctx, RemoveKeys, store, nil)
}

// fileOf is a place that is a file, as it is now.
func (a *Agent) fileOf(ctx context.Context, user account.Account, place KeysPlace) (keysStore, error) {
	return lookAtFile(ctx, authkeys.Location{Account: a.keysAccount(user), Path: place.KeysFile})
}

// retireFromIndex takes a user's lines out of the index, all of which goes where no
// key is to be in there.
func (r *applier) retireFromIndex(ctx context.Context, user string) error {
	var others []string
	if r.agent.config.Apply.Delivery.command() {
		others = append(others, r.plan.world.Account.Name)
	}
	for _, place := range r.plan.Retire {
		if place.isIndex() && place.User != user {
			others = append(others, place.User)
		}
	}
	return r.setKeys(ctx, RemoveKeys, lookAtIndex(r.agent.root, user, others), nil)
}
