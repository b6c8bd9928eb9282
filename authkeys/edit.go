package authkeys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/latchkey-ssh/latchkey/internal/asuser"
	"github.com/latchkey-ssh/latchkey/internal/atomicfile"
)

// MaxSize is the size in bytes above which a keys file is neither read nor
// written.
const MaxSize = 4 << 20

// MaxLines bounds the lines likewise: a parsed line takes far more memory than
// an empty one on disk, and who fills the file need not be a friend. MaxSize
// holds no more ed25519 keys than this.
const MaxLines = 1 << 18

var errManyLines = fmt.Errorf("more than %d lines: shorten it", MaxLines)

// A FileID tells one state of a keys file from another without its content. The
// zero FileID is that of no file.
type FileID atomicfile.ID

// A Change is what Edit did.
type Change struct {
	Before, After []byte
	Changed       bool // the file was written: with other content, mode or owner
}

// Read returns the content of the keys file. A missing file, or a missing folder
// on the way to it, is no bytes and the zero FileID.
//
// The file is read with the credentials of its user and never leads out of the
// home; see Edit.
func Read(ctx context.Context, l Location) ([]byte, FileID, error) {
	var snapshot *atomicfile.Snapshot
	err := l.visit(ctx, func(p *place) (err error) {
		snapshot, err = p.read()
		return err
	})
	if err != nil {
		return nil, FileID{}, fmt.Errorf("read %s: %w", l.Path, l.explain(err))
	}
	if snapshot == nil {
		return nil, FileID{}, nil
	}
	return snapshot.Data, FileID(snapshot.ID), nil
}

// Edit replaces the content of the keys file by what edit makes of it. Where
// edit returns what was there, nothing is written.
//
// A file below the home is reached by descriptors alone, with the credentials of
// its user, without leaving the home; a symbolic link within it is kept and what
// it points to is edited. A missing folder is made with mode 0700. Any other
// file is written as root, with the owner and the mode that it has, if all folders on
// the way are root's alone. Only a regular file of up to MaxSize and
// MaxLines is touched.
//
// The new file has mode 0600 and belongs to the user, below the home. It takes the place of the
// old one at once, so that nobody ever finds it missing, half written or readable
// by others, and only if the old one is still what edit was given: otherwise
// edit is asked again. A file that holds the managed block and has the right
// content is still written when its owner is another or its mode is looser.
// A file that becomes empty stays: an empty one grants nothing, and removing it
// would undo more than was asked.
//
// edit runs as the user, maybe several times, and must do nothing but compute.
// When ctx ends, Edit returns though the file system may hang; nothing is
// changed after that.
func Edit(ctx context.Context, l Location, edit func(*File) ([]byte, error)) (Change, error) {
	change, err := l.edit(ctx, edit)
	if errors.Is(err, errNoFolder) {
		change, err = l.editInNewFolder(ctx, edit)
	}
	if err != nil {
		return Change{}, fmt.Errorf("edit %s: %w", l.Path, l.explain(err))
	}
	return change, nil
}

// visit runs f at the place of the file with the right credentials. The root is
// opened without them: its path is the operator's, and an image may be mounted
// where its users cannot go.
func (l Location) visit(ctx context.Context, f func(*place) error) error {
	root, err := os.OpenRoot(l.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	return asuser.Do(ctx, l.credentials(), func() error {
		p, err := l.open(root)
		if err != nil {
			return err
		}
		defer p.close()
		return f(p)
	})
}

func (l Location) credentials() asuser.Credentials {
	if !l.belowHome() {
		return asuser.Credentials{Groups: []int{}}
	}
	return asuser.Credentials{UID: l.UID, GID: l.GID, Groups: l.Groups}
}

// maxTries bounds the contest with somebody who edits the file over and over.
const maxTries = 100

var errContested = errors.New("somebody else keeps changing it: try again later")

func (l Location) edit(ctx context.Context, edit func(*File) ([]byte, error)) (Change, error) {
	var change Change
	err := l.visit(ctx, func(p *place) (err error) {
		for range maxTries {
			change, err = l.editOnce(ctx, p, edit)
			if !errors.Is(err, atomicfile.ErrChanged) {
				return err
			}
		}
		return errContested
	})
	if err != nil {
		return Change{}, err
	}
	return change, nil
}

// errNoFolder means that there is something to write and no folder for it.
var errNoFolder = errors.New("the folder does not exist: create it")

func (l Location) editOnce(ctx context.Context, p *place, edit func(*File) ([]byte, error)) (Change, error) {
	old, err := p.read()
	if err != nil {
		return Change{}, err
	}
	var change Change
	if old != nil {
		change.Before = old.Data
	}
	if change.After, err = edit(Parse(change.Before)); err != nil {
		return Change{}, err
	}
	if l.settled(old, change.After) {
		p.sweep() // an edit that was cut off may have got this far
		return change, nil
	}
	if len(change.After) > MaxSize {
		return Change{}, &atomicfile.SizeError{Name: p.name, Limit: MaxSize}
	}
	change.Changed = true
	return change, l.write(ctx, p, change.After, old)
}

// settled reports whether there is nothing to write.
func (l Location) settled(old *atomicfile.Snapshot, after []byte) bool {
	if old == nil {
		return len(after) == 0
	}
	if !bytes.Equal(old.Data, after) {
		return false
	}
	if !l.belowHome() {
		return true // its owner and mode are root's business
	}
	private := old.Mode&^0o600 == 0 && old.UID == l.UID
	return private || len(Parse(after).Managed()) == 0
}

func (l Location) write(ctx context.Context, p *place, data []byte, old *atomicfile.Snapshot) error {
	folder, err := p.openFolder()
	if errors.Is(err, fs.ErrNotExist) {
		return errNoFolder
	}
	if err != nil {
		return err
	}
	defer folder.Close()
	options := []atomicfile.Option{atomicfile.Over(old), atomicfile.Before(ctx.Err)}
	mode := fs.FileMode(0o600)
	if !l.belowHome() {
		var owner atomicfile.Option
		mode, owner = systemMode(old)
		options = append(options, owner)
	}
	return atomicfile.Replace(folder, p.name, data, mode, options...)
}

// systemMode is the mode and the owner of a file outside of any home: those that
// root has given it, or, for a new one, root's own and readable, since sshd reads
// it as the user.
func systemMode(old *atomicfile.Snapshot) (fs.FileMode, atomicfile.Option) {
	if old == nil {
		return 0o644, atomicfile.Owner(0, 0)
	}
	return old.Mode, atomicfile.Owner(old.UID, old.GID)
}

// read returns nil where there is no file.
func (p *place) read() (*atomicfile.Snapshot, error) {
	folder, err := p.openFolder()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	snapshot, err := atomicfile.Read(folder, p.name, MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && bytes.Count(snapshot.Data, []byte{'\n'}) > MaxLines {
		return nil, errManyLines
	}
	return snapshot, err
}

// sweep removes what edits that were cut off have left beside the file.
func (p *place) sweep() {
	if folder, err := p.openFolder(); err == nil {
		atomicfile.Sweep(folder)
		_ = folder.Close()
	}
}

// explain adds what to do where the system's words alone do not tell.
func (l Location) explain(err error) error {
	if errors.Is(err, fs.ErrPermission) && !errors.Is(err, asuser.ErrNotPermitted) {
		return fmt.Errorf("%w: user %s has no access to it, so sshd has none; chown and chmod it", err, l.User)
	}
	return err
}

func ownerOf(info os.FileInfo) int {
	return int(info.Sys().(*syscall.Stat_t).Uid)
}
