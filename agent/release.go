package agent

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/latchkey-ssh/latchkey/authkeys"
	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/metadata"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// Released is what giving an instance back came to.
type Released struct {
	// Opened: passwords had been turned off, and that was taken back. Listener is
	// what became of the running sshd then.
	Opened   bool          `json:"opened"`
	Listener sshd.Listener `json:"listener,omitempty"`
	// Password is password logon as sshd's own configuration has it: "on" or "off",
	// "unknown" where sshd could not be asked.
	Password string `json:"password"`
	// Files are the keys files in which there was a block of ours.
	Files []ReleasedFile `json:"files"`
}

// ReleasedFile is a keys file without our block.
type ReleasedFile struct {
	KeysPlace
	Kept    []string `json:"kept"`    // fingerprints of the keys that stay, as plain lines
	Removed []string `json:"removed"` // of those that went
	Own     []string `json:"own"`     // of those that went, and still stand in lines of the user's own
}

// Release gives the instance back: passwords are open again as sshd's own
// configuration has them, then the bound key stays as a plain line, or goes, and
// nothing is remembered. As long as passwords cannot be opened, no key goes: at
// most they all become plain lines, and the rest can be tried again. An agent
// must not run.
func (a *Agent) Release(ctx context.Context, removeKeys bool) (*Released, error) {
	free, err := a.claim()
	if err != nil {
		return nil, err
	}
	defer free()
	unlock, err := a.lock(ctx, passTimeout) // a pass is waited for, however long it takes
	if err != nil {
		return nil, err
	}
	defer unlock()
	// A state that cannot be read must not keep anybody's instance.
	state, _ := loadState(a.root, hardwareID(a.root))
	r := &release{agent: a, state: state, removeKeys: removeKeys, out: &Released{Files: []ReleasedFile{}}}
	if err := r.keepInFile(ctx); err != nil {
		return r.out, fmt.Errorf("the bound key is in no file yet, so nothing is changed: %w", err)
	}
	if err := r.open(ctx); err != nil {
		return r.out, errors.Join(fmt.Errorf("passwords are not open again, so no key is removed: %w", err), r.keepAll(ctx))
	}
	if err := r.keys(ctx); err != nil {
		return r.out, err
	}
	if err := removeIndex(a.root); err != nil {
		return r.out, err
	}
	return r.out, r.forget()
}

// release is one run of Release.
type release struct {
	agent      *Agent
	state      State
	removeKeys bool
	mustKeep   bool // any key may be the only way in
	out        *Released
}

// open takes our policy out of sshd's files, and has the running sshd load that.
// An earlier run may have been cut off in between.
func (r *release) open(ctx context.Context) error {
	daemon, config := r.agent.sshd, r.agent.config.SSHD.Config
	daemon.Sweep()
	r.out.Password = "unknown"
	files, err := daemon.ReadFiles()
	if errors.Is(err, fs.ErrNotExist) {
		return r.openWithoutMain(ctx, err)
	}
	if err != nil {
		return err
	}
	load := files.Holds() || r.state.Unfinished || r.state.Applied.closed()
	if files.Holds() {
		r.state.Unfinished = true
		_ = r.state.save(r.agent.root) // to open, no memory is needed
		if err := daemon.Write(files, files.With(sshd.Policy{})); err != nil {
			return err
		}
		r.out.Opened = true
	}
	effective, err := daemon.Effective(ctx, config, sshd.FromLoopback(r.user(), files.Port()))
	if err == nil {
		r.out.Password = onOff(effective.AllowsPassword())
	}
	if !load {
		return nil
	}
	return r.load(ctx, effective)
}

// load makes the running sshd, if there is one, load its configuration.
func (r *release) load(ctx context.Context, effective sshd.Config) error {
	if effective == nil {
		effective = r.remembered()
	}
	daemon := r.agent.sshd
	found, err := daemon.Running(ctx, effective)
	if err != nil {
		return err
	}
	r.out.Listener = found
	if found == sshd.ListenerRunning {
		if err := daemon.Test(ctx, r.agent.config.SSHD.Config); err != nil {
			return fmt.Errorf("latchkey's part is out of sshd's configuration, but sshd cannot be reloaded: %w", err)
		}
		if r.out.Listener, err = daemon.Reload(ctx, effective); err != nil {
			return err
		}
	}
	r.announce()
	return r.noteOpen()
}

// remembered is sshd's effective configuration as far as a pass has noted it.
func (r *release) remembered() sshd.Config {
	if r.state.Applied == nil {
		return nil
	}
	return r.state.Applied.Effective
}

// noteOpen remembers that passwords are open, should the rest be cut off.
func (r *release) noteOpen() error {
	r.state.Unfinished = false
	if r.state.Applied == nil {
		return nil
	}
	applied := *r.state.Applied
	applied.PasswordClosed, applied.KeysCommand = false, sshd.KeysCommand{}
	r.state.Applied = &applied
	return r.state.save(r.agent.root)
}

// openWithoutMain takes the drop-in away where sshd's main file is gone: sshd may
// have been removed before us. One that still runs cannot be told.
func (r *release) openWithoutMain(ctx context.Context, missing error) error {
	err := os.Remove(filepath.Join(r.agent.root, sshd.DropIn))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("take the drop-in away: %w", err)
	}
	r.out.Opened = err == nil
	closed := r.out.Opened || r.state.Applied.closed()
	found, err := r.agent.sshd.Running(ctx, r.remembered())
	if err != nil {
		return err
	}
	if closed && found == sshd.ListenerRunning {
		return fmt.Errorf("an sshd runs that cannot be reloaded, and takes no passwords until it is restarted: %w", missing)
	}
	return nil
}

// announce logs that passwords are open.
func (r *release) announce() {
	world := &World{Account: account.Account{Name: r.user()}, Boot: r.state.BootID}
	if r.state.Applied != nil {
		world.Location.Path = r.state.Applied.KeysFile
	}
	r.agent.event(eventPasswordOpened, world)
}

// user is the logon user, as far as it is known which one.
func (r *release) user() string {
	if r.state.Applied != nil {
		return r.state.Applied.User
	}
	if r.state.InForce != nil {
		return r.agent.user(*r.state.InForce)
	}
	return r.agent.config.Login.User
}

// keepAll makes plain lines of all keys, unless they were to be removed: that has
// to wait.
func (r *release) keepAll(ctx context.Context) error {
	if r.removeKeys {
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
// with the bound keys: as recorded, else where sshd looks now.
func (r *release) places(ctx context.Context) ([]KeysPlace, error) {
	var places []KeysPlace
	add := func(place KeysPlace) {
		if place.KeysFile != "" && !place.isIndex() && !slices.Contains(places, place) {
			places = append(places, place)
		}
	}
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

// keepInFile puts the keys that are in the index alone into the keys file, if they
// are to stay: once the command that asks the index is gone, nothing else would let
// them in.
func (r *release) keepInFile(ctx context.Context) error {
	done := r.state.Applied
	lines := lookAtIndex(r.agent.root, r.user(), nil).lines()
	if r.removeKeys || len(lines) == 0 || (done != nil && done.KeysFile != "") {
		return nil
	}
	world, err := r.agent.survey(ctx, r.user(), done)
	if err != nil {
		return err
	}
	location, err := r.agent.locate(world.Account, world.Effective)
	if err != nil {
		return cmp.Or(world.NoKeys, err)
	}
	store, err := lookAtFile(ctx, location)
	if err != nil {
		return err
	}
	_, err = store.set(ctx, lines)
	return err
}

// keeps tells whether a key of the block stays: one that is bound, or, where
// nothing is remembered, any.
func (r *release) keeps(entry *authkeys.Entry) bool {
	if r.removeKeys {
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

// forget removes what was remembered.
func (r *release) forget() error {
	err := os.Remove(filepath.Join(r.agent.root, StateDir, stateFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget what was applied: %w", err)
	}
	return nil
}
