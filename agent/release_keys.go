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

// releaseFiles takes our block out of every keys file that may have one. The bound
// keys stay in the first, and where they have just been put: nowhere else are they bound.
func (r *release) releaseFiles(ctx context.Context) error {
	places, err := r.places(ctx)
	errs := []error{err}
	for i, place := range places {
		first := i == 0 || slices.Contains(r.inFile, place)
		err := r.releaseFile(ctx, place, func(entry *authkeys.Entry) bool { return r.keeps(place, first, entry) })
		if err != nil && slices.Contains(r.spoilt, place) {
			continue // it has been said
		}
		errs = append(errs, err)
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
	for _, place := range slices.Concat(r.inFile, r.state.Applied.places()) {
		add(place)
	}
	var unknown error
	for _, user := range r.users {
		world, err := r.agent.survey(ctx, user, r.state.Applied)
		if err != nil {
			unknown = err
			continue
		}
		location, _ := r.agent.locate(world.Account, world.Effective)
		add(KeysPlace{location.User, location.Path})
	}
	for _, place := range r.state.Elsewhere {
		add(place)
	}
	if len(places) > 0 || errors.Is(unknown, account.ErrUnknownUser) {
		unknown = nil // what is remembered is enough
	}
	return places, unknown
}

// keepInFile puts keys that came in by command into the keys files, if they are to stay,
// and proves that sshd takes them from there: once the command is gone, nothing else
// would let them in.
func (r *release) keepInFile(ctx context.Context) error {
	if r.how.RemoveKeys {
		return nil
	}
	var errs []error
	for _, user := range r.users {
		lines := r.linesToKeep(user)
		if len(lines) == 0 {
			continue
		}
		place, err := r.putInFile(ctx, user, lines)
		if err == nil {
			err = r.proveFile(ctx, place, lines)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%w: %s: %w", ErrKeyNotKept, strings.Join(fingerprintsOf(lines), ", "), err))
		}
	}
	return errors.Join(errs...)
}

// linesToKeep are the lines of a user that may come in by command alone: those of the last
// way in, and for the logon user of the bound keys that can be used. Where nothing is
// remembered, they are all that are in the index.
func (r *release) linesToKeep(user string) []string {
	inIndex := lookAtIndex(r.agent.root, user, nil).lines()
	if r.state.InForce == nil {
		return inIndex
	}
	if r.held == (sshd.KeysCommand{}) && len(inIndex) == 0 {
		return nil
	}
	isLogonUser := user == r.user()
	var lines []string
	for _, line := range inIndex {
		f := fingerprintOf(line)
		if r.isLastWayIn(indexPlace(user), f) && !(isLogonUser && r.isBound(f)) {
			lines = append(lines, line)
		}
	}
	if !isLogonUser {
		return lines
	}
	for _, g := range grantsOf(*r.state.InForce, user, time.Now(), localZone(r.agent.root)) {
		if g.refused == nil {
			lines = append(lines, g.line)
		}
	}
	return lines
}

// putInFile makes lines the block of the keys file in which sshd looks for a user's. The
// file is remembered before, so that a later pass knows of the block, should this be
// cut off.
func (r *release) putInFile(ctx context.Context, user string, lines []string) (KeysPlace, error) {
	location, err := r.keysFile(ctx, user)
	if err != nil {
		return KeysPlace{}, err
	}
	place := KeysPlace{location.User, location.Path}
	r.inFile = append(r.inFile, place)
	err = r.setFile(ctx, location, place, lines)
	if err != nil {
		r.spoilt = append(r.spoilt, place)
	}
	return place, err
}

func (r *release) setFile(ctx context.Context, location authkeys.Location, place KeysPlace, lines []string) error {
	store, err := lookAtFile(ctx, location)
	if err != nil {
		return err
	}
	before := r.state.Elsewhere
	if !slices.Contains(before, place) {
		r.state.Elsewhere = append(slices.Clone(before), place)
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

// keysFile is the file in which sshd looks for a user's keys: now, or, where that cannot
// be told, as the running sshd was configured last.
func (r *release) keysFile(ctx context.Context, user string) (authkeys.Location, error) {
	found, err := account.Lookup(r.agent.root, user)
	if err != nil {
		return authkeys.Location{}, err
	}
	world, err := r.agent.survey(ctx, user, r.state.Applied)
	if err == nil {
		return r.agent.locate(found, world.Effective)
	}
	if known := r.remembered(); known != nil {
		return r.agent.locate(found, known)
	}
	return authkeys.Location{}, err
}

var errNotAsked = errors.New("sshd cannot be asked whether it takes it from there")

// proveFile asks sshd whether it takes the keys from the file alone. One that it does
// not take by the command either loses nothing, nor does any where there is no sshd.
func (r *release) proveFile(ctx context.Context, place KeysPlace, lines []string) error {
	world, err := r.agent.survey(ctx, place.User, r.state.Applied)
	if errors.Is(err, sshd.ErrMissing) {
		return nil
	}
	if err != nil && r.untold != nil {
		return fmt.Errorf("%s has it now, but %w", place.KeysFile, errNotAsked) // takeCommandOut tells why
	}
	if err != nil {
		return fmt.Errorf("%s has it now, but %w: %w", place.KeysFile, errNotAsked, err)
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
		if err := r.proveKey(ctx, world, subject, place.KeysFile); err != nil {
			return err
		}
	}
	return nil
}

func (r *release) proveKey(ctx context.Context, world *World, subject sshd.Subject, file string) error {
	byFile, byCommand := subject, subject
	byFile.KeysFile, byCommand.Command = file, r.held
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
	return fmt.Errorf("%s has it now, but sshd does not take it from there: %s", file, strings.Join(why, "; "))
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

// keeps tells whether a key of the block at a place stays: at the first one a key that
// is bound, or, where nothing is remembered, any. Where sshd could not be told to open
// passwords, any key anywhere may be the only way in.
func (r *release) keeps(place KeysPlace, first bool, entry *authkeys.Entry) bool {
	switch fingerprint := entry.Fingerprint(); {
	case r.how.RemoveKeys:
		return false
	case r.untold != nil || r.isLastWayIn(place, fingerprint):
		return true
	default:
		return first && r.isBound(fingerprint)
	}
}

func (r *release) isBound(fingerprint string) bool {
	return r.state.InForce == nil || slices.ContainsFunc(r.state.InForce.Keys, func(k metadata.Key) bool {
		return k.Fingerprint() == fingerprint
	})
}

// isLastWayIn tells of a key at a place that it was proved last. One that is bound since
// and was never proved does not take its place where passwords are not known to be on.
func (r *release) isLastWayIn(place KeysPlace, fingerprint string) bool {
	if r.state.InForce == nil || r.state.InForce.State != metadata.Bound || r.out.Password == "on" {
		return false
	}
	if slices.Contains(r.inFile, place) {
		place = indexPlace(place.User) // it came from there
	}
	return slices.Contains(r.state.Proven.at(place), fingerprint)
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
