package agent

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// retired are the places with a block of ours that are not the one of now.
func (s *State) retired(now KeysPlace) []KeysPlace {
	places := slices.Clone(s.Elsewhere)
	if done := s.Applied; done != nil && done.KeysFile != "" {
		places = append(places, KeysPlace{done.User, done.KeysFile})
	}
	slices.SortFunc(places, func(a, b KeysPlace) int {
		return cmp.Or(strings.Compare(a.User, b.User), strings.Compare(a.KeysFile, b.KeysFile))
	})
	places = slices.DeleteFunc(places, func(p KeysPlace) bool { return p == now })
	return slices.Compact(places)
}

// retire takes our block out of the files in which it has no business any more.
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
			Remedy: "take the lines between the latchkey marks out of " + place.KeysFile,
		})
	}
	r.elsewhere = left
	return nil
}

func (r *applier) retireFrom(ctx context.Context, place KeysPlace) error {
	user, err := account.Lookup(r.agent.root, place.User)
	if errors.Is(err, account.ErrUnknownUser) {
		if _, gone := os.Lstat(filepath.Join(r.agent.root, place.KeysFile)); errors.Is(gone, fs.ErrNotExist) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	return r.setKeys(ctx, RemoveKeys, authkeys.Location{Account: r.agent.keysAccount(user), Path: place.KeysFile}, nil)
}
