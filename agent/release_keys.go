package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// keepAll makes plain lines of all keys, unless they were to be removed: that has
// to wait.
func (r *release) keepAll(ctx context.Context) error {
	if r.how.RemoveKeys {
		return nil
	}
	r.mustKeep = true
	return r.keys(ctx)
}

// keys takes our block out of every keys file that may have one. The bound keys
// stay in the first alone: nowhere else are they bound.
func (r *release) keys(ctx context.Context) error {
	places, err := r.places(ctx)
	errs := []error{err}
	for i, place := range places {
		keep := func(entry *authkeys.Entry) bool { return r.mustKeep || (i == 0 && r.keeps(entry)) }
		errs = append(errs, r.releaseFile(ctx, place, keep))
	}
	return errors.Join(errs...)
}

// places are the keys files that may have a block of ours. First comes the one
// with the bound keys: where they have just been put, else as recorded, else where sshd
// looks now.
func (r *release) places(ctx context.Context) ([]KeysPlace, error) {
	var places []KeysPlace
	add := func(place KeysPlace) {
		if place.KeysFile != "" && !place.isIndex() && !slices.Contains(places, place) {
			places = append(places, place)
		}
	}
	add(r.inFile)
	for _, place := range r.state.Applied.places() {
		add(place)
	}
	world, err := r.agent.survey(ctx, r.user(), r.state.Applied)
	if err == nil {
		location, _ := r.agent.locate(world.Account, world.Effective)
		add(KeysPlace{location.User, location.Path})
	}
	for _, place := range r.state.Elsewhere {
		add(place)
	}
	if len(places) > 0 || errors.Is(err, account.ErrUnknownUser) {
		err = nil // what is remembered is enough
	}
	return places, err
}

// keepInFile puts a key that came in by command into the keys file, if it is to stay,
// and proves that sshd takes it from there: once the command is gone, nothing else
// would let it in.
func (r *release) keepInFile(ctx context.Context) error {
	inIndex := lookAtIndex(r.agent.root, r.user(), nil).lines()
	if r.how.RemoveKeys || (r.held == (sshd.KeysCommand{}) && len(inIndex) == 0) {
		return nil
	}
	lines := r.boundLines(inIndex)
	if len(lines) == 0 {
		return nil
	}
	err := r.putInFile(ctx, lines)
	if err == nil {
		err = r.proveFile(ctx, lines)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrKeyNotKept, strings.Join(fingerprintsOf(lines), ", "), err)
	}
	return nil
}

// boundLines are the lines of the bound keys that can be used, or, where nothing is
// remembered, all that are in the index.
func (r *release) boundLines(inIndex []string) []string {
	if r.state.InForce == nil {
		return inIndex
	}
	var lines []string
	for _, g := range grantsOf(*r.state.InForce, r.user(), time.Now(), localZone(r.agent.root)) {
		if g.refused == nil {
			lines = append(lines, g.line)
		}
	}
	return lines
}

// putInFile makes lines the block of the keys file in which sshd looks. The file is
// remembered before, so that a later pass knows of the block, should this be cut off.
func (r *release) putInFile(ctx context.Context, lines []string) error {
	location, err := r.keysFile(ctx)
	if err != nil {
		return err
	}
	store, err := lookAtFile(ctx, location)
	if err != nil {
		return err
	}
	before := r.state.Elsewhere
	r.inFile = store.place()
	if !slices.Contains(before, r.inFile) {
		r.state.Elsewhere = append(slices.Clone(before), r.inFile)
		if err := r.state.save(r.agent.root); err != nil && !r.how.Force {
			return err
		}
	}
	changed, err := store.set(ctx, lines)
	if err != nil && !changed {
		r.state.Elsewhere = before
		_ = r.state.save(r.agent.root) // it would but be looked for there in vain
	}
	return err
}

// keysFile is the file in which sshd looks for the logon user's keys: now, or, where
// that cannot be told, as the running sshd was configured last.
func (r *release) keysFile(ctx context.Context) (authkeys.Location, error) {
	user, err := account.Lookup(r.agent.root, r.user())
	if err != nil {
		return authkeys.Location{}, err
	}
	world, err := r.agent.survey(ctx, r.user(), r.state.Applied)
	if err == nil {
		return r.agent.locate(user, world.Effective)
	}
	if known := r.remembered(); known != nil {
		return r.agent.locate(user, known)
	}
	return authkeys.Location{}, err
}

// proveFile asks sshd whether it takes the keys from the file alone. One that it does
// not take by the command either loses nothing.
func (r *release) proveFile(ctx context.Context, lines []string) error {
	world, err := r.agent.survey(ctx, r.user(), r.state.Applied)
	if err != nil {
		return fmt.Errorf("%s has it now, but sshd cannot be asked whether it takes it from there: %w", r.inFile.KeysFile, err)
	}
	for _, line := range lines {
		entry, err := authkeys.ParseManaged(line)
		if err != nil {
			return err
		}
		subject := sshd.Subject{
			User: world.Account.Name, UID: world.Account.UID, Groups: world.Account.GroupNames, Home: world.Account.Home,
			Keys: []sshd.PublicKey{{Type: entry.Type, Blob: entry.Blob}},
		}
		if err := r.proveKey(ctx, world, subject); err != nil {
			return err
		}
	}
	return nil
}

func (r *release) proveKey(ctx context.Context, world *World, subject sshd.Subject) error {
	byFile, byCommand := subject, subject
	byFile.KeysFile, byCommand.Command = r.inFile.KeysFile, r.held
	proof, err := r.proveWithoutIndex(ctx, world, byFile)
	if err != nil || proof.Key == sshd.Accepted {
		return err
	}
	if r.held != (sshd.KeysCommand{}) {
		now, err := r.agent.prove(ctx, world, sshd.Policy{Keys: r.held}, byCommand)
		if err != nil || now.Key == sshd.Refused {
			return err
		}
	}
	var why []string
	for _, c := range proof.Causes {
		why = append(why, c.Detail+" ("+c.Remedy+")")
	}
	return fmt.Errorf("%s has it now, but sshd does not take it from there: %s", r.inFile.KeysFile, strings.Join(why, "; "))
}

// proveWithoutIndex asks sshd as it will be without our lines and the index. Lines of
// others may have it ask the helper too, which would now find the key in the index:
// a command that knows no keys takes their place.
func (r *release) proveWithoutIndex(ctx context.Context, world *World, subject sshd.Subject) (*sshd.Proof, error) {
	var policy sshd.Policy
	if len(helperLines(world.Files)) > 0 {
		policy.Keys = sshd.KeysCommand{For: subject.User, Command: "/bin/false", User: "root"}
	}
	candidate, err := r.agent.sshd.Prepare(world.Files, policy)
	if err != nil {
		return nil, err
	}
	candidate.File = candidate.Config
	proof := r.agent.sshd.Prove(ctx, candidate, subject)
	return proof, errors.Join(ctx.Err(), r.agent.sshd.Discard())
}

// fingerprintsOf are those of the keys on lines of the managed block.
func fingerprintsOf(lines []string) []string {
	var all []string
	for _, line := range lines {
		all = append(all, fingerprintOf(line))
	}
	return all
}

// keeps tells whether a key of the block stays: one that is bound, or, where
// nothing is remembered, any.
func (r *release) keeps(entry *authkeys.Entry) bool {
	if r.how.RemoveKeys {
		return false
	}
	return r.state.InForce == nil || slices.ContainsFunc(r.state.InForce.Keys, func(k metadata.Key) bool {
		return k.Fingerprint() == entry.Fingerprint()
	})
}

// releaseFile takes our block out of one keys file. An account that is gone has
// taken its file along.
func (r *release) releaseFile(ctx context.Context, place KeysPlace, keep func(*authkeys.Entry) bool) error {
	user, err := account.Lookup(r.agent.root, place.User)
	if errors.Is(err, account.ErrUnknownUser) {
		return nil
	}
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, homeTimeout)
	defer cancel()
	location := authkeys.Location{Account: r.agent.keysAccount(user), Path: place.KeysFile}
	view, err := authkeys.Look(within, location)
	if err != nil {
		return err
	}
	managed := authkeys.Parse(view.Data).Managed()
	change, err := authkeys.Edit(within, location, func(f *authkeys.File) ([]byte, error) { return f.Released(keep) })
	if err != nil || !change.Changed {
		return err
	}
	file := ReleasedFile{KeysPlace: place, Kept: []string{}, Removed: []string{}, Own: []string{}}
	left := authkeys.Parse(change.After).Keys()
	for _, entry := range managed {
		if keep(entry) {
			file.Kept = append(file.Kept, entry.Fingerprint())
			continue
		}
		file.Removed = append(file.Removed, entry.Fingerprint())
		if slices.ContainsFunc(left, func(l *authkeys.Entry) bool { return bytes.Equal(l.Blob, entry.Blob) }) {
			file.Own = append(file.Own, entry.Fingerprint())
		}
	}
	r.out.Files = append(r.out.Files, file)
	r.agent.log.Info("released", "user", place.User, "path", place.KeysFile,
		slog.Any("kept", file.Kept), slog.Any("removed", file.Removed))
	return nil
}
