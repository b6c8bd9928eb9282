package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/latchkey-ssh/latchkey/internal/tree"
	"github.com/latchkey-ssh/latchkey/sshd"
)

// ReleaseHow says how an instance is to be given back.
type ReleaseHow struct {
	RemoveKeys bool // the bound key goes as well
	Force      bool // all of latchkey's goes, even where the bound key cannot be kept, or sshd not be told
}

// ErrKeyNotKept: the bound key came in by command, and sshd is not proved to let it in
// without.
var ErrKeyNotKept = errors.New("the bound key is not proved to log in without latchkey")

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
// nothing is remembered. As long as passwords cannot be opened, no key is touched. A
// key that came in by command is first put into the keys file; as long as sshd is not
// proved to take it from there, the command stays, and the error is an
// [ErrKeyNotKept].
//
// With Force neither holds anything up: what can be done is done, and the error
// says what could not.
//
// One that is cut off, wherever that is, leaves a way in, and the next does the rest.
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
	r.look(ctx)
	err = r.run(ctx)
	r.noteHelperLines()
	return r.out, err
}

// release is one run of Release.
type release struct {
	agent     *Agent
	state     State
	how       ReleaseHow
	users     []string         // whose the keys are: the logon user, and whomever else sshd asks the command for
	held      sshd.KeysCommand // what our lines have sshd ask for a key that is to stay
	inFile    []KeysPlace      // where such keys are put
	spoilt    []KeysPlace      // those of them where that came to nothing, which has been said
	untold    error            // why sshd is not known to be as before latchkey
	announced bool
	out       *Released
}

// look finds out whose keys there are, and the command that is to stay until they are
// in a file. Files that cannot be read are complained of later.
func (r *release) look(ctx context.Context) {
	var held sshd.KeysCommand
	if files, err := r.agent.sshd.ReadFiles(); err == nil {
		held = files.Held().Keys
	}
	r.users = r.whose(ctx, held)
	if !r.how.RemoveKeys {
		r.held = r.whole(held)
	}
}

// whose are the users with a key of ours: as is remembered, and as our lines in sshd's
// files say. Where neither tells, the index does.
func (r *release) whose(ctx context.Context, held sshd.KeysCommand) []string {
	var users []string
	switch {
	case r.state.Applied != nil:
		users = append(users, r.state.Applied.User)
	case r.state.InForce != nil:
		users = append(users, r.agent.user(*r.state.InForce))
	}
	if held.For != "" && held.Validate() == nil && !slices.Contains(users, held.For) {
		users = append(users, held.For)
	}
	if len(users) == 0 {
		users = usersInIndex(ctx, r.agent.root)
	}
	if len(users) == 0 {
		users = []string{r.agent.config.Login.User}
	}
	return users
}

// whole is the command that our lines hold. Where somebody has changed them into what
// cannot be kept as it stands, it is the one that was applied, or at least the same for
// the user alone.
func (r *release) whole(held sshd.KeysCommand) sshd.KeysCommand {
	if held.Validate() == nil {
		return held
	}
	if applied := r.state.Applied.command(); applied != (sshd.KeysCommand{}) && applied.Validate() == nil {
		return applied
	}
	held.For = r.users[0]
	if held.Validate() != nil {
		return sshd.KeysCommand{}
	}
	return held
}

// run takes the steps in the one order that shuts nobody out: nothing goes that may
// be the only way in until another is there. The first step that fails is the last,
// unless it is forced; being interrupted always ends it.
func (r *release) run(ctx context.Context) error {
	var errs []error
	for _, step := range []func(context.Context) error{
		r.openPasswords, r.keepInFile, r.takeCommandOut, r.releaseFiles, r.forget,
	} {
		if ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		err := step(ctx)
		errs = append(errs, err)
		if err != nil && !r.how.Force {
			break
		}
	}
	return errors.Join(errs...)
}

// openPasswords takes all but the command out of sshd's configuration.
func (r *release) openPasswords(ctx context.Context) error {
	r.untold = r.open(ctx, r.held)
	if r.how.Force && r.held != (sshd.KeysCommand{}) {
		return nil // takeCommandOut tries again, and tells
	}
	return r.notAsBefore()
}

// takeCommandOut takes the command out as well, which no key needs any more.
func (r *release) takeCommandOut(ctx context.Context) error {
	if r.held == (sshd.KeysCommand{}) {
		return nil
	}
	r.untold = r.open(ctx, sshd.KeysCommand{})
	return r.notAsBefore()
}

func (r *release) notAsBefore() error {
	if r.untold == nil {
		return nil
	}
	return fmt.Errorf("sshd is not as before latchkey: %w", r.untold)
}

// forget removes the index and what is remembered. An sshd that could not be told
// may still take the key from the index, and the memory is for another try.
func (r *release) forget(context.Context) error {
	var errs []error
	if r.untold == nil || r.how.RemoveKeys {
		errs = append(errs, removeIndex(r.agent.root))
	}
	if r.untold == nil {
		errs = append(errs, r.removeState())
	}
	return errors.Join(errs...)
}

func (r *release) removeState() error {
	err := tree.Remove(r.agent.root, path.Join(StateDir, stateFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget what was applied: %w", err)
	}
	return nil
}

// user is the logon user, as far as it is known which one.
func (r *release) user() string { return r.users[0] }

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
