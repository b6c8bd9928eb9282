package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/latchkey-ssh/latchkey/internal/account"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// ReleaseHow says how an instance is to be given back.
type ReleaseHow struct {
	RemoveKeys bool // the bound key goes as well
	Force      bool // all of latchkey's goes, even where the bound key cannot be kept, or sshd not be told
}

// ErrKeyNotKept: the bound key came in by command, and without the command sshd would
// not let it in.
var ErrKeyNotKept = errors.New("the bound key cannot be kept")

// Released is what giving an instance back came to.
type Released struct {
	// Opened: sshd's files had lines of ours, of which those that turn passwords off
	// were taken out, or all. Listener is what became of the running sshd then.
	Opened   bool          `json:"opened"`
	Listener sshd.Listener `json:"listener,omitempty"`
	// Password is password logon as sshd's own configuration has it: "on" or "off",
	// "unknown" where sshd could not be asked.
	Password string `json:"password"`
	// Files are the keys files in which there was a block of ours.
	Files []ReleasedFile `json:"files"`
	// HelperLines are lines of sshd's configuration that are not ours and have it ask
	// latchkey-authorized-keys, as "file:line". They are left as they are; what they
	// let in ends with that program.
	HelperLines []string `json:"helper_lines"`
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
// most they all become plain lines, and the rest can be tried again. A key that
// came in by command is first put into the keys file; as long as sshd is not proved
// to take it from there, the command stays, and the error is an [ErrKeyNotKept].
//
// With Force neither holds anything up: what can be done is done, and the error
// says what could not.
//
// An agent must not run.
func (a *Agent) Release(ctx context.Context, how ReleaseHow) (*Released, error) {
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
	r := &release{agent: a, state: state, how: how, out: &Released{Files: []ReleasedFile{}, HelperLines: []string{}}}
	if files, err := a.sshd.ReadFiles(); err == nil && files.Held().Keys.Validate() == nil {
		r.held = files.Held().Keys
	}
	err = r.run(ctx)
	r.noteHelperLines()
	return r.out, err
}

// release is one run of Release.
type release struct {
	agent     *Agent
	state     State
	how       ReleaseHow
	held      sshd.KeysCommand // what our lines have sshd ask for keys
	inFile    KeysPlace        // where a key that came in by command was put
	mustKeep  bool             // any key may be the only way in
	announced bool
	out       *Released
}

// noteHelperLines names the lines in sshd's files, ours aside, that ask the helper.
// Files that cannot be read have been complained of.
func (r *release) noteHelperLines() {
	files, err := r.agent.sshd.ReadFiles()
	if err != nil {
		return
	}
	for _, line := range helperLines(files) {
		r.out.HelperLines = append(r.out.HelperLines, line.Position())
	}
}

// helperLines are the lines of others that have sshd ask the helper.
func helperLines(files *sshd.Files) []sshd.Directive {
	return slices.DeleteFunc(files.ForeignKeysCommands(), func(d sshd.Directive) bool { return !asksHelper(d.Args[0]) })
}

// asksHelper tells whether the helper is among a command's words.
func asksHelper(command string) bool {
	return slices.ContainsFunc(strings.Fields(command), func(word string) bool {
		return path.Base(strings.Trim(word, `"'`)) == helperName
	})
}

// run opens passwords first, with the command still there for the key. The command
// goes once the key is in a file, and our part of the file last.
func (r *release) run(ctx context.Context) error {
	force, keep := r.how.Force, r.held
	if r.how.RemoveKeys {
		keep = sshd.KeysCommand{}
	}
	closed := r.open(ctx, keep)
	if closed != nil && !force {
		return r.stillClosed(ctx, closed)
	}
	unkept := r.keepInFile(ctx)
	if unkept != nil && !force {
		return unkept
	}
	if keep != (sshd.KeysCommand{}) {
		closed = r.open(ctx, sshd.KeysCommand{})
	}
	if closed != nil && !force {
		return r.stillClosed(ctx, closed)
	}
	r.mustKeep = closed != nil && !r.how.RemoveKeys
	left := r.keys(ctx)
	if unkept != nil && left != nil && strings.Contains(unkept.Error(), left.Error()) {
		left = nil // it has been said
	}
	if left != nil && !force {
		return left
	}
	return errors.Join(unkept, r.end(closed), left)
}

// stillClosed is the end of a run that could not open passwords.
func (r *release) stillClosed(ctx context.Context, err error) error {
	return errors.Join(fmt.Errorf("passwords are not open again, so no key is removed: %w", err), r.keepAll(ctx))
}

// end removes the index and what is remembered. Where sshd could not be told, it may
// still take the key from the index, and the memory is for another try.
func (r *release) end(closed error) error {
	var errs []error
	if closed == nil || r.how.RemoveKeys {
		errs = append(errs, removeIndex(r.agent.root))
	}
	if closed == nil {
		return errors.Join(append(errs, r.forget())...)
	}
	return errors.Join(append(errs, fmt.Errorf("sshd is not as before latchkey: %w", closed))...)
}

// open takes our policy out of sshd's files but for a command to keep, and has the
// running sshd load that. An earlier run may have been cut off in between.
func (r *release) open(ctx context.Context, keep sshd.KeysCommand) error {
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
	next := files.With(sshd.Policy{Keys: keep})
	differ := !next.Equal(files)
	load := differ || r.state.Unfinished || r.state.Applied.closed() || r.state.Applied.command() != keep
	if differ {
		r.state.Unfinished = true
		_ = r.state.save(r.agent.root) // to open, no memory is needed
		if err := daemon.Write(files, next); err != nil {
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
	return r.load(ctx, effective, keep)
}

// load makes the running sshd, if there is one, load its configuration.
func (r *release) load(ctx context.Context, effective sshd.Config, keep sshd.KeysCommand) error {
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
	return r.noteOpen(keep)
}

// remembered is sshd's effective configuration as far as a pass has noted it.
func (r *release) remembered() sshd.Config {
	if r.state.Applied == nil {
		return nil
	}
	return r.state.Applied.Effective
}

// noteOpen remembers that passwords are open, and which command there still is,
// should the rest be cut off.
func (r *release) noteOpen(keep sshd.KeysCommand) error {
	r.state.Unfinished = false
	if r.state.Applied == nil {
		return nil
	}
	applied := *r.state.Applied
	applied.PasswordClosed, applied.KeysCommand = false, keep
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

// announce logs that passwords are open, once.
func (r *release) announce() {
	if r.announced {
		return
	}
	r.announced = true
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

// forget removes what was remembered.
func (r *release) forget() error {
	err := os.Remove(filepath.Join(r.agent.root, StateDir, stateFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget what was applied: %w", err)
	}
	return nil
}
